package coordinator

import (
	"context"
	"log/slog"
	"time"

	"banyan/coordinator/ledger"
	"banyan/internal/ticks"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/transport"
	"banyan/versionstore"
)

// deletions has the node forget the configs that were deleted long ago, and announces a deletion again
// if a host has missed it. The store remembers every deletion, so that the epochs of a name go on when
// the name is used again.
type deletions struct {
	ledger *ledger.Ledger
	memory time.Duration
	log    *slog.Logger
	driver *transport.Driver // set before run
}

// maxForgetPause is the longest time between two looks at what can be forgotten.
const maxForgetPause = time.Hour

// run has the node forget until ctx ends.
func (d *deletions) run(ctx context.Context) {
	for range ticks.Every(ctx, min(d.memory, maxForgetPause)) {
		d.forgetOld(ctx)
	}
}

func (d *deletions) forgetOld(ctx context.Context) {
	stored, err := versionstore.AllPointers(ctx, d.ledger, "")
	if err != nil && ctx.Err() == nil {
		d.log.Warn("some old deletions are not forgotten", "error", err)
	}
	for _, s := range stored {
		if d.ledger.Forgotten(&s.Pointer) {
			d.driver.Input(ctx, step.Input{Kind: step.InForget, Pointer: step.Pointer{Key: s.Pointer.Key()}})
		}
	}
}

// announce has the node announce a deletion that it has forgotten.
func (d *deletions) announce(ctx context.Context, s versionstore.PointerState) {
	d.log.Info("a host has missed a deletion, which is announced again", "config", s.Pointer.Config, "of", s.Pointer.Region)
	a := wire.NewAnnouncement(s.Revision, s.Raw, s.Pointer)
	d.driver.Input(ctx, step.Input{Kind: step.InPublish, Pointer: step.Pointer{Announcement: a}})
}
