package versionstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"banyan/record"
)

var (
	// ErrNotFound means that the store has no such config, version, pointer, document or body.
	ErrNotFound = errors.New("not found")
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrInUse means that a version can't be removed: a pointer names it, or it is the newest one.
	ErrInUse = errors.New("version is in use")
	// ErrName means that a document cannot have the given name.
	ErrName = errors.New("invalid document name")
	// ErrCorrupt means that the bytes read are not the bytes written.
	ErrCorrupt = errors.New("store is corrupt")
	// ErrUnknown is wrapped if a write may have happened. The caller reads to know.
	ErrUnknown = errors.New("outcome unknown")
	// ErrUnavailable is wrapped if the store can't be reached, or can't decide anything for now. Nothing
	// was written.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrLost means that the store lacks writes that were acknowledged.
	ErrLost = errors.New("store has lost writes")
)

// missingError is an ErrNotFound that says what is not there.
type missingError string

func (e missingError) Error() string { return string(e) }
func (e missingError) Unwrap() error { return ErrNotFound }

// NotFound returns an error that wraps ErrNotFound, and whose text says what is not there.
func NotFound(format string, args ...any) error { return missingError(fmt.Sprintf(format, args...)) }

// ConflictError means that another write came first. It describes the other write.
type ConflictError struct {
	// What is "version", "epoch", or the kind of a document.
	What string
	// Config is the name of the config, or of the document.
	Config string
	// Region is the pointer's region if What is "epoch"; otherwise empty.
	Region string
	// Wanted is the version, epoch or sequence that the refused write would have made.
	Wanted uint64
	// Current is the version, epoch or sequence in the store.
	Current uint64
	// By names the writer of Current, in the form that the writer passed to the store.
	By string
	// At is the time at which Current was written.
	At time.Time
}

func (e *ConflictError) Error() string {
	where := e.Config
	if e.Region != "" {
		where += " in region " + e.Region
	}
	s := fmt.Sprintf("%s %d of %s conflicts: the current %s is %d", e.What, e.Wanted, where, e.What, e.Current)
	if e.By != "" {
		s += fmt.Sprintf(", written by %s at %s", e.By, e.At.UTC().Format(time.RFC3339))
	}
	return s
}

// FencedError means that the writer leads in a term that is over: the term of the store was raised.
// The writer must stop writing.
type FencedError struct {
	Term    uint64 // of the writer
	Current uint64 // of the store
}

func (e *FencedError) Error() string {
	return fmt.Sprintf("fenced off: this leader writes in term %d, and the store is in term %d", e.Term, e.Current)
}

// Version is a stored manifest.
type Version struct {
	Manifest record.Manifest
	Raw      []byte // the signed manifest
	By       string // the writer
	At       time.Time
	Revision uint64
}

// PointerState is a stored pointer.
type PointerState struct {
	Pointer  record.Pointer
	Raw      []byte // the signed pointer
	By       string // the writer
	At       time.Time
	Revision uint64
	// Damaged says what is wrong if the pointer can't be read. Such a state has a revision, and nothing
	// else.
	Damaged error
}

// Event describes one write of a version or a pointer. If a pointer was written several
// times, the event may describe the newest write only. All writes of a transaction have the same
// revision.
type Event struct {
	Revision uint64
	Pointer  *PointerState // nil if the write was of a version
	Version  *Version      // nil if the write was of a pointer
	// Damaged says what is wrong if what was written can't be read; Pointer and Version are nil.
	Damaged error
}

// Lead is the right of one process to decide what is written. The store enforces it by the term: a leader
// that was paused, and wakes up when another one leads, gets a *FencedError for each transaction.
type Lead struct {
	// Term is the term in which the leader writes, until the leader itself raises it.
	Term uint64
	// Lost is closed when another process may lead. The leader must stop then.
	Lost <-chan struct{}
	// Resign ends the lead, so that another process need not wait.
	Resign func(ctx context.Context) error
}

