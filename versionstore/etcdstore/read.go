package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"banyan/record"
	"banyan/versionstore"
)

// revisionOf returns the revision of a write in a term, at a revision of etcd.
func revisionOf(term uint64, mod int64) uint64 { return (term-1)*termRevisions + uint64(mod) }

// rowOf returns the row in a key, with its revision.
func rowOf(kv *mvccpb.KeyValue) (versionstore.Row, error) {
	r, err := versionstore.DecodeRow(kv.Value)
	if err == nil && r.Term == 0 {
		err = fmt.Errorf("%w: a row without a term", versionstore.ErrCorrupt)
	}
	if err == nil {
		r.Revision = revisionOf(r.Term, kv.ModRevision)
	}
	return r, err
}

// documentOf returns the document in a key.
func documentOf(kv *mvccpb.KeyValue, kind, name string) versionstore.Document {
	r, err := versionstore.DecodeRow(kv.Value)
	if err != nil {
		return versionstore.Document{Kind: kind, Name: name, Damaged: err}
	}
	r.Revision = uint64(kv.Version)
	return r.Document(kind, name)
}

// pointerOf returns the pointer in a key.
func pointerOf(kv *mvccpb.KeyValue) (versionstore.PointerState, error) {
	r, err := rowOf(kv)
	if err != nil {
		return versionstore.PointerState{}, err
	}
	return r.Pointer()
}

// versionOf returns the version in a key.
func versionOf(kv *mvccpb.KeyValue) (versionstore.Version, error) {
	r, err := rowOf(kv)
	if err != nil {
		return versionstore.Version{}, err
	}
	return r.Version()
}

// newest returns the number of the newest version of config; 0 if there is none.
func (s *Store) newest(ctx context.Context, config string) (uint64, error) {
	answer, err := s.get(ctx, s.keys.name(tagNewest, config))
	if err != nil || len(answer.Kvs) == 0 {
		return 0, err
	}
	return number(answer.Kvs[0].Value), nil
}

// Version implements versionstore.Reader.
func (s *Store) Version(ctx context.Context, config string, version uint64) (versionstore.Version, error) {
	wanted := version
	for range maxAttempts {
		if wanted == 0 {
			last, err := s.newest(ctx, config)
			if err != nil {
				return versionstore.Version{}, err
			}
			version = last
		}
		answer, err := s.get(ctx, s.keys.numbered(tagManifest, config, version))
		if err != nil {
			return versionstore.Version{}, err
		}
		if len(answer.Kvs) > 0 {
			v, err := versionOf(answer.Kvs[0])
			if err != nil {
				err = fmt.Errorf("config %s version %d: %w", config, version, err)
			}
			return v, err
		}
		last, err := s.newest(ctx, config)
		switch {
		case err != nil:
			return versionstore.Version{}, err
		case last == 0:
			return versionstore.Version{}, versionstore.NotFound("there is no config %q", config)
		case wanted != 0:
			return versionstore.Version{}, versionstore.NotFound(
				"%s has no version %d; its newest version is %d", config, version, last)
		}
		// The newest version was removed between the two reads, or the first one was stored.
	}
	return versionstore.Version{}, fmt.Errorf("%w: config %s changes all the time", versionstore.ErrUnavailable, config)
}

// History implements versionstore.Reader. etcd has no cheap descending range, so windows of versions are
// read from the newest one down; a window without enough versions is followed by one twice as wide.
func (s *Store) History(ctx context.Context, config string, before uint64, limit int) ([]versionstore.Version, error) {
	limit = versionstore.PageSize(limit)
	last, err := s.newest(ctx, config)
	if err != nil {
		return nil, err
	}
	if last == 0 && before == 0 {
		return nil, versionstore.NotFound("there is no config %q", config)
	}
	upTo := last + 1
	if before != 0 {
		upTo = min(upTo, before)
	}
	var versions []versionstore.Version
	window := uint64(min(limit, listPage))
	for upTo > 1 && len(versions) < limit {
		from := max(upTo, window+1) - window
		answer, err := s.get(ctx, s.keys.numbered(tagManifest, config, from),
			clientv3.WithRange(s.keys.numbered(tagManifest, config, upTo)))
		if err != nil {
			return nil, err
		}
		for _, kv := range slices.Backward(answer.Kvs) {
			v, err := versionOf(kv)
			if err != nil {
				return versions, err
			}
			versions = append(versions, v)
		}
		if len(answer.Kvs) < listPage/2 {
			window = min(2*window, math.MaxUint32)
		} else {
			window = listPage
		}
		upTo = from
	}
	return versions[:min(len(versions), limit)], nil
}

