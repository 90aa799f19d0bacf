package versionstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"banyan/internal/embeddb"
	"banyan/mesh/tree"
	"banyan/record"
)

// Badger is the embedded implementation of Store and Replica. One process may have it
// open. Every write is synchronous.
type Badger struct {
	badgerReader
	firstBlock uint32 // the block of agent indices to reserve first if it is free; chosen at random

	mu      sync.Mutex    // serializes writes, and guards the fields below
	changed chan struct{} // closed and replaced after each write
	closed  bool
}

var _ Replica = (*Badger)(nil)

// OpenBadger opens or creates the store in dir. If acknowledged writes are missing, the error wraps
// ErrLost; AcceptLoss opens such a store.
func OpenBadger(dir string, o embeddb.Options) (*Badger, error) {
	o.Mark = true
	db, err := embeddb.Open(dir, o)
	if errors.Is(err, embeddb.ErrBehind) {
		return nil, fmt.Errorf("%w: %w; restore a backup of %s, or give the lost writes up with "+
			"'banyan store accept-loss'; after either, 'banyan store recover' takes back what hosts have", ErrLost, err, dir)
	}
	if err != nil {
		return nil, err
	}
	reader := badgerReader{db: db, done: make(chan struct{})}
	return &Badger{
		badgerReader: reader,
		firstBlock:   rand.Uint32N(tree.IndexBlocks),
		changed:      make(chan struct{}),
	}, nil
}

// AcceptLoss gives up the acknowledged writes that are missing in the store in dir, so that the
// store opens. It returns the directory of the copies of the damaged logs.
func AcceptLoss(dir string, o embeddb.Options) (saved string, err error) {
	return embeddb.AcceptLoss(dir, o)
}

// Close implements Store.
func (b *Badger) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	close(b.done)
	return b.db.Close()
}

// errUnchanged ends a transaction that writes nothing.
var errUnchanged = errors.New("nothing to write")

// writeAt runs fn in a transaction and wakes the watchers. fn gets the current revision and
// returns the revision after the transaction; the current one means that the log of
// revisions does not grow. If fn returns errUnchanged, nothing is written.
func (b *Badger) writeAt(
	ctx context.Context,
	fn func(txn *badger.Txn, current uint64) (uint64, error),
) (revision uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, ErrClosed
	}
	err = b.db.Write(func(txn *badger.Txn) error {
		current, err := readNumber(txn, []byte{tagRevision})
		if err != nil {
			return err
		}
		revision, err = fn(txn, current)
		if err != nil || revision <= current {
			return err
		}
		return embeddb.Put(txn, []byte{tagRevision}, encodeNumber(revision))
	})
	if errors.Is(err, errUnchanged) {
		return revision, nil
	}
	unknown := errors.Is(err, embeddb.ErrUnknown)
	if err != nil && !unknown {
		return 0, corrupt(err)
	}
	close(b.changed)
	b.changed = make(chan struct{})
	if unknown {
		return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return revision, nil
}

// ImportManifest implements Replica.
func (b *Badger) ImportManifest(ctx context.Context, m record.Manifest, raw []byte, revision uint64) error {
	_, err := b.writeAt(ctx, func(txn *badger.Txn, current uint64) (uint64, error) {
		key := numberedKey(tagManifest, m.Config, m.Version)
		held, err := readRow(txn, key)
		if err == nil && bytes.Equal(held.Raw, raw) {
			return current, errUnchanged
		}
		// The pointer that names the manifest is imported with the same revision and
		// needs the entry in the log, so the manifest gets none.
		encoded, err := newRow(raw, "import", revision).Encode()
		if err != nil {
			return current, err
		}
		last, err := readNumber(txn, nameKey(tagLast, m.Config))
		if err != nil {
			return current, err
		}
		if err := embeddb.Put(txn, key, encoded); err != nil {
			return current, err
		}
		return current, embeddb.Put(txn, nameKey(tagLast, m.Config), encodeNumber(max(last, m.Version)))
	})
	return err
}

// ImportPointer implements Replica.
func (b *Badger) ImportPointer(ctx context.Context, p record.Pointer, raw []byte, revision uint64) error {
	_, err := b.writeAt(ctx, func(txn *badger.Txn, current uint64) (uint64, error) {
		held, at, err := readPointer(txn, p.Config, p.Region)
		if err != nil && !errors.Is(err, ErrNotFound) && !isDamage(err) {
			return current, err
		}
		if p.Position() <= held.Position() {
			return current, errUnchanged
		}
		r := newRow(raw, "import", revision)
		return max(current, revision), putPointer(txn, p, r, at.Revision)
	})
	return err
}

