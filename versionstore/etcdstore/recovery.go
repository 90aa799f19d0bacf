package etcdstore

import (
	"context"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"

	"banyan/record"
	"banyan/versionstore"
)

// A recovery is rare, so its plan reads first, and makes it a condition that nothing of that changes.

// planRecoveredVersion adds the write of a manifest unless the store has it.
func (s *Store) planRecoveredVersion(ctx context.Context, p *plan, m record.Manifest, r versionstore.Row) error {
	newest := s.keys.name(tagNewest, m.Config)
	digest := s.keys.numbered(tagDigest, m.Config, m.Version)
	answer, err := s.read(ctx, clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet(newest), clientv3.OpGet(digest)}, nil))
	if err != nil {
		return err
	}
	last, lastAt := uint64(0), int64(0)
	for _, kv := range answer.Txn().Responses[0].GetResponseRange().Kvs {
		last = number(kv.Value)
		lastAt = kv.ModRevision
	}
	if kvs := answer.Txn().Responses[1].GetResponseRange().Kvs; len(kvs) > 0 {
		kv := kvs[0]
		if string(kv.Value) != m.Digest().String() {
			conflict := &versionstore.ConflictError{What: "version", Config: m.Config, Wanted: m.Version, Current: m.Version}
			p.refusal = s.completed(ctx, conflict, s.keys.numbered(tagManifest, m.Config, m.Version))
		}
		p.require(condition{cmp: clientv3.Compare(clientv3.ModRevision(digest), "=", kv.ModRevision), key: digest})
		return nil
	}
	p.require(condition{cmp: clientv3.Compare(clientv3.ModRevision(newest), "=", lastAt), key: newest})
	p.require(condition{cmp: clientv3.Compare(clientv3.CreateRevision(digest), "=", 0), key: digest})
	p.write(
		clientv3.OpPut(newest, text(max(last, m.Version))),
		clientv3.OpPut(digest, m.Digest().String()),
	)
	return p.put(s.keys.numbered(tagManifest, m.Config, m.Version), r)
}

// planRecoveredPointer adds the write of a pointer whose position is after the stored one.
func (s *Store) planRecoveredPointer(
	ctx context.Context, p *plan, pointer record.Pointer, r versionstore.Row, added map[record.VersionKey]bool,
) error {
	row := s.keys.pair(tagPointer, pointer.Region, pointer.Config)
	answer, err := s.get(ctx, row)
	if err != nil {
		return err
	}
	var held versionstore.PointerState
	at := int64(0)
	for _, kv := range answer.Kvs {
		at = kv.ModRevision
		held, err = pointerOf(kv)
		if err != nil && !errors.Is(err, versionstore.ErrCorrupt) {
			return err
		}
	}
	p.require(condition{cmp: clientv3.Compare(clientv3.ModRevision(row), "=", at), key: row})
	if pointer.Position() <= held.Pointer.Position() {
		p.refusal = &versionstore.ConflictError{
			What:    "epoch",
			Config:  pointer.Config,
			Region:  pointer.Region,
			Wanted:  pointer.Epoch,
			Current: held.Pointer.Epoch,
			By:      held.By,
			At:      held.At,
		}
		return nil
	}
	return s.planRow(p, pointer, r, added)
}
