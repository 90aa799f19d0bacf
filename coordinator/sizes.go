package coordinator

import (
	"context"
	"encoding/json"
	"maps"
	"time"
)

// Sizes: how many agents each region has is remembered, so that a leader that has just
// started, and has heard of few, knows what to wait for.

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
	if agents := c.tracker.agentsByRegion(); !maps.Equal(agents, c.sizes(ctx)) {
		if raw, err := json.Marshal(agents); err == nil {
			if err := c.replaceDocument(ctx, kindSizes, sizesName, raw, c.cfg.Identity.Identity.Name); err != nil && ctx.Err() == nil {
				c.log.Warn("number of agents not remembered", "error", err)
			}
		}
	}
}

// expected is how many agents each region has, or had lately if it has fewer now.
func (c *Coordinator) expected(ctx context.Context) map[string]int {
	agents := c.tracker.agentsByRegion()
	if time.Since(c.rollouts.started) < sizesEvery {
		for region, n := range c.sizes(ctx) {
			agents[region] = max(agents[region], n)
		}
	}
	return agents
}

// sizes is how many agents each region was known to have lately.
func (c *Coordinator) sizes(ctx context.Context) map[string]int {
	agents := map[string]int{}
	d, err := c.store.Document(ctx, kindSizes, sizesName)
	if err == nil {
		err = json.Unmarshal(d.Raw, &agents)
	}
	if err != nil {
		return nil
	}
	return agents
}
