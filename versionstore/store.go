package versionstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"banyan/record"
)

// Limits of a store.
const (
	// MaxSchema is the largest JSON Schema that may be attached to a config, in bytes.
	MaxSchema = 256 << 10
	// MaxPage is the most entries a listing returns.
	MaxPage = 10_000
)

var (
	// ErrNotFound: no such config, version, pointer, schema or body.
	ErrNotFound = errors.New("not found")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrCorrupt: what was read is not what was written.
	ErrCorrupt = errors.New("store is corrupt")
)

// ConflictError: another write came first. It names what it was.
type ConflictError struct {
	What    string // "version", "epoch", or the kind of a document
	Config  string // or the document's name
	Region  string // of an epoch
	Wanted  uint64 // the number the write asked for
	Current uint64 // the number the store is at
	By      string // who wrote the current one, as the writer was described
	At      time.Time
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

// Version is one stored manifest.
type Version struct {
	Manifest record.Manifest
	Raw      []byte // as signed
	By       string // who wrote it
	At       time.Time
	Revision uint64
}

// PointerState is one stored pointer.
type PointerState struct {
	Pointer  record.Pointer
	Raw      []byte // as signed
	By       string
	At       time.Time
	Revision uint64
}

// Event tells of one write, or of the newest of several to the same pointer.
type Event struct {
	Revision uint64
	Pointer  *PointerState // one of the two is set
	Version  *Version
}

// Store holds versions and pointers. It is linearizable: a read sees every
// write acknowledged before it began. Methods are safe for concurrent use.
type Store interface {
	// PutManifest stores a version, whose number must be the config's last
	// plus one; else it returns a *ConflictError. It returns the revision.
	PutManifest(ctx context.Context, m record.Manifest, raw []byte, by string) (uint64, error)
	// MovePointer replaces a pointer, whose epoch must be the current one plus
	// one; else it returns a *ConflictError. It returns the revision.
	MovePointer(ctx context.Context, p record.Pointer, raw []byte, by string) (uint64, error)

	// Version reads one version; version 0 asks for the last.
	Version(ctx context.Context, config string, version uint64) (Version, error)
	// History lists versions, newest first, from before (0: the last) downward, at most limit.
	History(ctx context.Context, config string, before uint64, limit int) ([]Version, error)
	// Pointer reads the pointer of config in region.
	Pointer(ctx context.Context, config, region string) (PointerState, error)
	// Pointers lists the pointers of region that changed after revision since,
	// by revision; region "" means every region.
	Pointers(ctx context.Context, region string, since uint64) ([]PointerState, error)
	// Configs lists, in order, the names of configs at or below prefix ("" for all) after the name after.
	Configs(ctx context.Context, prefix, after string, limit int) ([]string, error)

	Documents

	// PutSchema attaches a JSON Schema to a config; an empty one removes it.
	PutSchema(ctx context.Context, config string, schema []byte, by string) error
	// Schema reads the schema attached to config; ErrNotFound if it has none.
	Schema(ctx context.Context, config string) ([]byte, error)

	// Revision is that of the newest write.
	Revision(ctx context.Context) (uint64, error)
	// Watch calls fn for every version and pointer written after revision
	// since, in order of revision, until ctx ends or fn returns an error. Of a
	// pointer moved several times before Watch gets to it, only the newest is told.
	Watch(ctx context.Context, since uint64, fn func(Event) error) error
	// ReserveIndices sets n agent indices of a region aside and returns the first. None is ever given twice.
	ReserveIndices(ctx context.Context, region string, n uint32) (uint32, error)

	// Close releases the store. Writes under way finish first.
	Close() error
}

// Replica is what a coordinator that follows another region's store keeps of it:
// the newest pointers of its own region and the manifests they name, numbered by
// the leader's revisions. Versions may be missing between those it holds.
type Replica interface {
	// ImportManifest keeps a manifest; doing it again changes nothing.
	ImportManifest(ctx context.Context, m record.Manifest, raw []byte, revision uint64) error
	// ImportPointer keeps a pointer if its epoch is newer than that held.
	ImportPointer(ctx context.Context, p record.Pointer, raw []byte, revision uint64) error
}
