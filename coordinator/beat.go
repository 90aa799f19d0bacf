package coordinator

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"banyan/coordinator/ledger"
	"banyan/internal/ticks"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport"
)

// beat sends heads, and a census, at an interval.
type beat struct {
	ledger   *ledger.Ledger
	driver   *transport.Driver
	interval time.Duration
	children *atomic.Int64 // number of children of the node
	loaded   *atomic.Bool  // the node has the pointers of the store
	log      *slog.Logger
}

// run beats until ctx ends.
func (b *beat) run(ctx context.Context) {
	for range ticks.FromNow(ctx, b.interval) {
		if err := b.ledger.ReserveHeads(ctx); err != nil && ctx.Err() == nil && len(b.ledger.Regions()) > 0 {
			b.log.Error("heads are not signed", "error", err)
		}
		b.driver.Decide(ctx, b.inputs)
	}
}

// inputs returns the inputs of one beat: a census, and a signed head of each region whose
// activation key the ledger has. A follower's ledger has no keys. inputs runs in the
// driver's goroutine: a head leaves after the pointers that the head vouches for.
func (b *beat) inputs(n *mesh.Node) []step.Input {
	b.children.Store(int64(n.Children()))
	inputs := []step.Input{{Kind: step.InCensus}}
	now := time.Now().UnixMicro()
	if b.ledger.Stopped() != nil || !b.loaded.Load() {
		return inputs // a leader that is behind, or has yet to read its store, vouches for nothing
	}
	for _, region := range b.ledger.Regions() {
		head := record.Head{Region: region, Revision: n.Revision(region), TimeMicros: now, State: n.State(region)}
		head, raw, err := b.ledger.SignHead(head)
		if err != nil {
			b.log.Error("head not signed", "of", region, "error", err)
			continue
		}
		inputs = append(inputs, step.Input{
			Kind: step.InPublishHead,
			Head: step.Head{Head: head, Signed: &wire.SignedHead{Raw: raw}},
		})
	}
	return inputs
}