// Pointer implements versionstore.Reader.
func (s *Store) Pointer(ctx context.Context, config, region string) (versionstore.PointerState, error) {
	answer, err := s.get(ctx, s.keys.pair(tagPointer, region, config))
	if err == nil && len(answer.Kvs) == 0 {
		err = versionstore.ErrNotFound
	}
	var state versionstore.PointerState
	if err == nil {
		state, err = pointerOf(answer.Kvs[0])
	}
	if err != nil {
		return state, fmt.Errorf("pointer of %s in region %s: %w", config, region, err)
	}
	return state, nil
}

// Pointers implements versionstore.Reader. etcd sorts the rows of the region by revision.
func (s *Store) Pointers(
	ctx context.Context, region string, since uint64, limit int,
) ([]versionstore.PointerState, error) {
	term, err := s.Term(ctx)
	if err != nil {
		return nil, err
	}
	prefix := s.keys.name(tagPointer, "")
	if region != "" {
		prefix = s.keys.pair(tagPointer, region, "")
	}
	after := lowest(since, term)
	var states []versionstore.PointerState
	for {
		answer, err := s.get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithMinModRev(after+1),
			clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortAscend), clientv3.WithLimit(listPage))
		if err != nil {
			return nil, err
		}
		whole := wholeRevisions(answer.Kvs, answer.More)
		if answer.More && len(whole) == 0 {
			return nil, fmt.Errorf("%w: more than %d pointers of one revision", versionstore.ErrCorrupt, listPage)
		}
		for _, kv := range whole {
			state, err := pointerOf(kv)
			if err != nil {
				state = versionstore.PointerState{Revision: revisionOf(term, kv.ModRevision), Damaged: damaged(kv, err)}
			}
			after = kv.ModRevision
			if state.Revision <= since {
				continue
			}
			n := len(states)
			if n >= versionstore.PageSize(limit) && state.Revision != states[n-1].Revision {
				return states, nil
			}
			states = append(states, state)
		}
		if !answer.More {
			return states, nil
		}
	}
}

// wholeRevisions returns rows, which are ordered by revision, without those of the last revision if more
// rows follow.
func wholeRevisions(kvs []*mvccpb.KeyValue, more bool) []*mvccpb.KeyValue {
	n := len(kvs)
	if !more || n == 0 {
		return kvs
	}
	last := kvs[n-1].ModRevision
	for n > 0 && kvs[n-1].ModRevision == last {
		n--
	}
	return kvs[:n]
}

func damaged(kv *mvccpb.KeyValue, err error) error {
	return fmt.Errorf("%w: revision %d of etcd, key %q: %w", versionstore.ErrCorrupt, kv.ModRevision, kv.Key, err)
}

// lowest returns a revision of etcd that no write after revision since is at or below. A since of an
// earlier term may be of a history before a restore, in which etcd counted further.
func lowest(since, term uint64) int64 {
	if since/termRevisions+1 != term {
		return 0
	}
	return int64(since % termRevisions)
}

// names calls fn for the keys between from and to, in order and page by page, until fn returns false.
func (s *Store) names(
	ctx context.Context, from, to string, fn func(kv *mvccpb.KeyValue) bool, options ...clientv3.OpOption,
) error {
	for {
		page := append([]clientv3.OpOption{clientv3.WithRange(to), clientv3.WithLimit(listPage)}, options...)
		answer, err := s.get(ctx, from, page...)
		if err != nil {
			return err
		}
		for _, kv := range answer.Kvs {
			if !fn(kv) {
				return nil
			}
		}
		if !answer.More {
			return nil
		}
		from = string(answer.Kvs[len(answer.Kvs)-1].Key) + "\x00"
	}
}

