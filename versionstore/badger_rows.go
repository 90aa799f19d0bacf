package versionstore

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"banyan/internal/embeddb"
	"banyan/record"
)

// readNumber returns the number stored under key; 0 if there is none.
func readNumber(txn *badger.Txn, key []byte) (uint64, error) {
	v, err := embeddb.Get(txn, key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, nil
	}
	return number(v), err
}

// readTerm returns the term of the store. A new store is in term 1.
func readTerm(txn *badger.Txn) (uint64, error) {
	term, err := readNumber(txn, []byte{tagTerm})
	return max(term, 1), err
}

// checkTerm returns a *FencedError if the store is in another term than the writer.
func checkTerm(txn *badger.Txn, term uint64) error {
	current, err := readTerm(txn)
	if err == nil && current != term {
		err = &FencedError{Term: term, Current: current}
	}
	return err
}

// readRow returns the row stored under key, or ErrNotFound.
func readRow(txn *badger.Txn, key []byte) (Row, error) {
	v, err := embeddb.Get(txn, key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return Row{}, ErrNotFound
	}
	if err != nil {
		return Row{}, err
	}
	return DecodeRow(v)
}

// rowOf returns the row that item holds.
func rowOf(item *badger.Item) (Row, error) {
	v, err := embeddb.Value(item)
	if err != nil {
		return Row{}, err
	}
	return DecodeRow(v)
}

// readPointer returns a pointer and its row, or ErrNotFound.
func readPointer(txn *badger.Txn, config, region string) (record.Pointer, Row, error) {
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

// readEvent returns the event of an entry in the log of revisions or in the index of a
// region. prefix is the part of the key of the entry before the revision. The value of the entry
// is the key of the row. A damaged row gives a damaged event.
func readEvent(txn *badger.Txn, item *badger.Item, prefix int) Event {
	event := Event{Revision: number(item.Key()[:min(prefix+8, len(item.Key()))])}
	key, err := embeddb.Value(item)
	if err == nil {
		err = event.read(txn, key)
	}
	if err != nil {
		event.Damaged = fmt.Errorf("%w: revision %d, key %q: %w", ErrCorrupt, event.Revision, key, err)
	}
	return event
}

// read fills the event with the row stored under key.
func (e *Event) read(txn *badger.Txn, key []byte) error {
	r, err := readRow(txn, key)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(key, []byte{tagManifest}) {
		v, err := r.Version()
		if err == nil {
			e.Version = &v
		}
		return err
	}
	p, err := r.Pointer()
	if err == nil {
		e.Pointer = &p
	}
	return err
}

// isDamage reports whether err says that stored bytes are damaged.
func isDamage(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, embeddb.ErrCorrupt)
}

// versionConflict describes the newest version of m's config, which is not the one before m.
func versionConflict(txn *badger.Txn, m record.Manifest, last uint64) error {
	conflict := &ConflictError{What: "version", Config: m.Config, Wanted: m.Version, Current: last}
	if last == 0 {
		return conflict
	}
	r, err := readRow(txn, numberedKey(tagManifest, m.Config, last))
	if err == nil {
		conflict.By = r.By
		conflict.At = r.At()
	}
	return conflict
}

// addManifest stores a manifest, whose row is r, if its version is the next one of the config.
func addManifest(txn *badger.Txn, m record.Manifest, r Row) error {
	last, err := readNumber(txn, nameKey(tagLast, m.Config))
	if err != nil {
		return err
	}
	if m.Version != last+1 {
		return versionConflict(txn, m, last)
	}
	if err := putRow(txn, numberedKey(tagManifest, m.Config, m.Version), r); err != nil {
		return err
	}
	return embeddb.Put(txn, nameKey(tagLast, m.Config), encodeNumber(m.Version))
}

// recoverManifest stores a manifest, whose row is r, unless it is stored already.
func recoverManifest(txn *badger.Txn, m record.Manifest, r Row) error {
	last, err := readNumber(txn, nameKey(tagLast, m.Config))
	if err != nil {
		return err
	}
	key := numberedKey(tagManifest, m.Config, m.Version)
	err = holdsVersion(txn, m.Key())
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	if _, err := readRow(txn, key); err == nil {
		return versionConflict(txn, m, m.Version)
	}
	if err := putRow(txn, key, r); err != nil {
		return err
	}
	return embeddb.Put(txn, nameKey(tagLast, m.Config), encodeNumber(max(last, m.Version)))
}