// Commit implements Store.
func (b *Badger) Commit(ctx context.Context, t Transaction) (uint64, error) {
	if err := t.Check(); err != nil {
		return 0, err
	}
	return b.writeAt(ctx, func(txn *badger.Txn, current uint64) (uint64, error) {
		return current + 1, carryOut(txn, &t, current+1)
	})
}

// carryOut makes the writes of a transaction if all of its conditions hold.
func carryOut(txn *badger.Txn, t *Transaction, revision uint64) error {
	if err := checkTerm(txn, t.Term); err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	rowFor := func(raw []byte, by string) Row {
		return Row{Raw: raw, By: by, AtMicros: now, Revision: revision}
	}
	for _, g := range t.Guards {
		if err := checkGuard(txn, g); err != nil {
			return err
		}
	}
	for _, v := range t.Versions {
		if err := addManifest(txn, v.Manifest, rowFor(v.Raw, v.By)); err != nil {
			return err
		}
	}
	for _, v := range t.Recovered.Versions {
		if err := recoverManifest(txn, v.Manifest, rowFor(v.Raw, v.By)); err != nil {
			return err
		}
	}
	for _, p := range t.Pointers {
		if err := movePointer(txn, p.Pointer, rowFor(p.Raw, t.By)); err != nil {
			return err
		}
	}
	for _, p := range t.Recovered.Pointers {
		if err := recoverPointer(txn, p.Pointer, rowFor(p.Raw, t.By)); err != nil {
			return err
		}
	}
	for _, r := range t.Removals {
		if err := removeVersions(txn, r); err != nil {
			return err
		}
	}
	for _, d := range t.Documents {
		r := rowFor(d.Raw, t.By)
		r.Revision = d.IfSeq + 1
		if err := writeDocument(txn, d, r); err != nil {
			return err
		}
	}
	return nil
}

// Lead implements Store. No other process has the store open, so the caller leads at once, in the term
// of the store.
func (b *Badger) Lead(ctx context.Context, _ string) (*Lead, error) {
	term, err := b.Term(ctx)
	if err != nil {
		return nil, err
	}
	return &Lead{Term: term, Lost: b.done, Resign: func(context.Context) error { return nil }}, nil
}

// RaiseTerm implements Store.
func (b *Badger) RaiseTerm(ctx context.Context, atLeast uint64) (term uint64, err error) {
	_, err = b.writeAt(ctx, func(txn *badger.Txn, current uint64) (uint64, error) {
		now, err := readTerm(txn)
		if err != nil {
			return current, err
		}
		term = max(now+1, atLeast)
		if term > record.MaxTerm {
			return current, fmt.Errorf("term %d: %w", term, record.ErrTooLarge)
		}
		first := uint64(record.At(term-1, 0))
		return max(current, first), embeddb.Put(txn, []byte{tagTerm}, encodeNumber(term))
	})
	return term, err
}

// ReserveIndices implements Store.
func (b *Badger) ReserveIndices(ctx context.Context, region string) (uint32, error) {
	var block uint32
	_, err := b.writeAt(ctx, func(txn *badger.Txn, current uint64) (uint64, error) {
		var err error
		block, err = b.freeBlock(txn, region)
		if err != nil {
			return current, err
		}
		return current, embeddb.Put(txn, blockKey(region, block), nil)
	})
	return block * tree.IndexBlock, err
}

// freeBlock returns the first block of agent indices, from the store's first block on, that is not
// reserved.
func (b *Badger) freeBlock(txn *badger.Txn, region string) (uint32, error) {
	for i := range uint32(tree.IndexBlocks) {
		block := (b.firstBlock + i) % tree.IndexBlocks
		_, err := txn.Get(blockKey(region, block))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return block, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("the %d agent indices of region %s are used up", tree.IndexBlocks*tree.IndexBlock, region)
}

// ofOneRevision returns the events at the start of a list that have the same revision.
func ofOneRevision(events []Event) []Event {
	n := 1
	for n < len(events) && events[n].Revision == events[0].Revision {
		n++
	}
	return events[:n]
}

// Watch implements Store.
func (b *Badger) Watch(ctx context.Context, since uint64, fn func([]Event) error) error {
	for {
		b.mu.Lock()
		// The channel is taken before the events are read: a write after the read
		// closes this channel.
		changed := b.changed
		b.mu.Unlock()
		for {
			events, more, err := b.eventsAfter(ctx, since)
			if err != nil {
				return err
			}
			for len(events) > 0 {
				together := ofOneRevision(events)
				if err := fn(together); err != nil {
					return err
				}
				since = together[0].Revision
				events = events[len(together):]
			}
			if !more {
				break
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-b.done:
			return ErrClosed
		}
	}
}
