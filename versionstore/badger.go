package versionstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"banyan/internal/embeddb"
	"banyan/record"
)

// Badger is the embedded Store: one process, synchronous writes.
type Badger struct {
	db *embeddb.DB

	mu      sync.Mutex // serializes writes; below: guarded by it
	changed chan struct{}
	closed  bool
	done    chan struct{}
}

var (
	_ Store   = (*Badger)(nil)
	_ Replica = (*Badger)(nil)
)

// OpenBadger opens or creates the store in dir.
func OpenBadger(dir string, o embeddb.Options) (*Badger, error) {
	db, err := embeddb.Open(dir, o)
	if err != nil {
		return nil, err
	}
	return &Badger{db: db, changed: make(chan struct{}), done: make(chan struct{})}, nil
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

// write runs fn as the transaction of one new revision and wakes the watchers.
func (b *Badger) write(ctx context.Context, fn func(txn *badger.Txn, revision uint64) error) (uint64, error) {
	return b.writeAt(ctx, func(txn *badger.Txn, current uint64) (uint64, error) {
		return current + 1, fn(txn, current+1)
	})
}

func (b *Badger) writeAt(ctx context.Context, fn func(txn *badger.Txn, current uint64) (uint64, error)) (revision uint64, err error) {
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
		if revision, err = fn(txn, current); err != nil || revision <= current {
			return err
		}
		return embeddb.Put(txn, []byte{tagRevision}, encodeNumber(revision))
	})
	if err != nil {
		return 0, corrupt(err)
	}
	close(b.changed)
	b.changed = make(chan struct{})
	return revision, nil
}

func (b *Badger) read(ctx context.Context, fn func(txn *badger.Txn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-b.done:
		return ErrClosed
	default:
	}
	err := b.db.View(fn)
	if errors.Is(err, badger.ErrDBClosed) {
		return ErrClosed
	}
	return corrupt(err)
}

func corrupt(err error) error {
	if errors.Is(err, embeddb.ErrCorrupt) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// PutManifest implements Store.
func (b *Badger) PutManifest(ctx context.Context, m record.Manifest, raw []byte, by string) (uint64, error) {
	return b.write(ctx, func(txn *badger.Txn, revision uint64) error {
		last, err := readNumber(txn, nameKey(tagLast, m.Config))
		if err != nil {
			return err
		}
		if m.Version != last+1 {
			return b.versionConflict(txn, m, last)
		}
		return putManifest(txn, m, row{Raw: raw, By: by, AtMicros: time.Now().UnixMicro(), Revision: revision})
	})
}

func (b *Badger) versionConflict(txn *badger.Txn, m record.Manifest, last uint64) error {
	conflict := &ConflictError{What: "version", Config: m.Config, Wanted: m.Version, Current: last}
	if last > 0 {
		if r, err := readRow(txn, numberedKey(tagManifest, m.Config, last)); err == nil {
			conflict.By, conflict.At = r.By, r.at()
		}
	}
	return conflict
}

func putManifest(txn *badger.Txn, m record.Manifest, r row) error {
	key := numberedKey(tagManifest, m.Config, m.Version)
	if err := putRow(txn, key, r); err != nil {
		return err
	}
	last, err := readNumber(txn, nameKey(tagLast, m.Config))
	if err != nil {
		return err
	}
	return embeddb.Put(txn, nameKey(tagLast, m.Config), encodeNumber(max(last, m.Version)))
}

// MovePointer implements Store.
func (b *Badger) MovePointer(ctx context.Context, p record.Pointer, raw []byte, by string) (uint64, error) {
	return b.write(ctx, func(txn *badger.Txn, revision uint64) error {
		return movePointer(txn, p, row{Raw: raw, By: by, AtMicros: time.Now().UnixMicro(), Revision: revision})
	})
}

func movePointer(txn *badger.Txn, p record.Pointer, r row) error {
	current, at, err := readPointer(txn, p.Config, p.Region)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if p.Epoch != current.Epoch+1 {
		return &ConflictError{What: "epoch", Config: p.Config, Region: p.Region, Wanted: p.Epoch, Current: current.Epoch, By: at.By, At: at.at()}
	}
	for _, v := range []uint64{p.Baseline, p.Candidate} {
		if v == 0 {
			continue
		}
		if _, err := readRow(txn, numberedKey(tagManifest, p.Config, v)); err != nil {
			return fmt.Errorf("%s version %d: %w", p.Config, v, err)
		}
	}
	return putPointer(txn, p, r, at.Revision)
}

func putPointer(txn *badger.Txn, p record.Pointer, r row, replaced uint64) error {
	if replaced != 0 {
		for _, stale := range [][]byte{numberedKey(tagRegion, p.Region, replaced), logKey(replaced)} {
			if err := txn.Delete(stale); err != nil {
				return err
			}
		}
	}
	key := pairKey(tagPointer, p.Config, p.Region)
	if err := putRow(txn, key, r); err != nil {
		return err
	}
	return embeddb.Put(txn, numberedKey(tagRegion, p.Region, r.Revision), key)
}

// putRow stores a row and its place in the log.
func putRow(txn *badger.Txn, key []byte, r row) error {
	encoded, err := r.encode()
	if err != nil {
		return err
	}
	if err := embeddb.Put(txn, key, encoded); err != nil {
		return err
	}
	return embeddb.Put(txn, logKey(r.Revision), key)
}

// ImportManifest implements Replica.
func (b *Badger) ImportManifest(ctx context.Context, m record.Manifest, raw []byte, revision uint64) error {
	_, err := b.writeAt(ctx, func(txn *badger.Txn, current uint64) (uint64, error) {
		key := numberedKey(tagManifest, m.Config, m.Version)
		if _, err := readRow(txn, key); err == nil {
			return current, nil
		}
		// A manifest is imported with the pointer that names it, whose place in
		// the log it must not take: it gets no place of its own.
		encoded, err := row{Raw: raw, By: "import", AtMicros: time.Now().UnixMicro(), Revision: revision}.encode()
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
		if err != nil && !errors.Is(err, ErrNotFound) {
			return current, err
		}
		if p.Epoch <= held.Epoch {
			return current, nil
		}
		r := row{Raw: raw, By: "import", AtMicros: time.Now().UnixMicro(), Revision: revision}
		return max(current, revision), putPointer(txn, p, r, at.Revision)
	})
	return err
}

// PutSchema implements Store.
func (b *Badger) PutSchema(ctx context.Context, config string, schema []byte, _ string) error {
	if len(schema) > MaxSchema {
		return fmt.Errorf("%w: schema of %d bytes, the limit is %d", record.ErrTooLarge, len(schema), MaxSchema)
	}
	_, err := b.write(ctx, func(txn *badger.Txn, _ uint64) error {
		if len(schema) == 0 {
			return txn.Delete(nameKey(tagSchema, config))
		}
		return embeddb.Put(txn, nameKey(tagSchema, config), schema)
	})
	return err
}

// ReserveIndices implements Store.
func (b *Badger) ReserveIndices(ctx context.Context, region string, n uint32) (uint32, error) {
	var first uint64
	_, err := b.writeAt(ctx, func(txn *badger.Txn, current uint64) (uint64, error) {
		var err error
		if first, err = readNumber(txn, nameKey(tagIndices, region)); err != nil {
			return current, err
		}
		if first+uint64(n) > 1<<32 {
			return current, fmt.Errorf("agent indices of region %s are used up", region)
		}
		return current, embeddb.Put(txn, nameKey(tagIndices, region), encodeNumber(first+uint64(n)))
	})
	return uint32(first), err
}
