package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"banyan/rollout"
)

// Sizes: how many agents each region has, and what they subscribe to, is remembered, so
// that a leader that has just started, and has heard of few, knows what to wait for.

const (
	kindSizes = "sizes"
	sizesName = "agents"
	// sizesEvery is the time between two writes, of sizes that changed.
	sizesEvery = 10 * time.Second
)

// rememberSizes writes down how many agents there are, if that is due. Only run calls it.
func (c *Coordinator) rememberSizes(ctx context.Context) {
	r := c.rollouts
	if time.Since(r.sized) < sizesEvery || time.Since(r.started) < sizesEvery {
		return
	}
	r.sized = time.Now()
	raw, err := json.Marshal(c.tracker.sizes())
	if err != nil {
		return
	}
	if d, err := c.store.Document(ctx, kindSizes, sizesName); err == nil && bytes.Equal(d.Raw, raw) {
		return
	}
	if err := c.replaceDocument(ctx, kindSizes, sizesName, raw, c.cfg.Identity.Identity.Name); err != nil && ctx.Err() == nil {
		c.log.Warn("number of agents not remembered", "error", err)
	}
}

// expected is how many subscribers of a config each region has, or had lately if it has
// fewer now.
func (c *Coordinator) expected(ctx context.Context, config string) map[string]int {
	agents := map[string]int{}
	for region, size := range c.tracker.sizes() {
		agents[region] = size.Subscribers(config)
	}
	if time.Since(c.rollouts.started) < sizesEvery {
		for region, size := range c.sizes(ctx) {
			agents[region] = max(agents[region], size.Subscribers(config))
		}
	}
	return agents
}

// sizes are the sizes that the regions were known to have lately.
func (c *Coordinator) sizes(ctx context.Context) map[string]rollout.Size {
	sizes := map[string]rollout.Size{}
	d, err := c.store.Document(ctx, kindSizes, sizesName)
	if err == nil {
		err = json.Unmarshal(d.Raw, &sizes)
	}
	if err != nil {
		return nil
	}
	return sizes
}
