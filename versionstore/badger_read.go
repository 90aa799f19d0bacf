package versionstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"banyan/internal/embeddb"
	"banyan/record"
)

// badgerReader implements Reader.
type badgerReader struct {
	db   *embeddb.DB
	done chan struct{} // closed when the store is closed
}

// read runs fn in a read-only transaction.
func (b badgerReader) read(ctx context.Context, fn func(txn *badger.Txn) error) error {
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

// corrupt adds ErrCorrupt to an error that reports a damaged database.
func corrupt(err error) error {
	if errors.Is(err, embeddb.ErrCorrupt) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// Version implements Reader.
func (b badgerReader) Version(ctx context.Context, config string, version uint64) (Version, error) {
	var v Version
	err := b.read(ctx, func(txn *badger.Txn) error {
		if version == 0 {
			last, err := readNumber(txn, nameKey(tagLast, config))
			if err != nil {
				return err
			}
			if last == 0 {
				return NotFound("there is no config %q", config)
			}
			version = last
		}
		r, err := readRow(txn, numberedKey(tagManifest, config, version))
		if errors.Is(err, ErrNotFound) {
			return noVersion(txn, config, version)
		}
		if err != nil {
			return fmt.Errorf("config %s version %d: %w", config, version, err)
		}
		v, err = r.Version()
		return err
	})
	return v, err
}

// noVersion returns the error of a version that the store does not have.
func noVersion(txn *badger.Txn, config string, version uint64) error {
	last, err := readNumber(txn, nameKey(tagLast, config))
	if err != nil {
		return err
	}
	if last == 0 {
		return NotFound("there is no config %q", config)
	}
	return NotFound("%s has no version %d; its newest version is %d", config, version, last)
}

// History implements Reader.
func (b badgerReader) History(ctx context.Context, config string, before uint64, limit int) ([]Version, error) {
	var versions []Version
	prefix := append(nameKey(tagManifest, config), 0)
	var from []byte
	if before > 0 {
		from = encodeNumber(before - 1)
	}
	err := b.read(ctx, func(txn *badger.Txn) error {
		return embeddb.Scan(txn, prefix, from, true, func(item *badger.Item) (bool, error) {
			r, err := rowOf(item)
			if err != nil {
				return false, err
			}
			v, err := r.Version()
			if err != nil {
				return false, err
			}
			versions = append(versions, v)
			return len(versions) < PageSize(limit), nil
		})
	})
	if err == nil && len(versions) == 0 && before == 0 {
		err = NotFound("there is no config %q", config)
	}
	return versions, err
}

// Pointer implements Reader.
func (b badgerReader) Pointer(ctx context.Context, config, region string) (PointerState, error) {
	var state PointerState
	err := b.read(ctx, func(txn *badger.Txn) error {
		_, r, err := readPointer(txn, config, region)
		if err != nil {
			return fmt.Errorf("pointer of %s in region %s: %w", config, region, err)
		}
		state, err = r.Pointer()
		return err
	})
	return state, err
}

// Pointers implements Reader.
func (b badgerReader) Pointers(
	ctx context.Context, region string, since uint64, limit int,
) ([]PointerState, error) {
	var states []PointerState
	prefix := []byte{tagLog}
	if region != "" {
		prefix = append(nameKey(tagRegion, region), 0)
	}
	err := b.read(ctx, func(txn *badger.Txn) error {
		return embeddb.Scan(txn, prefix, encodeNumber(since+1), false, func(item *badger.Item) (bool, error) {
			if isManifestEntry(item.Key(), len(prefix)) {
				return true, nil
			}
			event := readEvent(txn, item, len(prefix))
			if n := len(states); n >= PageSize(limit) && event.Revision != states[n-1].Revision {
				return false, nil
			}
			if event.Pointer == nil {
				event.Pointer = &PointerState{Revision: event.Revision, Damaged: event.Damaged}
			}
			states = append(states, *event.Pointer)
			return true, nil
		})
	})
	return states, err
}

// Configs implements Reader.
func (b badgerReader) Configs(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	var configs []string
	err := b.read(ctx, func(txn *badger.Txn) error {
		tag := []byte{tagLast}
		start := max(after, strings.TrimSuffix(prefix, "/"))
		return embeddb.Scan(txn, tag, []byte(start), false, func(item *badger.Item) (bool, error) {
			name := string(item.Key()[1:])
			if name > after && (prefix == "" || record.InScope(name, prefix)) {
				configs = append(configs, name)
			}
			return len(configs) < PageSize(limit), nil
		})
	})
	return configs, err
}

// Revision implements Reader.
func (b badgerReader) Revision(ctx context.Context) (uint64, error) {
	var revision uint64
	err := b.read(ctx, func(txn *badger.Txn) (err error) {
		revision, err = readNumber(txn, []byte{tagRevision})
		return err
	})
	return revision, err
}

// Term implements Reader.
func (b badgerReader) Term(ctx context.Context) (uint64, error) {
	var term uint64
	err := b.read(ctx, func(txn *badger.Txn) (err error) {
		term, err = readTerm(txn)
		return err
	})
	return term, err
}

// Document implements Reader.
func (b badgerReader) Document(ctx context.Context, kind, name string) (d Document, err error) {
	err = b.read(ctx, func(txn *badger.Txn) error {
		r, err := readRow(txn, pairKey(tagDocument, kind, name))
		if err != nil {
			return fmt.Errorf("%s %s: %w", kind, name, err)
		}
		d = r.Document(kind, name)
		return nil
	})
	return d, err
}

// List implements Reader.
func (b badgerReader) List(ctx context.Context, kind, prefix, after string, limit int) ([]Document, error) {
	var all []Document
	head := pairKey(tagDocument, kind, "")
	from := ""
	if after >= prefix {
		from = after + "\x00"
	}
	err := b.read(ctx, func(txn *badger.Txn) error {
		return scanNames(txn, head, prefix, from, func(item *badger.Item) (bool, error) {
			name := string(item.Key()[len(head):])
			r, err := rowOf(item)
			switch {
			case isDamage(err):
				all = append(all, Document{Kind: kind, Name: name, Damaged: corrupt(err)})
			case err != nil:
				return false, err
			default:
				all = append(all, r.Document(kind, name))
			}
			return len(all) < PageSize(limit), nil
		})
	})
	return all, err
}

// scanNames calls fn for the keys that are head and a name, for the names that begin with prefix and
// do not sort before from, in order, until fn returns false or an error.
func scanNames(
	txn *badger.Txn, head []byte, prefix, from string, fn func(item *badger.Item) (bool, error),
) error {
	if from > prefix && !strings.HasPrefix(from, prefix) {
		return nil // every name with the prefix sorts before from
	}
	rest := strings.TrimPrefix(max(from, prefix), prefix)
	return embeddb.Scan(txn, slices.Concat(head, []byte(prefix)), []byte(rest), false, fn)
}

// eventsAfter returns about watchBatch events after revision since: the events of one revision come
// together. more reports whether further events follow.
func (b badgerReader) eventsAfter(ctx context.Context, since uint64) (events []Event, more bool, err error) {
	err = b.read(ctx, func(txn *badger.Txn) error {
		return embeddb.Scan(txn, []byte{tagLog}, encodeNumber(since+1), false, func(item *badger.Item) (bool, error) {
			e := readEvent(txn, item, 1)
			if n := len(events); n >= watchBatch && e.Revision != events[n-1].Revision {
				more = true
				return false, nil
			}
			events = append(events, e)
			return true, nil
		})
	})
	return events, more, err
}
