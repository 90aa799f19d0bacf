package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"banyan/coordinator/ledger"
	"banyan/mesh"
	"banyan/record"
	"banyan/versionstore"
)

// runs writes into the activation logs which versions hosts have acknowledged to run. A version
// costs one write in a region, when the first host has acknowledged, and not one write per host.
//
// The ledger also logs which versions hosts ran when a pointer moves. runs writes earlier, for a
// leader that restarts before the move: hosts do not acknowledge earlier pointers again.
type runs struct {
	ledger  *ledger.Ledger
	tracker *tracker
	log     *slog.Logger

	// noted are the versions of each pointer that are in the activation log. Only the controller's
	// goroutine uses noted, failures and late.
	noted    map[record.PointerKey][]record.Ref
	failures failures // of writes
	// late are the versions that ran by pointers that were replaced, and that are not in the log yet.
	late map[record.PointerKey][]record.Ref

	mu sync.Mutex
	// due are the pointers for which acknowledgements came since the last write; guarded by mu.
	due map[record.PointerKey]bool
}

func newRuns(l *ledger.Ledger, t *tracker, log *slog.Logger) *runs {
	return &runs{
		ledger:  l,
		tracker: t,
		log:     log,
		due:     map[record.PointerKey]bool{},
		noted:   map[record.PointerKey][]record.Ref{},
		late:    map[record.PointerKey][]record.Ref{},
	}
}

// acked notes that acknowledgements for the pointer of key came. A ledger without keys writes
// nothing. An agent may make up keys of pointers that there are not, so at most mesh.MaxPointers keys
// wait.
func (r *runs) acked(key record.PointerKey) {
	if !r.ledger.HasKey(key.Region) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.due) < mesh.MaxPointers {
		r.due[key] = true
	}
}

// take returns the keys that are due.
func (r *runs) take() []record.PointerKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(r.due), compareKeys)
	clear(r.due)
	return keys
}

// note writes what was acknowledged since the last call. What can't be written is tried again.
func (r *runs) note(ctx context.Context) {
	for _, key := range r.take() {
		err := r.noteOne(ctx, key)
		if ctx.Err() != nil {
			return
		}
		name := key.Config + " " + key.Region
		if err == nil {
			r.failures.ended(name)
			continue
		}
		r.acked(key)
		if left, due := r.failures.due(name, "", time.Now()); due {
			r.log.Error("the log of activations lacks what hosts run; it is tried again",
				"config", key.Config, "of", key.Region, "error", err, "not_logged", left)
		}
	}
}

func (r *runs) noteOne(ctx context.Context, key record.PointerKey) error {
	p, err := r.ledger.Pointer(ctx, key.Config, key.Region)
	if errors.Is(err, versionstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	versions := r.tracker.ran(p.Pointer)
	for _, v := range r.tracker.lateRan(key) {
		if !slices.Contains(r.late[key], v) {
			r.late[key] = append(r.late[key], v)
		}
	}
	if slices.Equal(versions, r.noted[key]) && len(r.late[key]) == 0 {
		return nil
	}
	if err := r.ledger.NoteRan(ctx, key, r.late[key]); err != nil {
		return err
	}
	r.noted[key] = versions
	delete(r.late, key)
	return nil
}
