package etcdstore

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"banyan/record"
	"banyan/versionstore"
)

// condition is one condition of a transaction, with the key that tells why it does not hold.
type condition struct {
	cmp clientv3.Cmp
	key string
	// judge returns why the condition does not hold, or nil; kv is nil if there is no such key. If judge is
	// nil, the transaction is planned again.
	judge func(ctx context.Context, kv *mvccpb.KeyValue) error
}

// plan is a transaction as etcd carries it out.
type plan struct {
	conditions []condition
	writes     []clientv3.Op
	// damaged are the revisions of documents that can't be read, by key: they count as none.
	damaged map[string]int64
	stale   []stale
	// refusal is why the transaction is refused although the conditions hold; nil if it is not.
	refusal error
}

func (p *plan) require(c condition)      { p.conditions = append(p.conditions, c) }
func (p *plan) write(ops ...clientv3.Op) { p.writes = append(p.writes, ops...) }

// txn returns the transaction of a plan. If it is refused, it returns what the conditions look at.
func (p *plan) txn() txn {
	var t txn
	for _, c := range p.conditions {
		t.conditions = append(t.conditions, c.cmp)
		t.reads = append(t.reads, clientv3.OpGet(c.key))
	}
	if p.refusal == nil {
		t.writes = p.writes
	}
	return t
}

// Commit implements versionstore.Store: one transaction of etcd, and no read before it unless versions
// are removed.
func (s *Store) Commit(ctx context.Context, t versionstore.Transaction) (uint64, error) {
	if err := t.Check(); err != nil {
		return 0, err
	}
	if n := t.Operations(); n > s.operations {
		return 0, fmt.Errorf("%w: a transaction of %d operations, and etcd takes %d; start its members with --max-txn-ops=%d",
			record.ErrTooLarge, n, s.operations, versionstore.MaxOperations)
	}
	damaged := map[string]int64{}
	for range maxAttempts {
		p := &plan{damaged: damaged}
		err := s.plan(ctx, p, &t)
		if err == nil {
			err = s.clear(ctx, p, t.Term)
		}
		if err != nil {
			return 0, err
		}
		answer, err := s.write(ctx, p.txn())
		if err != nil {
			return 0, err
		}
		if answer.Succeeded {
			return revisionOf(t.Term, answer.Header.Revision), p.refusal
		}
		if err := p.explain(ctx, answer); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%w: others change what the transaction reads all the time", versionstore.ErrUnavailable)
}

// explain returns the error of the first condition that does not hold. It returns nil if the
// transaction is worth another attempt.
func (p *plan) explain(ctx context.Context, answer *clientv3.TxnResponse) error {
	for i, c := range p.conditions {
		if c.judge == nil {
			continue
		}
		var kv *mvccpb.KeyValue
		if kvs := answer.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
			kv = kvs[0]
		}
		if err := c.judge(ctx, kv); err != nil {
			return err
		}
	}
	return nil
}

// plan adds a transaction to an empty plan.
func (s *Store) plan(ctx context.Context, p *plan, t *versionstore.Transaction) error {
	now := time.Now().UnixMicro()
	rowFor := func(raw []byte, by string) versionstore.Row {
		return versionstore.Row{Raw: raw, By: by, AtMicros: now, Term: t.Term}
	}
	s.planTerm(p, t.Term)
	p.write(clientv3.OpPut(s.keys.name(tagRevision, ""), text(t.Term)))
	for _, g := range t.Guards {
		s.planGuard(p, g)
	}
	added := map[record.VersionKey]bool{}
	for _, v := range t.Versions {
		if err := s.planVersion(p, v.Manifest, rowFor(v.Raw, v.By)); err != nil {
			return err
		}
		added[v.Manifest.Key()] = true
	}
	for _, v := range t.Recovered.Versions {
		if err := s.planRecoveredVersion(ctx, p, v.Manifest, rowFor(v.Raw, v.By)); err != nil || p.refusal != nil {
			return err
		}
		added[v.Manifest.Key()] = true
	}
	for _, pointer := range t.Pointers {
		if err := s.planPointer(p, pointer.Pointer, rowFor(pointer.Raw, t.By), added); err != nil {
			return err
		}
	}
	for _, pointer := range t.Recovered.Pointers {
		err := s.planRecoveredPointer(ctx, p, pointer.Pointer, rowFor(pointer.Raw, t.By), added)
		if err != nil || p.refusal != nil {
			return err
		}
	}
	for _, r := range t.Removals {
		if err := s.planRemoval(ctx, p, r); err != nil || p.refusal != nil {
			return err
		}
	}
	for _, d := range t.Documents {
		if err := s.planDocument(p, d, rowFor(d.Raw, t.By)); err != nil {
			return err
		}
	}
	return nil
}