// Reader is the reading half of a Store. Reads are linearizable: a read sees every write
// that was acknowledged before the read began. Methods are safe for concurrent use.
type Reader interface {
	// Version returns a version of config; version 0 means the newest.
	Version(ctx context.Context, config string, version uint64) (Version, error)
	// History returns at most limit versions of config, newest first, all older than
	// before; before 0 means no bound. The limit is as for List.
	History(ctx context.Context, config string, before uint64, limit int) ([]Version, error)
	// Pointer returns the pointer of config in region.
	Pointer(ctx context.Context, config, region string) (PointerState, error)
	// Pointers returns at most limit pointers of region that changed after revision since, ordered by
	// revision. An empty region means every region. The limit is as for List, but pointers of one
	// revision are not separated, even beyond the limit. The next page begins after the last revision
	// of this one. A damaged pointer has only Revision and Damaged. AllPointers reads all pages.
	Pointers(ctx context.Context, region string, since uint64, limit int) ([]PointerState, error)
	// Configs returns at most limit names of configs, in order: names at or below prefix
	// ("" for all) that sort after the name after. Limit and continuation are as for List.
	Configs(ctx context.Context, prefix, after string, limit int) ([]string, error)
	// Document returns a document, or ErrNotFound.
	Document(ctx context.Context, kind, name string) (Document, error)
	// List returns at most limit documents of a kind, in the order of their names: those whose names
	// begin with prefix and sort after the name after, each "" for all. A limit of 0 means MaxPage, and
	// so does a larger one. A listing with as many documents as the limit may have been cut: the next
	// begins after its last name. ListAll returns all. A damaged document has no content, and Damaged
	// is set.
	List(ctx context.Context, kind, prefix, after string, limit int) ([]Document, error)
	// Revision returns the revision of the newest transaction. Revisions of a later term are higher
	// than all revisions of the terms before: the first of term t follows (t-1)·2^40.
	Revision(ctx context.Context) (uint64, error)
	// Term returns the term of the store, from 1.
	Term(ctx context.Context) (uint64, error)
}

// Store holds versions, pointers and documents. Every write returns after it is
// durable. Methods are safe for concurrent use.
type Store interface {
	Reader

	// Commit writes all of a transaction or nothing, and returns the store's revision.
	// The term of the transaction must be the store's; otherwise Commit returns a *FencedError.
	// The epoch of each pointer must be the stored epoch plus one, and the sequence of each
	// document that is written or guarded must be the sequence that the transaction expects; otherwise
	// Commit returns a *ConflictError. For a removal of what is in use it returns ErrInUse. It returns
	// an error that wraps record.ErrTooLarge for a transaction that is too large for the store, and an error that wraps
	// ErrUnknown if the transaction may have happened.
	Commit(ctx context.Context, t Transaction) (uint64, error)
	// Lead waits until no other process leads the store, makes the process called name the leader, and
	// returns its lead. If another process may have led before and may still write, the term is raised.
	Lead(ctx context.Context, name string) (*Lead, error)
	// RaiseTerm ends the term of the store, and returns the next: at least atLeast.
	RaiseTerm(ctx context.Context, atLeast uint64) (uint64, error)
	// ReserveIndices reserves a block of tree.IndexBlock agent indices of region, and returns the first
	// index. The store remembers each block and reserves none twice. A store that was restored from an
	// older copy has forgotten the latest blocks. So a store begins with a random block each time it is
	// opened, and seldom reserves a forgotten block again.
	ReserveIndices(ctx context.Context, region string) (uint32, error)

	// Watch calls fn for the versions and pointers written after revision since, in the order
	// of revisions, until ctx ends or fn returns an error. fn gets all events of one revision together.
	// If a pointer moved several times before Watch reaches it, fn may get the newest move only, and
	// fn gets no event of a version that was removed before. fn must not keep the slice.
	Watch(ctx context.Context, since uint64, fn func([]Event) error) error
	// Close finishes the writes in progress and releases the store.
	Close() error
}

// Replica is a store that can also follow another region's store. A following coordinator
// imports the newest pointers of its own region and the manifests that they name, with
// the revisions of the leader's store. Versions between the imported ones may be missing.
type Replica interface {
	Store

	// ImportManifest stores a manifest, instead of another one with the same version: the leader's
	// store may have been restored from an older copy. Importing a stored manifest again changes
	// nothing.
	ImportManifest(ctx context.Context, m record.Manifest, raw []byte, revision uint64) error
	// ImportPointer stores a pointer if its position is after the stored position.
	ImportPointer(ctx context.Context, p record.Pointer, raw []byte, revision uint64) error
}
