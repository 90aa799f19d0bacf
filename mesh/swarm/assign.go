package swarm

import (
	"slices"

	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// assignment is a round of choosing a source for each missing shard of an exchange.
// The chosen shards are collected in source.next.
type assignment struct {
	s   *Swarm
	x   *exchange
	now step.Time
	// expected are the shards that suspects were asked for: they may still arrive.
	expected *bitset.BitSet
}

// assign chooses a source for every missing shard, and sends each source the changes of
// its orders.
func (s *Swarm) assign(now step.Time, x *exchange, out step.Outputs) step.Outputs {
	x.follow(s.circle)
	a := assignment{s: s, x: x, now: now, expected: bitset.New(x.have.Len())}
	a.keepSuspectOrders()
	a.assignMissing()
	a.assignRelayed()
	x.takeOrders(now)
	x.wakeAt = min(x.wakeAt, now+x.pace())
	return s.order(now, x, out)
}

// reassign assigns every exchange again.
func (s *Swarm) reassign(now step.Time, out step.Outputs) step.Outputs {
	for _, x := range s.ordered {
		if !x.isDone() {
			out = s.assign(now, x, out)
		}
	}
	return out
}

// follow takes the members and feeders of a circle that subscribe to the config.
func (x *exchange) follow(c *wire.Circle) {
	if c == nil || c == x.circle {
		return
	}
	x.circle = c
	x.members = subscribersOf(c.Members, x.key.Config)
	x.feeders = subscribersOf(c.Feeders, x.key.Config)
}

// keepSuspectOrders keeps the orders of suspects, which may still deliver.
func (a *assignment) keepSuspectOrders() {
	for _, src := range a.x.sources {
		src.next.ClearAll()
		if src.suspect && src.orders > 0 && !a.s.partners.isShunned(a.now, src.at.Name) {
			src.asked.CopyFull(src.next)
			src.next.InPlaceDifference(a.x.have)
			a.expected.InPlaceUnion(src.next)
		}
	}
}

// assignMissing assigns the missing data shards of each stripe that is not complete.
func (a *assignment) assignMissing() {
	g := a.x.info.Geometry
	incomplete := 0
	for stripe := range a.x.inStripe {
		if a.x.cached || a.x.complete(stripe) {
			continue
		}
		incomplete++
		for i := range int(g.Data) {
			shard := uint(stripe*g.PerStripe() + i)
			if !a.x.have.Test(shard) {
				a.assignShard(shard, incomplete <= a.x.rescue)
			}
		}
	}
}

// assignRelayed assigns the shards that only other nodes want.
func (a *assignment) assignRelayed() {
	if a.x.relayed == nil {
		return
	}
	rescued := a.x.rescue * int(a.x.info.Geometry.Data)
	asked := 0
	for shard, ok := a.x.relayed.NextSet(0); ok; shard, ok = a.x.relayed.NextSet(shard + 1) {
		asked++
		a.assignShard(shard, asked <= rescued)
	}
}

// assignShard chooses the source of one shard. A shard that a suspect was asked for is
// ordered from a second source only if a hedge is affordable.
func (a *assignment) assignShard(shard uint, rescue bool) {
	if a.expected.Test(shard) && !a.x.hedge(shard) {
		return
	}
	at := wire.Location{}
	if rescue {
		at = a.lastResort(shard)
	} else {
		at = a.choose(shard)
	}
	a.x.sourceAt(a.now, at).next.Set(shard)
}

// hedge reports whether a shard may be ordered from a second source, and notes the
// order. Both sources may send the shard, so there is a budget: one hedge for every
// hedgeCost shards that arrived, and a little more with time. A host on which everything
// is slow for a while must not double the load.
func (x *exchange) hedge(shard uint) bool {
	if x.hedged.Test(shard) {
		return true
	}
	if x.credit < hedgeCost {
		return false
	}
	x.credit -= hedgeCost
	x.hedged.Set(shard)
	return true
}

// ordinal returns the number by which the duty of a shard is shared out. Data shards are
// counted without the parity shards between them. Example: with 4 data and 2 parity
// shards per stripe, shard 7 is the second data shard of the second stripe: ordinal 5.
func (x *exchange) ordinal(shard uint) int {
	g := x.info.Geometry
	stripe, i := int(shard)/g.PerStripe(), int(shard)%g.PerStripe()
	if i < int(g.Data) {
		return stripe*int(g.Data) + i
	}
	return int(shard)
}

// choose returns the source to ask for a shard: a member of the circle, or a feeder if
// the node is the first member in line that may be asked.
func (a *assignment) choose(shard uint) wire.Location {
	ordinal := a.x.ordinal(shard)
	self := a.s.cfg.Self.Name
	for i := range a.x.members {
		at := candidate(a.x.members, ordinal, i)
		if at.Name == self {
			break // the node's turn to fetch the shard from a feeder
		}
		if a.mayAsk(at, shard) {
			return at
		}
	}
	for i := range a.x.feeders {
		at := candidate(a.x.feeders, ordinal, i)
		if at.Name != self && a.mayAsk(at, shard) {
			return at
		}
	}
	return a.lastResort(shard)
}

// mayAsk reports whether a node may be asked for a shard now.
func (a *assignment) mayAsk(at wire.Location, shard uint) bool {
	if a.s.partners.isShunned(a.now, at.Name) {
		return false
	}
	src := a.x.find(at.Name)
	return src == nil || src.mayAsk(shard)
}

// mayAsk reports whether the source may be asked for a shard: the source is not suspect,
// not relieved of the shard, and has not declined the shard.
func (src *source) mayAsk(shard uint) bool {
	relieved := src.relief > 0 && shard >= src.relief
	declined := src.declined != nil && src.declined.Test(shard)
	return !src.suspect && !relieved && !declined
}

// lastResort returns the parent, the backup, or the coordinator: the first that may be asked.
func (a *assignment) lastResort(shard uint) wire.Location {
	for _, peer := range []step.PeerID{a.s.overlay.Parent(), a.s.overlay.Backup()} {
		who, linked := a.s.overlay.Peer(peer)
		at := wire.Location{Name: who.Name}
		if linked && a.mayAsk(at, shard) {
			return at
		}
	}
	at := wire.Location{Addr: a.s.overlay.CoordinatorAddr()}
	if who, linked := a.s.overlay.Peer(a.s.partners.link(at)); linked {
		at.Name = who.Name
	}
	return at
}

// takeOrders makes the chosen orders the outstanding ones.
func (x *exchange) takeOrders(now step.Time) {
	x.stale = false
	x.active = 0
	for _, src := range x.sources {
		if !src.next.Equal(src.asked) {
			if src.orders == 0 {
				src.last = now
			}
			src.asked, src.next = src.next, src.asked
			src.orders = int(src.asked.Count())
		}
		if src.orders > 0 {
			x.active++
		}
	}
}

// order sends each source the changes of its orders over a link that is up. A source
// without a link is dialed.
func (s *Swarm) order(now step.Time, x *exchange, out step.Outputs) step.Outputs {
	for _, src := range x.sources {
		if src.asked.Equal(src.known) {
			continue
		}
		peer := s.partners.link(src.at)
		if peer == 0 {
			if src.orders > 0 {
				mutual := !x.cached && slices.Contains(x.members, src.at)
				out = s.partners.dial(now, src.at, mutual, out)
			}
			continue
		}
		m := &wire.Want{
			Key:    x.key,
			Shards: src.asked.Difference(src.known),
			Cancel: src.known.Difference(src.asked),
		}
		out = append(out, step.Output{Op: step.OpSend, Peer: peer, Message: m})
		src.asked.CopyFull(src.known)
	}
	return out
}
