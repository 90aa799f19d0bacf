package coordinator

import (
	"context"
	"log/slog"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport"
	"banyan/versionstore"
)

// deletions has the node forget the configs that were deleted long ago, and announces a deletion again
// if a host has missed it. The store remembers every deletion, so that the epochs of a name go on when
// the name is used again.
type deletions struct {
	store  versionstore.Reader
	memory time.Duration
	log    *slog.Logger
	driver *transport.Driver // set before run
}

// maxForgetPause is the longest time between two looks at what can be forgotten.
const maxForgetPause = time.Hour

// forgettable reports whether a pointer is of a config that was deleted so long ago that nodes need
// not know of it.
func (d *deletions) forgettable(p *record.Pointer) bool {
	return p.Deleted() && time.Since(time.UnixMicro(p.TimeMicros)) > d.memory
}

// run has the node forget until ctx ends.
func (d *deletions) run(ctx context.Context) {
	ticker := time.NewTicker(min(d.memory, maxForgetPause))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			d.forgetOld(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (d *deletions) forgetOld(ctx context.Context) {
	stored, err := d.store.Pointers(ctx, "", 0)
	if err != nil && ctx.Err() == nil {
		d.log.Warn("some old deletions are not forgotten", "error", err)
	}
	for _, s := range stored {
		if d.forgettable(&s.Pointer) {
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
