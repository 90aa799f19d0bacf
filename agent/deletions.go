package agent

import (
	"context"
	"log/slog"
	"time"

	"banyan/internal/ticks"
	"banyan/mesh/step"
)

// deletions forgets the configs that were deleted long ago. A host that was away for longer than
// the others remember learns of a deletion from the leader's store: see mesh/evidence.go.
type deletions struct {
	memory  time.Duration
	state   *state
	applied *appliedSet
	tell    func(context.Context, step.Input) // gives the node an input
	log     *slog.Logger
}

// maxForgetPause is the longest time between two looks at what can be forgotten.
const maxForgetPause = time.Hour

// run looks for old deletions until ctx ends.
func (d *deletions) run(ctx context.Context) {
	for range ticks.Every(ctx, min(d.memory, maxForgetPause)) {
		d.forgetOld(ctx)
	}
}

func (d *deletions) forgetOld(ctx context.Context) {
	old, err := d.state.deletedBefore(time.Now().Add(-d.memory))
	if err != nil {
		d.log.Warn("old deletions are not forgotten", "error", err)
		return
	}
	for _, p := range old {
		if err := d.state.forget(p.Config, p.Position()); err != nil {
			d.log.Warn("an old deletion is not forgotten", "config", p.Config, "error", err)
			continue
		}
		d.applied.forget(p.Config, p.Position())
		d.tell(ctx, step.Input{Kind: step.InForget, Pointer: step.Pointer{Key: p.Key()}})
	}
}