// movePointer replaces a pointer by p, whose row is r, if p's epoch is the next one and the
// versions that p names are stored.
func movePointer(txn *badger.Txn, p record.Pointer, r Row) error {
	current, at, err := readPointer(txn, p.Config, p.Region)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if p.Epoch != current.Epoch+1 {
		return epochConflict(p, current, at)
	}
	return replacePointer(txn, p, r, at.Revision)
}

// recoverPointer replaces a pointer by p, whose row is r, if p's position is after the stored one, or the
// stored pointer is damaged.
func recoverPointer(txn *badger.Txn, p record.Pointer, r Row) error {
	current, at, err := readPointer(txn, p.Config, p.Region)
	if err != nil && !errors.Is(err, ErrNotFound) && !isDamage(err) {
		return err
	}
	if p.Position() <= current.Position() {
		return epochConflict(p, current, at)
	}
	return replacePointer(txn, p, r, at.Revision)
}

// epochConflict describes the stored pointer over which p can't be written.
func epochConflict(p, current record.Pointer, at Row) error {
	return &ConflictError{
		What:    "epoch",
		Config:  p.Config,
		Region:  p.Region,
		Wanted:  p.Epoch,
		Current: current.Epoch,
		By:      at.By,
		At:      at.At(),
	}
}

// replacePointer stores p, whose row is r, if the versions that p names are stored. replaced is as for
// putPointer.
func replacePointer(txn *badger.Txn, p record.Pointer, r Row, replaced uint64) error {
	for _, v := range []record.Ref{p.Baseline, p.Candidate} {
		if v.IsZero() {
			continue
		}
		if err := holdsVersion(txn, v.Of(p.Config)); err != nil {
			return fmt.Errorf("%s version %d: %w", p.Config, v.Version, err)
		}
	}
	return putPointer(txn, p, r, replaced)
}

// holdsVersion returns nil if the store has v, and ErrNotFound if it has no such number or
// another version of that number.
func holdsVersion(txn *badger.Txn, v record.VersionKey) error {
	r, err := readRow(txn, numberedKey(tagManifest, v.Config, v.Version))
	if err != nil {
		return err
	}
	held, err := r.Version()
	if err == nil && held.Manifest.Digest() != v.Digest {
		err = fmt.Errorf("%w: the stored version has other content", ErrNotFound)
	}
	return err
}

// putPointer stores a pointer's row and its entry in the index of the region. replaced is
// the revision of the row before it, whose entries are deleted; 0 means none.
func putPointer(txn *badger.Txn, p record.Pointer, r Row, replaced uint64) error {
	key := pairKey(tagPointer, p.Config, p.Region)
	if replaced != 0 {
		for _, stale := range [][]byte{regionKey(p.Region, replaced, key), logKey(replaced, key)} {
			if err := txn.Delete(stale); err != nil {
				return err
			}
		}
	}
	if err := putRow(txn, key, r); err != nil {
		return err
	}
	return embeddb.Put(txn, regionKey(p.Region, r.Revision, key), key)
}

// putRow stores a row and its entry in the log of revisions.
func putRow(txn *badger.Txn, key []byte, r Row) error {
	encoded, err := r.Encode()
	if err != nil {
		return err
	}
	if err := embeddb.Put(txn, key, encoded); err != nil {
		return err
	}
	return embeddb.Put(txn, logKey(r.Revision, key), key)
}

// writeDocument stores the row of a document. The revision of the row is the sequence of
// the document.
func writeDocument(txn *badger.Txn, d DocumentWrite, r Row) error {
	key := pairKey(tagDocument, d.Kind, d.Name)
	if err := checkGuard(txn, Guard{Kind: d.Kind, Name: d.Name, Seq: d.IfSeq}); err != nil {
		return err
	}
	if d.Raw == nil {
		return txn.Delete(key)
	}
	encoded, err := r.Encode()
	if err != nil {
		return err
	}
	return embeddb.Put(txn, key, encoded)
}

// checkGuard returns a *ConflictError if a document does not have the expected sequence. A
// damaged document has the sequence 0, as if there were none.
func checkGuard(txn *badger.Txn, g Guard) error {
	held, err := readRow(txn, pairKey(tagDocument, g.Kind, g.Name))
	if isDamage(err) {
		held = Row{}
		err = nil
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if held.Revision == g.Seq {
		return nil
	}
	return &ConflictError{
		What:    g.Kind,
		Config:  g.Name,
		Wanted:  g.Seq + 1,
		Current: held.Revision,
		By:      held.By,
		At:      held.At(),
	}
}
