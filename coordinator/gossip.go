package coordinator

import (
	"context"
	"errors"
	"log/slog"

	"banyan/internal/ticks"
	"banyan/mesh"
	"banyan/transport"
	"banyan/transport/gossip"
)

// pools are the gossip pools that a coordinator belongs to: the pool of its region, with
// the upper relays, and the wide-area pool of all coordinators. The zero value has no pool.
type pools struct {
	region *gossip.Pool // nil if there is none
	wan    *gossip.Pool // nil if there is none
	log    *slog.Logger
}

// openPools opens the configured pools; without a gossip key, no pool.
func openPools(
	cfg *Config,
	onRevision func(region string, revision uint64),
	onFailed func(name string),
) (p pools, err error) {
	p.log = cfg.Log
	id := cfg.Identity.Identity
	if cfg.Identity.Gossip == nil {
		if cfg.Gossip != "" || cfg.GossipWAN != "" {
			p.log.Warn("no gossip: the identity bundle has no gossip key; 'banyan init' of this version makes one")
		}
		return p, nil
	}
	common := gossip.Config{
		Name:       id.Name,
		Advertise:  cfg.GossipAdvertise,
		Key:        cfg.Identity.Gossip,
		Log:        cfg.Log,
		OnRevision: onRevision,
	}
	if cfg.Gossip != "" {
		region := common
		region.Pool = id.Region
		region.Listen = cfg.Gossip
		region.OnFailed = onFailed
		p.region, err = gossip.Open(region)
		if err != nil {
			return p, err
		}
	}
	if cfg.GossipWAN != "" {
		wan := common
		wan.Pool = gossip.WAN
		wan.Listen = cfg.GossipWAN
		wan.Wide = true
		p.wan, err = gossip.Open(wan)
	}
	return p, err
}

// any reports whether there is a pool.
func (p pools) any() bool { return p.region != nil || p.wan != nil }

// regionAddrs returns where agents reach the pool of the region; nil without a pool.
func (p pools) regionAddrs() []string {
	if p.region == nil {
		return nil
	}
	return []string{p.region.Addr()}
}

// wanAddr returns where coordinators reach the wide-area pool; "" if there is none.
func (p pools) wanAddr() string {
	if p.wan == nil {
		return ""
	}
	return p.wan.Addr()
}

// close leaves and closes the pools.
func (p pools) close() error {
	var errs []error
	for _, pool := range []*gossip.Pool{p.region, p.wan} {
		if pool != nil {
			errs = append(errs, pool.Leave(), pool.Close())
		}
	}
	return errors.Join(errs...)
}

// spreader gossips the revisions that a coordinator knows.
type spreader struct {
	pools   pools
	driver  *transport.Driver
	join    []string // wide-area pool addresses of other coordinators
	region  string   // of this coordinator
	regions []string // whose revisions are gossiped: all of a leader's, a follower's own
	leads   bool
}

// run joins the wide-area pool and gossips revisions until ctx ends.
func (s *spreader) run(ctx context.Context) {
	joined := len(s.join) == 0 || s.pools.wan == nil
	n := 0
	for range ticks.FromNow(ctx, gossipInterval) {
		if !joined && n%joinEvery == 0 {
			joined = s.tryJoin()
		}
		n++
		s.announce(ctx)
	}
}

// tryJoin reports whether another coordinator answered.
func (s *spreader) tryJoin() bool {
	err := s.pools.wan.Join(s.join)
	if err != nil {
		s.pools.log.Warn("other coordinators do not gossip yet", "error", err)
	}
	return err == nil
}

// announce gossips the revisions of the node. A pool ignores a revision that has not grown.
func (s *spreader) announce(ctx context.Context) {
	revisions := map[string]uint64{}
	running := s.driver.Do(ctx, func(n *mesh.Node) {
		for _, region := range s.regions {
			revisions[region] = n.Revision(region)
		}
	})
	if !running {
		return // revisions may still be written
	}
	for region, revision := range revisions {
		if revision == 0 {
			continue
		}
		if region == s.region && s.pools.region != nil {
			s.warn(s.pools.region.Announce(region, revision))
		}
		if s.leads && s.pools.wan != nil {
			s.warn(s.pools.wan.Announce(region, revision))
		}
	}
}

func (s *spreader) warn(err error) {
	if err != nil {
		s.pools.log.Warn("revision not gossiped", "error", err)
	}
}
