package agent

import (
	"errors"
	"net"

	"banyan/mesh/step"
	"banyan/transport/gossip"
)

// gossip joins the region's pool, once: the coordinator said that this agent is one
// of those near the root that belong in it. Without it the tree works as well.
func (a *Agent) gossip(addrs []string) {
	if a.cfg.Identity.Gossip == nil || a.pool.Load() != nil || len(addrs) == 0 {
		return
	}
	host, _, err := net.SplitHostPort(a.cfg.Listen)
	if err != nil {
		return
	}
	advertise, _, err := net.SplitHostPort(a.advertise)
	if err != nil {
		return
	}
	id := a.cfg.Identity.Identity
	pool, err := gossip.Open(gossip.Config{Pool: id.Region, Name: id.Name, Listen: net.JoinHostPort(host, "0"), Advertise: advertise,
		Key: a.cfg.Identity.Gossip, Log: a.log, OnRevision: a.hint})
	if err != nil {
		a.log.Warn("no gossip", "error", err)
		return
	}
	if err := pool.Join(addrs); err != nil {
		a.log.Warn("no gossip", "error", err)
		pool.Close()
		return
	}
	if !a.pool.CompareAndSwap(nil, pool) {
		pool.Close()
		return
	}
	a.log.Info("gossips", "members", len(pool.Members()))
}

// hint tells the node what gossip says.
func (a *Agent) hint(region string, revision uint64) {
	if region != a.cfg.Identity.Identity.Region {
		return
	}
	for {
		known := a.known.Load()
		if revision <= known {
			return
		}
		if a.known.CompareAndSwap(known, revision) {
			break
		}
	}
	a.driver.Input(a.ctx, step.Input{Kind: step.InHint, Revision: revision})
}

// closeGossip leaves the pool.
func (a *Agent) closeGossip() error {
	if pool := a.pool.Swap(nil); pool != nil {
		return errors.Join(pool.Leave(), pool.Close())
	}
	return nil
}
