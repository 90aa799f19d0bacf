package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"banyan/record"
	"banyan/versionstore"
)

// ErrNoKey means that the ledger has no activation key for a region.
var ErrNoKey = errors.New("no activation key for the region")

// Config is the configuration of a ledger. Every field but Term and Ran is required.
type Config struct {
	Store versionstore.Store
	// Term is the term in which the ledger writes; 0 means the present term of the store. If the term
	// is raised later, the ledger is fenced off.
	Term uint64
	// Keys are the activation keys by region; empty for a coordinator that follows.
	Keys map[string]record.Key
	// Ran returns the versions that a pointer names and that hosts have acknowledged to run. nil
	// means that nothing is known of hosts.
	Ran func(record.Pointer) []record.Ref
	// Limits are the numbers of pointers that the ledger stores.
	Limits Limits
	// Metrics is the set to which the ledger adds counters.
	Metrics *metrics.Set
	Log     *slog.Logger
}

// Ledger reads and writes a version store. Reads need no lock. Methods are safe for
// concurrent use.
type Ledger struct {
	versionstore.Reader
	store versionstore.Store
	keys  map[string]record.Key
	ran   func(record.Pointer) []record.Ref
	term  atomic.Uint64 // in which the ledger writes
	heads heads
	log   *slog.Logger

	limits Limits

	versions     *metrics.Counter
	pointerMoves *metrics.Counter
	batches      *metrics.Counter

	writing  sync.Mutex // held during an update
	stopped  atomic.Pointer[StoppedError]
	waiting  atomic.Pointer[WaitingError]
	pointers census // guarded by writing
	// moved is the number of commits that moved pointers of a config since the start, by config. It has
	// no more entries than there are configs; guarded by writing.
	moved     map[string]uint64
	journaled uint64 // number of a recent entry of the journal; 0 if not known; guarded by writing
}

// New returns a ledger over a store. The caller closes the store.
func New(ctx context.Context, cfg Config) (*Ledger, error) {
	term := cfg.Term
	if term == 0 {
		var err error
		term, err = cfg.Store.Term(ctx)
		if err != nil {
			return nil, fmt.Errorf("term of the store: %w", err)
		}
	}
	l := &Ledger{
		Reader:       cfg.Store,
		store:        cfg.Store,
		keys:         cfg.Keys,
		ran:          cfg.Ran,
		log:          cfg.Log,
		limits:       cfg.Limits,
		moved:        map[string]uint64{},
		versions:     cfg.Metrics.NewCounter("banyan_coordinator_versions_total"),
		pointerMoves: cfg.Metrics.NewCounter("banyan_coordinator_pointer_moves_total"),
		batches:      cfg.Metrics.NewCounter("banyan_coordinator_batches_total"),
	}
	if l.ran == nil {
		l.ran = func(record.Pointer) []record.Ref { return nil }
	}
	l.limits.setDefaults()
	l.term.Store(term)
	return l, nil
}

// Ref returns the reference by which a pointer names a stored version.
func (l *Ledger) Ref(ctx context.Context, config string, version uint64) (record.Ref, error) {
	v, err := l.Version(ctx, config, version)
	if err != nil {
		return record.Ref{}, err
	}
	return v.Manifest.Ref(), nil
}

// Regions returns the regions that the ledger has an activation key for, sorted.
func (l *Ledger) Regions() []string { return slices.Sorted(maps.Keys(l.keys)) }

// HasKey reports whether the ledger can move the pointers of region.
func (l *Ledger) HasKey(region string) bool {
	_, ok := l.keys[region]
	return ok
}

// SignHead numbers a head, and signs it in the ledger's term, with the activation key of the
// head's region. It returns the head as signed. The error is ErrNoHeads if ReserveHeads has
// not been called in time.
func (l *Ledger) SignHead(h record.Head) (record.Head, []byte, error) {
	h.Term = l.term.Load()
	if stopped := l.Stopped(); stopped != nil {
		return h, nil, stopped
	}
	key, ok := l.keys[h.Region]
	if !ok {
		return h, nil, fmt.Errorf("head of region %s: %w", h.Region, ErrNoKey)
	}
	number, err := l.heads.take()
	if err != nil {
		return h, nil, err
	}
	h.Number = number
	raw, err := record.SignHead(h, key)
	return h, raw, err
}

// SignBatch signs several pointers of a region at once, with the activation key of the region. See
// record.SignBatch. The pointers are in the store.
func (l *Ledger) SignBatch(region string, payloads [][]byte) (root []byte, err error) {
	key, ok := l.keys[region]
	if !ok {
		return nil, fmt.Errorf("pointers of region %s: %w", region, ErrNoKey)
	}
	l.batches.Inc()
	return record.SignBatch(payloads, key)
}

// PointersOf returns the pointers of config in regions. A region without a pointer has the
// zero Pointer.
func (l *Ledger) PointersOf(
	ctx context.Context,
	config string,
	regions iter.Seq[string],
) (map[string]record.Pointer, error) {
	pointers := map[string]record.Pointer{}
	for region := range regions {
		p, err := l.Pointer(ctx, config, region)
		if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
			return nil, err
		}
		pointers[region] = p.Pointer
	}
	return pointers, nil
}

