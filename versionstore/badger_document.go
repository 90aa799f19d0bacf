package versionstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"banyan/internal/embeddb"
	"banyan/record"
)

// Commit implements Store.
func (b *Badger) Commit(ctx context.Context, t Transaction) (uint64, error) {
	return b.writeAt(ctx, func(txn *badger.Txn, current uint64) (uint64, error) {
		now := time.Now().UnixMicro()
		revision := current
		for _, p := range t.Pointers {
			revision++
			if err := movePointer(txn, p.Pointer, row{Raw: p.Raw, By: t.By, AtMicros: now, Revision: revision}); err != nil {
				return current, err
			}
		}
		for _, d := range t.Documents {
			if err := writeDocument(txn, d, row{Raw: d.Raw, By: t.By, AtMicros: now, Revision: d.IfSeq + 1}); err != nil {
				return current, err
			}
		}
		return max(revision, current+1), nil
	})
}

// writeDocument stores a document's row, whose revision is its sequence.
func writeDocument(txn *badger.Txn, d DocumentWrite, r row) error {
	if len(d.Raw) > MaxDocument {
		return fmt.Errorf("%w: %s %s of %d bytes, the limit is %d", record.ErrTooLarge, d.Kind, d.Name, len(d.Raw), MaxDocument)
	}
	if d.Name == "" || strings.ContainsRune(d.Kind+d.Name, 0) {
		return fmt.Errorf("%w: a %s of the name %q", record.ErrInvalid, d.Kind, d.Name)
	}
	key := pairKey(tagDocument, d.Kind, d.Name)
	held, err := readRow(txn, key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if held.Revision != d.IfSeq {
		return &ConflictError{What: d.Kind, Config: d.Name, Wanted: d.IfSeq + 1, Current: held.Revision, By: held.By, At: held.at()}
	}
	if d.Raw == nil {
		return txn.Delete(key)
	}
	encoded, err := r.encode()
	if err != nil {
		return err
	}
	return embeddb.Put(txn, key, encoded)
}

// Document implements Store.
func (b *Badger) Document(ctx context.Context, kind, name string) (d Document, err error) {
	err = b.read(ctx, func(txn *badger.Txn) error {
		r, err := readRow(txn, pairKey(tagDocument, kind, name))
		if err != nil {
			return fmt.Errorf("%s %s: %w", kind, name, err)
		}
		d = r.document(kind, name)
		return nil
	})
	return d, err
}

// List implements Store.
func (b *Badger) List(ctx context.Context, kind, prefix string, limit int) ([]Document, error) {
	var all []Document
	head := pairKey(tagDocument, kind, "")
	err := b.read(ctx, func(txn *badger.Txn) error {
		return embeddb.Scan(txn, append(head, prefix...), nil, false, func(item *badger.Item) (bool, error) {
			r, err := rowOf(item)
			if err != nil {
				return false, err
			}
			all = append(all, r.document(kind, string(item.Key()[len(head):])))
			return len(all) < clampLimit(limit), nil
		})
	})
	return all, err
}

func (r row) document(kind, name string) Document {
	return Document{Kind: kind, Name: name, Raw: r.Raw, Seq: r.Revision, By: r.By, At: r.at()}
}
