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
	"time"

	"github.com/VictoriaMetrics/metrics"

	"banyan/record"
	"banyan/versionstore"
)

// ErrNoKey means that the ledger has no activation key for a region.
var ErrNoKey = errors.New("no activation key for the region")

// Config is the configuration of a ledger. Every field is required.
type Config struct {
	Store versionstore.Store
	// Keys are the activation keys by region; empty for a coordinator that follows.
	Keys map[string]record.Key
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
	log   *slog.Logger

	versions *metrics.Counter
	moves    *metrics.Counter

	writing sync.Mutex // held during an update
}

// New returns a ledger over a store. The caller closes the store.
func New(cfg Config) *Ledger {
	return &Ledger{
		Reader:   cfg.Store,
		store:    cfg.Store,
		keys:     cfg.Keys,
		log:      cfg.Log,
		versions: cfg.Metrics.NewCounter("banyan_coordinator_versions_total"),
		moves:    cfg.Metrics.NewCounter("banyan_coordinator_pointer_moves_total"),
	}
}

// Regions returns the regions that the ledger has an activation key for, sorted.
func (l *Ledger) Regions() []string { return slices.Sorted(maps.Keys(l.keys)) }

// HasKey reports whether the ledger can move the pointers of region.
func (l *Ledger) HasKey(region string) bool {
	_, ok := l.keys[region]
	return ok
}

// SignHead signs a head with the activation key of the head's region.
func (l *Ledger) SignHead(h record.Head) ([]byte, error) {
	key, ok := l.keys[h.Region]
	if !ok {
		return nil, fmt.Errorf("head of region %s: %w", h.Region, ErrNoKey)
	}
	return record.SignHead(h, key)
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

// PutManifest stores a version and returns the revision. The caller has verified the
// signature and the bodies. No lock is needed: a version depends only on the number of the
// version before, which the store compares.
func (l *Ledger) PutManifest(ctx context.Context, m record.Manifest, raw []byte, by string) (uint64, error) {
	revision, err := l.store.PutManifest(ctx, m, raw, by)
	if err != nil {
		return 0, err
	}
	l.versions.Inc()
	l.log.Info("version stored", "config", m.Config, "version", m.Version, "by", by, "revision", revision)
	return revision, nil
}

// PutSchema sets the JSON Schema of config; an empty schema removes it.
func (l *Ledger) PutSchema(ctx context.Context, config string, schema []byte, by string) error {
	return l.store.PutSchema(ctx, config, schema, by)
}

// ReplaceDocument writes a document whether or not it exists, or is damaged.
func (l *Ledger) ReplaceDocument(ctx context.Context, kind, name string, raw []byte, by string) error {
	return l.Update(func(w *Writer) error {
		held, err := l.Document(ctx, kind, name)
		if err != nil && !errors.Is(err, versionstore.ErrNotFound) && !errors.Is(err, versionstore.ErrCorrupt) {
			return err
		}
		write := versionstore.DocumentWrite{Kind: kind, Name: name, Raw: raw, IfSeq: held.Seq}
		_, err = w.Commit(ctx, Act{By: by}, nil, write)
		return err
	})
}

// RemoveDocument removes a document, or returns versionstore.ErrNotFound.
func (l *Ledger) RemoveDocument(ctx context.Context, kind, name, by string) error {
	return l.Update(func(w *Writer) error {
		held, err := l.Document(ctx, kind, name)
		if err != nil && !errors.Is(err, versionstore.ErrCorrupt) {
			return err
		}
		write := versionstore.DocumentWrite{Kind: kind, Name: name, IfSeq: held.Seq}
		_, err = w.Commit(ctx, Act{By: by}, nil, write)
		return err
	})
}

// Update calls fn with the write lock held and returns the error of fn. fn must not call Update,
// ReplaceDocument or RemoveDocument, and must not keep the Writer.
func (l *Ledger) Update(fn func(w *Writer) error) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	w := &Writer{ledger: l}
	defer func() { w.ledger = nil }()
	return fn(w)
}

// Writer is the right to write during an update.
type Writer struct {
	ledger *Ledger // nil after the update
}

// Commit signs the pointers of moves, and stores the pointers, the activation logs of their
// regions and the documents in one transaction. It returns the stored pointers in the order of
// moves. After an error nothing is stored.
func (w *Writer) Commit(
	ctx context.Context,
	act Act,
	moves []record.Pointer,
	documents ...versionstore.DocumentWrite,
) ([]versionstore.PointerState, error) {
	l := w.ledger
	if l == nil {
		panic("ledger: Commit after the end of the update")
	}
	now := time.Now()
	signed, err := l.sign(moves, now)
	if err != nil {
		return nil, err
	}
	logs, err := l.logMoves(ctx, moves, now, act.cause())
	if err != nil {
		return nil, err
	}
	t := versionstore.Transaction{Pointers: signed, Documents: slices.Concat(documents, logs), By: act.By}
	revision, err := l.store.Commit(ctx, t)
	if err != nil {
		return nil, err
	}
	l.moves.Add(len(moves))
	var states []versionstore.PointerState
	for i, p := range signed {
		l.log.Info("pointer moved", "config", p.Pointer.Config, "of", p.Pointer.Region,
			"epoch", p.Pointer.Epoch, "to", p.Pointer.String(), "by", act.By)
		states = append(states, versionstore.PointerState{
			Pointer: p.Pointer,
			Raw:     p.Raw,
			By:      act.By,
			At:      now,
			// The pointers have consecutive revisions, and the last one is revision.
			Revision: revision - uint64(len(signed)-1-i),
		})
	}
	return states, nil
}

// sign sets the time of each move and signs the move with the key of its region.
func (l *Ledger) sign(moves []record.Pointer, now time.Time) ([]versionstore.SignedPointer, error) {
	var signed []versionstore.SignedPointer
	for _, p := range moves {
		key, ok := l.keys[p.Region]
		if !ok {
			return nil, fmt.Errorf("pointer of %s in region %s: %w", p.Config, p.Region, ErrNoKey)
		}
		p.TimeMicros = now.UnixMicro()
		raw, err := record.SignPointer(p, key)
		if err != nil {
			return nil, err
		}
		signed = append(signed, versionstore.SignedPointer{Pointer: p, Raw: raw})
	}
	return signed, nil
}
