package versionstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"banyan/record"
)

// ErrTransaction means that no store can carry a transaction out: it writes the same thing twice.
var ErrTransaction = errors.New("invalid transaction")

// SignedPointer is a pointer and its signed form.
type SignedPointer struct {
	Pointer record.Pointer
	Raw     []byte
}

// SignedManifest is a manifest, its signed form and the publisher who signed it.
type SignedManifest struct {
	Manifest record.Manifest
	Raw      []byte
	By       string
}

// Guard is the condition that a document stands as it was read: it has the sequence Seq; 0 means
// that the document does not exist. A document that is removed and written again has the sequence
// of its first life once more, so a document that guards name is emptied and not removed.
type Guard struct {
	Kind string
	Name string
	Seq  uint64
}

// Removal removes versions of a config. The newest version can only be removed together with all
// others; then the name is free, and its versions begin with 1 again. A version that a pointer names
// can't be removed.
type Removal struct {
	Config   string
	Versions []uint64 // at most MaxRemoved, each once
}

// Recovery is what hosts hold of a history that the store has lost. A recovered version may leave a gap
// in the numbers of its config, and changes nothing if it is stored already; with other content it
// conflicts with the stored one. The position of a recovered pointer must be after the stored one.
type Recovery struct {
	Versions []SignedManifest
	Pointers []SignedPointer
}

// Transaction is a set of writes that happen together or not at all, at one revision of the store,
// which Commit returns. A transaction writes a document or a pointer at most once, and at most one
// version of a config. It writes no version and no pointer of a config of which it removes versions. Its
// size is limited by MaxOperations and MaxTransaction. Check reports whether it keeps these rules.
type Transaction struct {
	// Term is the term in which the writer leads. Commit returns a *FencedError if the store is
	// in another term.
	Term      uint64
	Versions  []SignedManifest
	Pointers  []SignedPointer
	Documents []DocumentWrite
	Removals  []Removal
	Recovered Recovery
	// Guards are conditions on documents that the transaction does not write, such as a freeze, a
	// schema or a policy that the writer has read.
	Guards []Guard
	By     string // the writer
}

// Operations returns the number of operations of the transaction: the number of its conditions or the
// number of its writes, whichever is larger. It counts what a store with one key for each row needs.
//
//	            conditions                                  writes
//	term        1                                           1, of the revision
//	version     1, the newest version of the config         3, the manifest, its digest, the newest version
//	pointer     1, and 1 for each version that is named     2, the pointer and its epoch
//	recovered   as above, and 1 more for each version
//	document    1                                           1
//	removal     2, and 1 for each version                   1, and 2 for each version
//	guard       1
func (t *Transaction) Operations() int {
	named := map[record.VersionKey]bool{}
	for _, p := range slices.Concat(t.Pointers, t.Recovered.Pointers) {
		for _, ref := range []record.Ref{p.Pointer.Baseline, p.Pointer.Candidate} {
			if !ref.IsZero() {
				named[ref.Of(p.Pointer.Config)] = true
			}
		}
	}
	recovered := len(t.Recovered.Versions)
	versions := len(t.Versions) + recovered
	pointers := len(t.Pointers) + len(t.Recovered.Pointers)
	conditions := 1 + versions + recovered + pointers + len(named) + len(t.Documents) + len(t.Guards)
	writes := 1 + 3*versions + 2*pointers + len(t.Documents)
	for _, r := range t.Removals {
		conditions += 2 + len(r.Versions)
		writes += 1 + 2*len(r.Versions)
	}
	return max(conditions, writes)
}

// Size returns the number of bytes that the transaction stores, without keys.
func (t *Transaction) Size() int {
	size := 0
	for _, v := range slices.Concat(t.Versions, t.Recovered.Versions) {
		size += len(v.Raw)
	}
	for _, p := range slices.Concat(t.Pointers, t.Recovered.Pointers) {
		size += len(p.Raw)
	}
	for _, d := range t.Documents {
		size += len(d.Raw)
	}
	return size
}

// Check returns an error if the transaction exceeds a limit, names a document that can't be, or writes
// the same thing twice. Stores call it before they write.
func (t *Transaction) Check() error {
	for _, d := range t.Documents {
		if err := d.check(); err != nil {
			return err
		}
	}
	for _, r := range t.Removals {
		if len(r.Versions) > MaxRemoved {
			return fmt.Errorf("%w: a removal of %d versions of %s, the limit is %d",
				record.ErrTooLarge, len(r.Versions), r.Config, MaxRemoved)
		}
	}
	if n := t.Operations(); n > MaxOperations {
		return fmt.Errorf("%w: a transaction of %d operations, the limit is %d; split it",
			record.ErrTooLarge, n, MaxOperations)
	}
	if n := t.Size(); n > MaxTransaction {
		return fmt.Errorf("%w: a transaction of %d bytes, the limit is %d; split it",
			record.ErrTooLarge, n, MaxTransaction)
	}
	return t.checkOnce()
}

// checkOnce returns an error if the transaction writes the same thing twice.
func (t *Transaction) checkOnce() error {
	changed := map[string]bool{} // configs that get a version or a pointer
	written := map[string]bool{}
	twice := ""
	write := func(what string) {
		if written[what] && twice == "" {
			twice = what
		}
		written[what] = true
	}
	for _, d := range t.Documents {
		write(d.Kind + " " + d.Name)
	}
	for _, p := range slices.Concat(t.Pointers, t.Recovered.Pointers) {
		changed[p.Pointer.Config] = true
		write("the pointer of " + p.Pointer.Config + " in region " + p.Pointer.Region)
	}
	for _, v := range slices.Concat(t.Versions, t.Recovered.Versions) {
		write("a version of " + v.Manifest.Config)
		changed[v.Manifest.Config] = true
	}
	for _, r := range t.Removals {
		if changed[r.Config] {
			return fmt.Errorf("%w: it removes versions of %s, and stores a version or a pointer", ErrTransaction, r.Config)
		}
		write("the versions of " + r.Config)
		for _, v := range r.Versions {
			write(fmt.Sprintf("version %d of %s", v, r.Config))
		}
	}
	if twice != "" {
		return fmt.Errorf("%w: it writes %s twice", ErrTransaction, twice)
	}
	return nil
}

func (d *DocumentWrite) check() error {
	if len(d.Raw) > MaxDocument {
		return fmt.Errorf("%w: %s %s has %d bytes, the limit is %d",
			record.ErrTooLarge, d.Kind, d.Name, len(d.Raw), MaxDocument)
	}
	if d.Name == "" || strings.ContainsRune(d.Kind+d.Name, 0) {
		return fmt.Errorf("%w: %q for a %s", ErrName, d.Name, d.Kind)
	}
	return nil
}