// planTerm adds the condition that the store is in the term of the writer.
func (s *Store) planTerm(p *plan, term uint64) {
	key := s.keys.name(tagTerm, "")
	p.require(condition{
		cmp: clientv3.Compare(clientv3.Value(key), "=", text(term)),
		key: key,
		judge: func(_ context.Context, kv *mvccpb.KeyValue) error {
			var kvs []*mvccpb.KeyValue
			if kv != nil {
				kvs = append(kvs, kv)
			}
			current, err := termOf(kvs)
			if err == nil && current != term {
				err = &versionstore.FencedError{Term: term, Current: current}
			}
			return err
		},
	})
}

// planGuard adds the condition that a document has a sequence. A damaged document counts as none.
func (s *Store) planGuard(p *plan, g versionstore.Guard) {
	key := s.keys.pair(tagDocument, g.Kind, g.Name)
	cmp := clientv3.Compare(clientv3.Version(key), "=", int64(g.Seq))
	if at, ok := p.damaged[key]; ok && g.Seq == 0 {
		cmp = clientv3.Compare(clientv3.ModRevision(key), "=", at)
	}
	p.require(condition{
		cmp: cmp,
		key: key,
		judge: func(ctx context.Context, kv *mvccpb.KeyValue) error {
			var held versionstore.Document
			if kv != nil {
				held = documentOf(kv, g.Kind, g.Name)
			}
			switch {
			case held.Damaged != nil && g.Seq == 0:
				p.damaged[key] = kv.ModRevision
				return nil
			case held.Seq == g.Seq:
				return nil
			}
			return &versionstore.ConflictError{
				What:    g.Kind,
				Config:  g.Name,
				Wanted:  g.Seq + 1,
				Current: held.Seq,
				By:      held.By,
				At:      held.At,
			}
		},
	})
}

// planDocument adds the write of a document. The sequence of a document begins with 1, so a damaged one
// is removed before the new one is written.
func (s *Store) planDocument(p *plan, d versionstore.DocumentWrite, r versionstore.Row) error {
	key := s.keys.pair(tagDocument, d.Kind, d.Name)
	if at, ok := p.damaged[key]; ok && d.IfSeq == 0 {
		p.stale = append(p.stale, stale{key: key, at: at})
		delete(p.damaged, key)
	}
	s.planGuard(p, versionstore.Guard{Kind: d.Kind, Name: d.Name, Seq: d.IfSeq})
	if d.Raw == nil {
		p.write(clientv3.OpDelete(key))
		return nil
	}
	return p.put(key, r)
}

// stale is a damaged document that a write replaces.
type stale struct {
	key string
	at  int64 // the revision of etcd at which it was read
}

