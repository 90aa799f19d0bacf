package etcdstore

import (
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"banyan/versionstore"
)

func isCompacted(err error) bool { return errors.Is(err, rpctypes.ErrCompacted) }

// watcher reports the writes after a revision. It lists what is newer than what it has reported, and
// then follows etcd's watch. If etcd ends the watch, for example because a compaction overtook it, the
// watcher lists again: it then reports the newest write of each key, and no write twice.
type watcher struct {
	store *Store
	since uint64
	at    int64  // the revision of etcd up to which everything was reported
	term  uint64 // at the begin of the watch
	fn    func([]versionstore.Event) error
}

// Watch implements versionstore.Store.
func (s *Store) Watch(ctx context.Context, since uint64, fn func([]versionstore.Event) error) error {
	term, err := s.Term(ctx)
	if err != nil {
		return err
	}
	w := &watcher{store: s, since: since, at: lowest(since, term), term: term, fn: fn}
	for {
		err := w.list(ctx)
		if err == nil {
			err = w.follow(ctx)
		}
		var ended callerError
		switch {
		case errors.As(err, &ended):
			return ended.error
		case errors.Is(err, errWatchEnded), errors.Is(err, versionstore.ErrUnavailable), isCompacted(err):
			// Nothing is lost: the rows are listed again.
		default:
			return err
		}
		if err := s.pause(ctx); err != nil {
			return err
		}
	}
}

// errWatchEnded means that etcd ended a watch.
var errWatchEnded = errors.New("etcd ended the watch")

// callerError is an error of the caller's function, which ends the watch.
type callerError struct{ error }

// listed is a key that is newer than what was reported.
type listed struct {
	key string
	mod int64
}

// list reports the rows that were written after w.at, in the order of their revisions.
func (w *watcher) list(ctx context.Context) error {
	newer, at, err := w.newer(ctx)
	if err != nil {
		return err
	}
	for len(newer) > 0 {
		n := min(getBatch, len(newer))
		for n < len(newer) && newer[n].mod == newer[n-1].mod { // the rows of a transaction stay together
			n++
		}
		if err := w.reportListed(ctx, newer[:n]); err != nil {
			return err
		}
		w.at = newer[n-1].mod
		newer = newer[n:]
	}
	w.at = at
	return nil
}

// newer returns the keys of the rows that were written after w.at, by revision, and the revision of
// etcd at which they were listed.
func (w *watcher) newer(ctx context.Context) (keys []listed, at int64, err error) {
	options := []clientv3.OpOption{clientv3.WithKeysOnly()}
	first, err := w.store.get(ctx, w.store.keys.name(tagTerm, ""))
	if err != nil {
		return nil, 0, err
	}
	at = first.Header.Revision
	for _, tag := range []string{tagManifest, tagPointer} {
		from := w.store.keys.name(tag, "")
		collect := func(kv *mvccpb.KeyValue) bool {
			if kv.ModRevision > w.at {
				keys = append(keys, listed{string(kv.Key), kv.ModRevision})
			}
			return true
		}
		err := w.store.names(ctx, from, end(from), collect, append(options, clientv3.WithRev(at))...)
		if err != nil {
			return nil, 0, err
		}
	}
	slices.SortStableFunc(keys, func(a, b listed) int { return int(a.mod - b.mod) })
	return keys, at, nil
}

// reportListed reports the rows of keys. A row that was written again meanwhile is left out: the watch
// that follows reports it.
func (w *watcher) reportListed(ctx context.Context, keys []listed) error {
	var rows []*mvccpb.KeyValue
	for batch := range slices.Chunk(keys, getBatch) {
		var gets []clientv3.Op
		for _, k := range batch {
			gets = append(gets, clientv3.OpGet(k.key))
		}
		answer, err := w.store.read(ctx, clientv3.OpTxn(nil, gets, nil))
		if err != nil {
			return err
		}
		for i, k := range batch {
			kvs := answer.Txn().Responses[i].GetResponseRange().Kvs
			if len(kvs) > 0 && kvs[0].ModRevision == k.mod {
				rows = append(rows, kvs[0])
			}
		}
	}
	return w.report(rows)
}

// follow reports the writes after w.at until etcd ends the watch.
func (w *watcher) follow(ctx context.Context) error {
	watch, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	from := w.store.keys.name(tagManifest, "")
	answers := w.store.client.Watch(watch, from,
		clientv3.WithRange(end(w.store.keys.name(tagPointer, ""))), clientv3.WithRev(w.at+1), clientv3.WithFilterDelete())
	for {
		select {
		case answer, open := <-answers:
			if !open || answer.Err() != nil {
				return errWatchEnded
			}
			var rows []*mvccpb.KeyValue
			for _, e := range answer.Events {
				rows = append(rows, e.Kv)
			}
			if err := w.report(rows); err != nil {
				return err
			}
		case <-w.store.done:
			return versionstore.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// report calls the caller's function for each transaction in rows, which are ordered by revision.
func (w *watcher) report(rows []*mvccpb.KeyValue) error {
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].ModRevision == rows[0].ModRevision {
			n++
		}
		events := w.events(rows[:n])
		if len(events) > 0 {
			if err := w.fn(events); err != nil {
				return callerError{err}
			}
		}
		w.at = max(w.at, rows[0].ModRevision)
		rows = rows[n:]
	}
	return nil
}

// events returns the events of the rows of a transaction that the caller has not seen.
func (w *watcher) events(rows []*mvccpb.KeyValue) []versionstore.Event {
	var events []versionstore.Event
	for _, kv := range rows {
		tag, _, _ := w.store.keys.split(string(kv.Key))
		if tag == tagNewest || kv.ModRevision <= w.at {
			continue
		}
		e, err := eventOf(tag, kv)
		if err != nil {
			e = versionstore.Event{Revision: revisionOf(w.term, kv.ModRevision), Damaged: damaged(kv, err)}
		}
		if e.Revision > w.since {
			events = append(events, e)
		}
	}
	return events
}

// eventOf returns the event of a row.
func eventOf(tag string, kv *mvccpb.KeyValue) (versionstore.Event, error) {
	r, err := rowOf(kv)
	e := versionstore.Event{Revision: r.Revision}
	if err != nil {
		return e, err
	}
	if tag == tagManifest {
		v, err := r.Version()
		e.Version = &v
		return e, err
	}
	p, err := r.Pointer()
	e.Pointer = &p
	return e, err
}
