package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"

	"banyan/mesh/step"
	"banyan/transport/gossip"
	"banyan/transport/identity"
)

// gossipMember joins the region's gossip pool when the coordinator asks this agent, a
// relay near the root, to join. An agent works without the pool too.
type gossipMember struct {
	identity  *identity.Bundle
	listen    string // the agent's own listen address, host:port
	advertise string // the agent's own advertised address, host:port
	log       *slog.Logger
	tell      func(context.Context, step.Input) // gives the node an input

	ctx   context.Context             // of Agent.Run
	pool  atomic.Pointer[gossip.Pool] // nil: not in the pool
	known atomic.Uint64               // newest revision in gossip
}

// join joins the pool at addrs, unless the agent is a member already.
func (g *gossipMember) join(addrs []string) {
	if g.identity.Gossip == nil || g.pool.Load() != nil || len(addrs) == 0 {
		return
	}
	pool, err := g.open(addrs)
	if err != nil {
		g.log.Warn("gossip pool not joined", "error", err)
		return
	}
	if !g.pool.CompareAndSwap(nil, pool) {
		pool.Close()
		return
	}
	g.log.Info("gossip pool joined", "members", len(pool.Members()))
}

func (g *gossipMember) open(addrs []string) (*gossip.Pool, error) {
	host, _, err := net.SplitHostPort(g.listen)
	if err != nil {
		return nil, err
	}
	advertise, _, err := net.SplitHostPort(g.advertise)
	if err != nil {
		return nil, err
	}
	pool, err := gossip.Open(gossip.Config{
		Pool:       g.identity.Identity.Region,
		Name:       g.identity.Identity.Name,
		Listen:     net.JoinHostPort(host, "0"),
		Advertise:  advertise,
		Key:        g.identity.Gossip,
		Log:        g.log,
		OnRevision: g.hint,
	})
	if err != nil {
		return nil, err
	}
	if err := pool.Join(addrs); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return pool, nil
}

// hint gives the node a newer revision of the region.
func (g *gossipMember) hint(region string, revision uint64) {
	if region != g.identity.Identity.Region {
		return
	}
	for {
		known := g.known.Load()
		if revision <= known {
			return
		}
		if g.known.CompareAndSwap(known, revision) {
			break
		}
	}
	g.tell(g.ctx, step.Input{Kind: step.InHint, Revision: revision})
}

// members returns the number of members of the pool; 0 if the agent is not a member.
func (g *gossipMember) members() int {
	if pool := g.pool.Load(); pool != nil {
		return len(pool.Members())
	}
	return 0
}

// close leaves the pool.
func (g *gossipMember) close() error {
	if pool := g.pool.Swap(nil); pool != nil {
		return errors.Join(pool.Leave(), pool.Close())
	}
	return nil
}