// clear removes the damaged documents that the transaction replaces, if the store is in its term.
func (s *Store) clear(ctx context.Context, p *plan, term uint64) error {
	for _, d := range p.stale {
		_, err := s.write(ctx, txn{
			conditions: []clientv3.Cmp{
				clientv3.Compare(clientv3.Value(s.keys.name(tagTerm, "")), "=", text(term)),
				clientv3.Compare(clientv3.ModRevision(d.key), "=", d.at),
			},
			writes: []clientv3.Op{clientv3.OpDelete(d.key)},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// put adds the write of a row.
func (p *plan) put(key string, r versionstore.Row) error {
	encoded, err := r.Encode()
	if err != nil {
		return err
	}
	p.write(clientv3.OpPut(key, string(encoded)))
	return nil
}

// holds returns the condition that a key has a number as its value; 0 means that there is no such key.
func holds(key string, n uint64) clientv3.Cmp {
	if n == 0 {
		return clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	}
	return clientv3.Compare(clientv3.Value(key), "=", text(n))
}

// numberIn returns the number that a key has as its value; 0 if there is no such key. It is the
// counterpart of holds.
func numberIn(kv *mvccpb.KeyValue) uint64 {
	if kv == nil {
		return 0
	}
	return number(kv.Value)
}

// planVersion adds the write of a manifest.
func (s *Store) planVersion(p *plan, m record.Manifest, r versionstore.Row) error {
	newest := s.keys.name(tagNewest, m.Config)
	p.require(condition{
		cmp: holds(newest, m.Version-1),
		key: newest,
		judge: func(ctx context.Context, kv *mvccpb.KeyValue) error {
			last := numberIn(kv)
			if m.Version == last+1 {
				return nil
			}
			conflict := &versionstore.ConflictError{What: "version", Config: m.Config, Wanted: m.Version, Current: last}
			return s.completed(ctx, conflict, s.keys.numbered(tagManifest, m.Config, last))
		},
	})
	digest := m.Digest()
	p.write(
		clientv3.OpPut(newest, text(m.Version)),
		clientv3.OpPut(s.keys.numbered(tagDigest, m.Config, m.Version), digest.String()),
	)
	return p.put(s.keys.numbered(tagManifest, m.Config, m.Version), r)
}

// completed adds to a conflict who wrote the row that came first, and when.
func (s *Store) completed(ctx context.Context, conflict *versionstore.ConflictError, key string) error {
	if conflict.Current == 0 {
		return conflict
	}
	answer, err := s.get(ctx, key)
	if err != nil || len(answer.Kvs) == 0 {
		return conflict
	}
	r, err := rowOf(answer.Kvs[0])
	if err == nil {
		conflict.By = r.By
		conflict.At = r.At()
	}
	return conflict
}

// planPointer adds the move of a pointer. added are the versions that the same transaction stores.
func (s *Store) planPointer(
	p *plan, pointer record.Pointer, r versionstore.Row, added map[record.VersionKey]bool,
) error {
	epoch := s.keys.pair(tagEpoch, pointer.Config, pointer.Region)
	row := s.keys.pair(tagPointer, pointer.Region, pointer.Config)
	p.require(condition{
		cmp: holds(epoch, pointer.Epoch-1),
		key: epoch,
		judge: func(ctx context.Context, kv *mvccpb.KeyValue) error {
			current := numberIn(kv)
			if pointer.Epoch == current+1 {
				return nil
			}
			return s.completed(ctx, &versionstore.ConflictError{
				What:    "epoch",
				Config:  pointer.Config,
				Region:  pointer.Region,
				Wanted:  pointer.Epoch,
				Current: current,
			}, row)
		},
	})
	return s.planRow(p, pointer, r, added)
}

// planRow adds the write of a pointer, and the conditions that the store has the versions that it names.
func (s *Store) planRow(
	p *plan, pointer record.Pointer, r versionstore.Row, added map[record.VersionKey]bool,
) error {
	for _, ref := range []record.Ref{pointer.Baseline, pointer.Candidate} {
		v := ref.Of(pointer.Config)
		if !ref.IsZero() && !added[v] {
			s.planNamed(p, v)
		}
	}
	p.write(clientv3.OpPut(s.keys.pair(tagEpoch, pointer.Config, pointer.Region), text(pointer.Epoch)))
	return p.put(s.keys.pair(tagPointer, pointer.Region, pointer.Config), r)
}

// planNamed adds the condition that the store has a version.
func (s *Store) planNamed(p *plan, v record.VersionKey) {
	key := s.keys.numbered(tagDigest, v.Config, v.Version)
	if p.looksAt(key) {
		return
	}
	digest := v.Digest.String()
	p.require(condition{
		cmp: clientv3.Compare(clientv3.Value(key), "=", digest),
		key: key,
		judge: func(_ context.Context, kv *mvccpb.KeyValue) error {
			switch {
			case kv == nil:
				return fmt.Errorf("%s version %d: %w", v.Config, v.Version, versionstore.ErrNotFound)
			case string(kv.Value) != digest:
				return fmt.Errorf("%s version %d: %w: the stored version has other content",
					v.Config, v.Version, versionstore.ErrNotFound)
			}
			return nil
		},
	})
}

// looksAt reports whether the plan has a condition on a key.
func (p *plan) looksAt(key string) bool {
	for _, c := range p.conditions {
		if c.key == key {
			return true
		}
	}
	return false
}
