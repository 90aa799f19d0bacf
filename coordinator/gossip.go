package coordinator

import (
	"context"
	"errors"
	"time"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/transport/gossip"
)

// pools are the coordinator's memberships: of its region's pool, with the upper
// relays, and of the wide-area pool of coordinators.
type pools struct {
	region, wan *gossip.Pool
}

// openGossip starts what is configured. Without a gossip key there is none.
func (c *Coordinator) openGossip() (err error) {
	id := c.cfg.Identity.Identity
	if c.cfg.Identity.Gossip == nil {
		if c.cfg.Gossip != "" || c.cfg.GossipWAN != "" {
			c.log.Warn("no gossip: the bundle has no gossip key; 'banyan init' of this version makes one")
		}
		return nil
	}
	cfg := gossip.Config{Name: id.Name, Advertise: c.cfg.GossipAdvertise, Key: c.cfg.Identity.Gossip, Log: c.log, OnRevision: c.hint}
	if c.cfg.Gossip != "" {
		region := cfg
		region.Pool, region.Listen, region.OnFailed = id.Region, c.cfg.Gossip, c.doubt
		if c.pools.region, err = gossip.Open(region); err != nil {
			return err
		}
	}
	if c.cfg.GossipWAN != "" {
		wan := cfg
		wan.Pool, wan.Listen, wan.Wide = gossip.WAN, c.cfg.GossipWAN, true
		if c.pools.wan, err = gossip.Open(wan); err != nil {
			return err
		}
	}
	return nil
}

// GossipWANAddr is where other coordinators find the wide-area pool; "" if there is none.
func (c *Coordinator) GossipWANAddr() string {
	if c.pools.wan == nil {
		return ""
	}
	return c.pools.wan.Addr()
}

// gossipAddrs is where agents find the region's pool.
func (c *Coordinator) gossipAddrs() []string {
	if c.pools.region == nil {
		return nil
	}
	return []string{c.pools.region.Addr()}
}

// hint tells a follower's node that its region is at a revision.
func (c *Coordinator) hint(region string, revision uint64) {
	if region == c.region && !c.Leads() && c.running.Load() {
		c.driver.Input(c.ctx, step.Input{Kind: step.InHint, Revision: revision})
	}
}

// doubt tells the planner that a relay died.
func (c *Coordinator) doubt(name string) {
	c.metrics.failed.Inc()
	if !c.running.Load() {
		return
	}
	c.driver.Input(c.ctx, step.Input{Kind: step.InDoubt, Name: name})
}

// gossipInterval is how often revisions are looked at, to be spread if they grew.
const gossipInterval = 250 * time.Millisecond

// spread joins the pools and tells them the revisions that this coordinator knows: a
// leader all regions', a follower its own's.
func (c *Coordinator) spread(ctx context.Context) {
	ticker := time.NewTicker(gossipInterval)
	defer ticker.Stop()
	joined := len(c.cfg.GossipJoin) == 0
	for n := 0; ; n++ {
		if !joined && n%20 == 0 && c.pools.wan != nil {
			if err := c.pools.wan.Join(c.cfg.GossipJoin); err != nil {
				c.log.Warn("other coordinators do not gossip yet", "error", err)
			} else {
				joined = true
			}
		}
		c.announceRevisions(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c *Coordinator) announceRevisions(ctx context.Context) {
	revisions := map[string]uint64{}
	c.driver.Do(ctx, func(n *mesh.Node) {
		for _, region := range c.cfg.Identity.Policy.Regions() {
			if r := n.Revision(region); r > 0 && (c.Leads() || region == c.region) {
				revisions[region] = r
			}
		}
	})
	for region, revision := range revisions {
		if region == c.region && c.pools.region != nil {
			if err := c.pools.region.Announce(region, revision); err != nil {
				c.log.Warn("revision not gossiped", "error", err)
			}
		}
		if c.pools.wan != nil && c.Leads() {
			if err := c.pools.wan.Announce(region, revision); err != nil {
				c.log.Warn("revision not gossiped", "error", err)
			}
		}
	}
}

func (c *Coordinator) closeGossip() error {
	var errs []error
	for _, p := range []*gossip.Pool{c.pools.region, c.pools.wan} {
		if p != nil {
			errs = append(errs, p.Leave(), p.Close())
		}
	}
	c.pools = pools{}
	return errors.Join(errs...)
}