// Configs implements versionstore.Reader.
func (s *Store) Configs(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	var configs []string
	scope := strings.TrimSuffix(prefix, "/")
	from := s.keys.name(tagNewest, scope)
	if after >= scope {
		from = s.keys.name(tagNewest, after+"\x00")
	}
	to := end(s.keys.name(tagNewest, scope))
	if from >= to {
		return nil, nil
	}
	err := s.names(ctx, from, to, func(kv *mvccpb.KeyValue) bool {
		_, name, _ := s.keys.split(string(kv.Key))
		if name > after && (prefix == "" || record.InScope(name, prefix)) {
			configs = append(configs, name)
		}
		return len(configs) < versionstore.PageSize(limit)
	}, clientv3.WithKeysOnly())
	return configs, err
}

// Document implements versionstore.Reader.
func (s *Store) Document(ctx context.Context, kind, name string) (versionstore.Document, error) {
	answer, err := s.get(ctx, s.keys.pair(tagDocument, kind, name))
	if err == nil && len(answer.Kvs) == 0 {
		err = versionstore.ErrNotFound
	}
	var d versionstore.Document
	if err == nil {
		d = documentOf(answer.Kvs[0], kind, name)
		err = d.Damaged
	}
	if err != nil {
		return versionstore.Document{}, fmt.Errorf("%s %s: %w", kind, name, err)
	}
	return d, nil
}

// List implements versionstore.Reader.
func (s *Store) List(ctx context.Context, kind, prefix, after string, limit int) ([]versionstore.Document, error) {
	from := s.keys.pair(tagDocument, kind, prefix)
	to := end(from)
	if after >= prefix {
		from = s.keys.pair(tagDocument, kind, after+"\x00")
	}
	if from >= to {
		return nil, nil
	}
	var all []versionstore.Document
	err := s.names(ctx, from, to, func(kv *mvccpb.KeyValue) bool {
		_, _, name := s.keys.split(string(kv.Key))
		all = append(all, documentOf(kv, kind, name))
		return len(all) < versionstore.PageSize(limit)
	})
	return all, err
}

// Revision implements versionstore.Reader.
func (s *Store) Revision(ctx context.Context) (uint64, error) {
	answer, err := s.read(ctx, clientv3.OpTxn(nil, []clientv3.Op{
		clientv3.OpGet(s.keys.name(tagRevision, "")),
		clientv3.OpGet(s.keys.name(tagTerm, "")),
	}, nil))
	if err != nil {
		return 0, err
	}
	term, err := termOf(answer.Txn().Responses[1].GetResponseRange().Kvs)
	if err != nil {
		return 0, err
	}
	revision := revisionOf(term, 0)
	for _, kv := range answer.Txn().Responses[0].GetResponseRange().Kvs {
		revision = max(revision, revisionOf(number(kv.Value), kv.ModRevision))
	}
	return revision, nil
}

// Term implements versionstore.Reader.
func (s *Store) Term(ctx context.Context) (uint64, error) {
	answer, err := s.get(ctx, s.keys.name(tagTerm, ""))
	if err != nil {
		return 0, err
	}
	return termOf(answer.Kvs)
}

// errNoTerm means that somebody deleted the keys of the store.
var errNoTerm = errors.New("the store has no term: its keys in etcd were deleted or damaged; restore a snapshot of etcd")

// termOf returns the term in the answer to a request for the key of the term.
func termOf(kvs []*mvccpb.KeyValue) (uint64, error) {
	if len(kvs) == 0 || number(kvs[0].Value) == 0 {
		return 0, fmt.Errorf("%w: %w", versionstore.ErrCorrupt, errNoTerm)
	}
	return number(kvs[0].Value), nil
}