// ReplaceDocument writes a document whether or not it exists, or is damaged.
func (l *Ledger) ReplaceDocument(ctx context.Context, act Act, kind, name string, raw []byte) error {
	return l.Update(func(w *Writer) error {
		held, err := l.Document(ctx, kind, name)
		if err != nil && !errors.Is(err, versionstore.ErrNotFound) && !errors.Is(err, versionstore.ErrCorrupt) {
			return err
		}
		write := versionstore.DocumentWrite{Kind: kind, Name: name, Raw: raw, IfSeq: held.Seq}
		_, err = w.Commit(ctx, act, Changes{Documents: []versionstore.DocumentWrite{write}})
		return err
	})
}

// RemoveDocument removes a document, or returns versionstore.ErrNotFound.
func (l *Ledger) RemoveDocument(ctx context.Context, act Act, kind, name string) error {
	return l.Update(func(w *Writer) error {
		held, err := l.Document(ctx, kind, name)
		if err != nil && !errors.Is(err, versionstore.ErrCorrupt) {
			return err
		}
		write := versionstore.DocumentWrite{Kind: kind, Name: name, IfSeq: held.Seq}
		_, err = w.Commit(ctx, act, Changes{Documents: []versionstore.DocumentWrite{write}})
		return err
	})
}

// Moves returns a number that changes whenever a pointer of config moves. The caller must be in an
// update.
func (l *Ledger) Moves(config string) uint64 { return l.moved[config] }

// Update calls fn with the write lock held and returns the error of fn, or the error of Refusal.
// fn must not call other methods that take the write lock (Update, ReplaceDocument, RemoveDocument,
// NoteRan, Stop, BeginTerm, Reissue), and must not keep the Writer.
func (l *Ledger) Update(fn func(w *Writer) error) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.Refusal(); err != nil {
		return err
	}
	w := &Writer{ledger: l}
	defer func() { w.ledger = nil }()
	return fn(w)
}

// Writer is the right to write during an update.
type Writer struct {
	ledger *Ledger // nil after the update
}

// Changes are what a commit writes.
type Changes struct {
	// Versions are new versions. The caller has verified the signatures and the bodies.
	Versions []versionstore.SignedManifest
	// Moves are the pointers to sign and to store.
	Moves     []record.Pointer
	Documents []versionstore.DocumentWrite
	Removals  []versionstore.Removal
	// Guards are documents that must stand as they were read.
	Guards []versionstore.Guard
}

// Commit signs the pointers of the moves, and stores all changes, the activation logs of the moved
// regions and the journal's entry in one transaction. It returns the stored pointers in the order
// of the moves. A *FullError refuses a config too many. If the transaction is refused, nothing is
// stored; after an error of the disk, the changes may be stored.
func (w *Writer) Commit(ctx context.Context, act Act, changes Changes) ([]versionstore.PointerState, error) {
	l := w.ledger
	if l == nil {
		panic("ledger: Commit after the end of the update")
	}
	fresh, err := l.roomFor(ctx, changes.Moves)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	signed, err := l.sign(changes.Moves, now)
	if err != nil {
		return nil, err
	}
	logs, err := l.logMoves(ctx, changes.Moves, now, act.cause())
	if err != nil {
		return nil, err
	}
	entry, err := l.journal(ctx, act, now)
	if err != nil {
		return nil, err
	}
	for _, p := range changes.Moves {
		l.moved[p.Config]++
	}
	revision, err := l.store.Commit(ctx, versionstore.Transaction{
		Term:      l.term.Load(),
		Versions:  changes.Versions,
		Pointers:  signed,
		Documents: slices.Concat(changes.Documents, logs, entry),
		Removals:  changes.Removals,
		Guards:    changes.Guards,
		By:        act.By,
	})
	if err != nil {
		return nil, err
	}
	for _, region := range fresh {
		l.pointers.add(region)
	}
	for _, v := range changes.Versions {
		l.versions.Inc()
		l.log.Info("version stored", "config", v.Manifest.Config, "version", v.Manifest.Version, "by", v.By)
	}
	return l.logged(signed, act, now, revision), nil
}

// logged logs and counts pointers that a transaction stored at revision, and returns their states.
func (l *Ledger) logged(
	signed []versionstore.SignedPointer,
	act Act,
	now time.Time,
	revision uint64,
) []versionstore.PointerState {
	l.pointerMoves.Add(len(signed))
	var states []versionstore.PointerState
	for _, p := range signed {
		l.log.Info("pointer moved", "config", p.Pointer.Config, "of", p.Pointer.Region,
			"term", p.Pointer.Term, "epoch", p.Pointer.Epoch, "to", p.Pointer.String(), "by", act.By)
		states = append(states, versionstore.PointerState{
			Pointer:  p.Pointer,
			Raw:      p.Raw,
			By:       act.By,
			At:       now,
			Revision: revision,
		})
	}
	return states
}

// sign sets the term and the time of each move, and signs the move with the key of its region.
func (l *Ledger) sign(moves []record.Pointer, now time.Time) ([]versionstore.SignedPointer, error) {
	var signed []versionstore.SignedPointer
	for _, p := range moves {
		key, ok := l.keys[p.Region]
		if !ok {
			return nil, fmt.Errorf("pointer of %s in region %s: %w", p.Config, p.Region, ErrNoKey)
		}
		p.Term = l.term.Load()
		p.TimeMicros = now.UnixMicro()
		raw, err := record.SignPointer(p, key)
		if err != nil {
			return nil, err
		}
		signed = append(signed, versionstore.SignedPointer{Pointer: p, Raw: raw})
	}
	return signed, nil
}
