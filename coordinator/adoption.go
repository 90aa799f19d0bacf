package coordinator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"banyan/coordinator/ledger"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// adopt takes the pointers of configs that hosts have from an earlier term, and of which the store has
// none: the hosts were not connected when a person began the present term, and a person who begins a
// term keeps what only hosts have. a is such a pointer, from a child. The other hosts of the child's
// region are likely to have more of them, so every child is asked. A pointer that can't be adopted is
// logged, and tried again after adoptPause. adopt is not called twice at a time.
func (r *recovery) adopt(ctx context.Context, child step.PeerID, a *wire.Announcement) {
	if r.ledger.Refusal() != nil || time.Now().Before(r.adoptAt) {
		return
	}
	r.adoptAt = time.Now().Add(adoptPause)
	g, err := r.gather(ctx, keepWait)
	if err != nil {
		r.log.Error("pointers that only hosts have were not adopted", "error", err)
		return
	}
	g.add(child, a)
	adopted := true
	for _, key := range slices.SortedFunc(maps.Keys(g.pointers), compareKeys) {
		if !r.missing(ctx, key) {
			continue
		}
		err := r.adoptPointer(ctx, g.pointers[key].Pointer, g.holders[key.Config])
		if err != nil {
			adopted = false
			r.log.Error("a pointer that only hosts have was not adopted",
				"config", key.Config, "of", key.Region, "error", err)
		}
	}
	if adopted {
		r.adoptAt = time.Time{}
	}
}

// adoptPointer takes the versions that a pointer of an earlier term names, and issues the pointer in
// the present term.
func (r *recovery) adoptPointer(ctx context.Context, p record.Pointer, holders []step.PeerID) error {
	if err := r.takeVersions(ctx, p, holders); err != nil {
		return err
	}
	what := fmt.Sprintf("hosts in %s have version %d from term %d, and the store had no pointer: taken over",
		p.Region, p.Baseline.Version, p.Term)
	if p.Deleted() {
		what = fmt.Sprintf("hosts in %s have a deletion from term %d, and the store had no pointer: taken over",
			p.Region, p.Term)
	}
	act := ledger.Act{By: "leader", Config: p.Config, What: what}
	p.Epoch = 1
	return r.ledger.Update(func(w *ledger.Writer) error {
		if !r.missing(ctx, p.Key()) {
			return nil
		}
		_, err := w.Commit(ctx, act, ledger.Changes{Moves: []record.Pointer{p}})
		return err
	})
}
