package versionstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"banyan/internal/embeddb"
	"banyan/record"
)

// Version implements Store.
func (b *Badger) Version(ctx context.Context, config string, version uint64) (Version, error) {
	var v Version
	err := b.read(ctx, func(txn *badger.Txn) error {
		if version == 0 {
			last, err := readNumber(txn, nameKey(tagLast, config))
			if err != nil {
				return err
			}
			if last == 0 {
				return fmt.Errorf("config %s: %w", config, ErrNotFound)
			}
			version = last
		}
		r, err := readRow(txn, numberedKey(tagManifest, config, version))
		if err != nil {
			return fmt.Errorf("config %s version %d: %w", config, version, err)
		}
		v, err = r.version()
		return err
	})
	return v, err
}

// History implements Store.
func (b *Badger) History(ctx context.Context, config string, before uint64, limit int) ([]Version, error) {
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
			v, err := r.version()
			if err != nil {
				return false, err
			}
			versions = append(versions, v)
			return len(versions) < clampLimit(limit), nil
		})
	})
	if err == nil && len(versions) == 0 && before == 0 {
		err = fmt.Errorf("config %s: %w", config, ErrNotFound)
	}
	return versions, err
}

// Pointer implements Store.
func (b *Badger) Pointer(ctx context.Context, config, region string) (PointerState, error) {
	var state PointerState
	err := b.read(ctx, func(txn *badger.Txn) error {
		_, r, err := readPointer(txn, config, region)
		if err != nil {
			return fmt.Errorf("pointer of %s in region %s: %w", config, region, err)
		}
		state, err = r.pointer()
		return err
	})
	return state, err
}

// Pointers implements Store.
func (b *Badger) Pointers(ctx context.Context, region string, since uint64) ([]PointerState, error) {
	var states []PointerState
	prefix := []byte{tagLog}
	if region != "" {
		prefix = append(nameKey(tagRegion, region), 0)
	}
	err := b.read(ctx, func(txn *badger.Txn) error {
		return embeddb.Scan(txn, prefix, encodeNumber(since+1), false, func(item *badger.Item) (bool, error) {
			event, err := readEvent(txn, item)
			if err != nil {
				return false, err
			}
			if event.Pointer != nil {
				states = append(states, *event.Pointer)
			}
			return true, nil
		})
	})
	return states, err
}

// Configs implements Store.
func (b *Badger) Configs(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	var configs []string
	err := b.read(ctx, func(txn *badger.Txn) error {
		tag := []byte{tagLast}
		start := max(after, strings.TrimSuffix(prefix, "/"))
		return embeddb.Scan(txn, tag, []byte(start), false, func(item *badger.Item) (bool, error) {
			name := string(item.Key()[1:])
			if name > after && (prefix == "" || record.InScope(name, prefix)) {
				configs = append(configs, name)
			}
			return len(configs) < clampLimit(limit), nil
		})
	})
	return configs, err
}

// Schema implements Store.
func (b *Badger) Schema(ctx context.Context, config string) ([]byte, error) {
	var schema []byte
	err := b.read(ctx, func(txn *badger.Txn) (err error) {
		schema, err = embeddb.Get(txn, nameKey(tagSchema, config))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return fmt.Errorf("schema of %s: %w", config, ErrNotFound)
		}
		return err
	})
	return schema, err
}

// Revision implements Store.
func (b *Badger) Revision(ctx context.Context) (uint64, error) {
	var revision uint64
	err := b.read(ctx, func(txn *badger.Txn) (err error) {
		revision, err = readNumber(txn, []byte{tagRevision})
		return err
	})
	return revision, err
}

func clampLimit(limit int) int {
	if limit <= 0 || limit > MaxPage {
		return MaxPage
	}
	return limit
}

func readNumber(txn *badger.Txn, key []byte) (uint64, error) {
	v, err := embeddb.Get(txn, key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, nil
	}
	return number(v), err
}

func readRow(txn *badger.Txn, key []byte) (row, error) {
	v, err := embeddb.Get(txn, key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return row{}, ErrNotFound
	}
	if err != nil {
		return row{}, err
	}
	return decodeRow(v)
}

func rowOf(item *badger.Item) (row, error) {
	v, err := embeddb.Value(item)
	if err != nil {
		return row{}, err
	}
	return decodeRow(v)
}

func readPointer(txn *badger.Txn, config, region string) (record.Pointer, row, error) {
	r, err := readRow(txn, pairKey(tagPointer, config, region))
	if err != nil {
		return record.Pointer{}, r, err
	}
	p, err := record.DecodePointer(r.Raw)
	if err != nil {
		return p, r, fmt.Errorf("%w: %s", ErrCorrupt, err)
	}
	return p, r, nil
}

// readEvent follows an entry of the log, or of a region's index, to its row.
func readEvent(txn *badger.Txn, item *badger.Item) (Event, error) {
	key, err := embeddb.Value(item)
	if err != nil {
		return Event{}, err
	}
	r, err := readRow(txn, key)
	if err != nil {
		return Event{}, fmt.Errorf("%w: revision %d: %w", ErrCorrupt, number(item.Key()), err)
	}
	event := Event{Revision: r.Revision}
	if bytes.HasPrefix(key, []byte{tagManifest}) {
		v, err := r.version()
		event.Version = &v
		return event, err
	}
	p, err := r.pointer()
	event.Pointer = &p
	return event, err
}

func (r row) version() (Version, error) {
	m, err := record.DecodeManifest(r.Raw)
	if err != nil {
		return Version{}, fmt.Errorf("%w: %s", ErrCorrupt, err)
	}
	return Version{Manifest: m, Raw: r.Raw, By: r.By, At: r.at(), Revision: r.Revision}, nil
}

func (r row) pointer() (PointerState, error) {
	p, err := record.DecodePointer(r.Raw)
	if err != nil {
		return PointerState{}, fmt.Errorf("%w: %s", ErrCorrupt, err)
	}
	return PointerState{Pointer: p, Raw: r.Raw, By: r.By, At: r.at(), Revision: r.Revision}, nil
}
