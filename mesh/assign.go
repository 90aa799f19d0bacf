package mesh

import (
	"slices"

	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// What this file decides is of whom each shard is asked.

// follow works out who of a circle, and of its feeders, trades a form.
func (x *exchange) follow(c *wire.Circle) {
	if c == nil || c == x.circle {
		return
	}
	x.circle = c
	x.members, x.feeders = traders(c.Members, x.key.Config), traders(c.Feeders, x.key.Config)
}

// traders are those among locations who subscribe to a config. Where nobody does, shards
// come down the tree: its links are up, and it is not as deep as the circles are.
func traders(among []wire.Location, config string) []wire.Location {
	idle := func(l wire.Location) bool { return !l.Subscriptions.Include(config) }
	if !slices.ContainsFunc(among, idle) {
		return among
	}
	return slices.DeleteFunc(slices.Clone(among), idle)
}

// assign works out of whom each missing shard is to be had, and tells those for whom
// that has changed.
func (n *Node) assign(now step.Time, x *exchange, out []step.Output) []step.Output {
	x.follow(n.circles.mine)
	hoped := n.hopedFor(now, x)
	g, incomplete := x.info.Geometry, 0
	for stripe := range x.inStripe {
		if x.cached || x.enough(stripe) {
			continue
		}
		incomplete++
		for i := range int(g.Data) {
			shard := uint(stripe*g.PerStripe() + i)
			switch {
			case x.have.Test(shard) || hoped.Test(shard) && !x.mayHedge(shard):
			case incomplete <= x.rescue:
				x.source(now, n.lastResort(now, x, shard)).next.Set(shard)
			default:
				x.source(now, n.choose(now, x, x.ordinal(shard), shard)).next.Set(shard)
			}
		}
	}
	if x.relayed != nil {
		n.assignRelayed(now, x, hoped)
	}
	for _, s := range x.sources {
		if !s.next.Equal(s.asked) {
			if s.orders == 0 {
				s.last = now
			}
			s.asked, s.next = s.next, s.asked
			s.orders = int(s.asked.Count())
		}
	}
	x.stale, x.active = false, 0
	for _, s := range x.sources {
		x.active += one(s.orders > 0)
	}
	x.wakeAt = min(x.wakeAt, now+x.pace())
	return n.order(now, x, out)
}

// assignRelayed does so for what is wanted for others alone.
func (n *Node) assignRelayed(now step.Time, x *exchange, hoped *bitset.BitSet) {
	asked := 0
	for shard, ok := x.relayed.NextSet(0); ok; shard, ok = x.relayed.NextSet(shard + 1) {
		asked++
		switch {
		case hoped.Test(shard) && !x.mayHedge(shard):
		case asked <= x.rescue*int(x.info.Geometry.Data):
			x.source(now, n.lastResort(now, x, shard)).next.Set(shard)
		default:
			x.source(now, n.choose(now, x, x.ordinal(shard), shard)).next.Set(shard)
		}
	}
}

// ordinal is the number by which the duty of a shard is shared out: data is counted
// without the parity between.
func (x *exchange) ordinal(shard uint) int {
	g := x.info.Geometry
	if stripe, i := int(shard)/g.PerStripe(), int(shard)%g.PerStripe(); i < int(g.Data) {
		return stripe*int(g.Data) + i
	}
	return int(shard)
}

// hopedFor keeps what suspects were asked for, since it may still come, and returns it.
func (n *Node) hopedFor(now step.Time, x *exchange) *bitset.BitSet {
	hoped := bitset.New(x.have.Len())
	for _, s := range x.sources {
		if s.next.ClearAll(); s.suspect && s.orders > 0 && !n.isShunned(now, s.at.Name) {
			s.asked.CopyFull(s.next)
			s.next.InPlaceDifference(x.have)
			hoped.InPlaceUnion(s.next)
		}
	}
	return hoped
}

// mayHedge tells whether a shard that a suspect was asked for is asked of another too.
// Both may send it, so there is a budget for that: a share of the shards that came, and
// a little with time. A host on which everything is slow for a while must not double
// the load.
func (x *exchange) mayHedge(shard uint) bool {
	switch {
	case x.hedged.Test(shard):
	case x.credit < hedgeCost:
		return false
	default:
		x.credit -= hedgeCost
		x.hedged.Set(shard)
	}
	return true
}

// choose is of whom a shard of that ordinal is asked.
func (n *Node) choose(now step.Time, x *exchange, ordinal int, shard uint) wire.Location {
	for i := range x.members {
		at := candidate(x.members, ordinal, i)
		if at.Name == n.cfg.Self.Name {
			break // it is this node's turn to get it from the feeders
		}
		if n.mayAsk(now, x, at, shard) {
			return at
		}
	}
	for i := range x.feeders {
		if at := candidate(x.feeders, ordinal, i); at.Name != n.cfg.Self.Name && n.mayAsk(now, x, at, shard) {
			return at
		}
	}
	return n.lastResort(now, x, shard)
}

func (n *Node) mayAsk(now step.Time, x *exchange, at wire.Location, shard uint) bool {
	return !x.spares(at.Name, shard) && !n.isShunned(now, at.Name)
}

// spares tells whether a shard is not asked of a source for now.
func (x *exchange) spares(name string, shard uint) bool {
	for _, s := range x.sources {
		if s.at.Name == name {
			return s.suspect || s.relief > 0 && shard >= s.relief || s.declined != nil && s.declined.Test(shard)
		}
	}
	return false
}

// lastResort is the parent, the backup, or the coordinator, in this order.
func (n *Node) lastResort(now step.Time, x *exchange, shard uint) wire.Location {
	for _, peer := range []step.PeerID{n.up.parent, n.up.standby.peer} {
		if who, known := n.peers[peer]; known {
			if at := (wire.Location{Name: who.Name}); n.mayAsk(now, x, at, shard) {
				return at
			}
		}
	}
	at := wire.Location{Addr: n.seed()}
	if who, up := n.peers[n.linkTo(at)]; up {
		at.Name = who.Name
	}
	return at
}

// order sends each source what is asked of it now, over links that are up; others are
// dialed.
func (n *Node) order(now step.Time, x *exchange, out []step.Output) []step.Output {
	for _, s := range x.sources {
		if s.asked.Equal(s.theirs) {
			continue
		}
		peer := n.linkTo(s.at)
		if peer == 0 {
			if s.orders > 0 {
				mutual := !x.cached && slices.Contains(x.members, s.at)
				out = n.dialPartner(now, s.at, mutual, out)
			}
			continue
		}
		out = append(out, step.Output{Op: step.OpSend, Peer: peer, Message: &wire.Want{Key: x.key, Shards: s.asked.Difference(s.theirs), Cancel: s.theirs.Difference(s.asked)}})
		s.asked.CopyFull(s.theirs)
	}
	return out
}

// reassign works out all orders anew.
func (n *Node) reassign(now step.Time, out []step.Output) []step.Output {
	for _, x := range n.trading {
		if !x.isDone() {
			out = n.assign(now, x, out)
		}
	}
	return out
}
