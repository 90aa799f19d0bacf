package mesh

import (
	"slices"

	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// What this file decides is what a node fetches of configs that it does not subscribe
// to: exactly what others ask it for, which it keeps for those who ask next, as long as
// there is room.
//
//	request ──► fetch of the index, from above ──► cached exchange ──► OpServe
//	Want ─────────────┘                                 │
//	                          the shards that are wanted, from circle and feeders ──► who wants them
//
// A cached exchange is never complete and is not assembled. The least recently used one
// that nobody wants anything of goes when another needs room; a shard for which there
// is none is declined, so that who wants it asks the next in line at once.

const (
	// DefaultCacheLimit is how many bytes of shards a node keeps for others: as many as
	// the largest body has.
	DefaultCacheLimit = 1 << 30
	// maxCached is how many forms a node keeps shards of for others.
	maxCached = 48
)

// CacheUsed is how many bytes are kept for others, or on their way.
func (n *Node) CacheUsed() (bytes int64) {
	for _, x := range n.trading {
		if x.cached {
			bytes += x.cost()
		}
	}
	return bytes
}

// cost is what an exchange for others takes, with what was asked for.
func (x *exchange) cost() int64 {
	return int64(x.stored+x.relaying) * int64(x.info.Geometry.ShardBytes)
}

// isIdle tells whether an exchange for others has all that it was asked for.
func (x *exchange) isIdle() bool { return x.cached && x.relaying == 0 }

// isDone tells whether an exchange has all that it is for.
func (x *exchange) isDone() bool {
	if x.cached {
		return x.isIdle()
	}
	return x.missing == 0
}

// busy tells whether any exchange still needs something.
func (n *Node) busy() bool {
	for _, x := range n.trading {
		if !x.isIdle() {
			return true
		}
	}
	return false
}

// makeRoom drops what was not asked for longest, until there is room in the cache for
// so many bytes more of an exchange. ok is false if there can be none.
func (n *Node) makeRoom(x *exchange, bytes int64, out []step.Output) (_ []step.Output, ok bool) {
	for n.CacheUsed()+bytes > n.cfg.CacheLimit {
		oldest := n.leastUsed(x)
		if oldest == nil {
			return out, false
		}
		out = n.discard(oldest.key.VersionKey, out)
	}
	return out, true
}

// makePlace is makeRoom for one more exchange, which is listed already.
func (n *Node) makePlace(x *exchange, out []step.Output) (_ []step.Output, ok bool) {
	count := 0
	for _, y := range n.trading {
		count += one(y.cached)
	}
	if count > maxCached {
		oldest := n.leastUsed(x)
		if oldest == nil {
			return out, false
		}
		out = n.discard(oldest.key.VersionKey, out)
	}
	return n.makeRoom(x, 0, out)
}

// leastUsed is the exchange for others that was not asked for longest, other than of the
// version that needs the room; nil if somebody wants something of each.
func (n *Node) leastUsed(x *exchange) (oldest *exchange) {
	for _, y := range n.trading {
		if y.cached && y.key.VersionKey != x.key.VersionKey && !n.isWanted(y.key.VersionKey) && (oldest == nil || y.used < oldest.used) {
			oldest = y
		}
	}
	return oldest
}

func (n *Node) isWanted(v record.VersionKey) bool {
	for _, u := range n.uploads.queue {
		if u.key.VersionKey == v {
			return true
		}
	}
	return false
}

// discard ends the exchanges of a version; what has come of it goes.
func (n *Node) discard(v record.VersionKey, out []step.Output) []step.Output {
	return append(n.endExchanges(v, out), step.Output{Op: step.OpAbandon, Want: v})
}

// requestCached handles a request for a version of a config that this node does not
// subscribe to: from what is here, or it waits for that.
func (n *Node) requestCached(now step.Time, in step.Input, out []step.Output) []step.Output {
	for _, x := range n.trading {
		if x.key.VersionKey == in.Want && in.Choice.Allows(x.key.Form) {
			x.used = now
			return append(out, step.Output{Op: step.OpServe, Request: in.Request, Want: in.Want, Choice: in.Choice})
		}
	}
	out, ok := n.await(in, out)
	if !ok {
		return out
	}
	return n.fetchCached(now, in.Want, in.Choice, in.Request, out)
}

// fetchCached asks for the index of a form, for others. If any will do, it is one that
// request can use.
func (n *Node) fetchCached(now step.Time, want record.VersionKey, choice wire.FormChoice, request uint64, out []step.Output) []step.Output {
	f := n.bodies.begin(want, choice)
	if f.request == 0 {
		f.request = request
	}
	if f.asked > 0 || n.up.state != upAttached { // resumeFetches starts it
		return out
	}
	return n.ask(now, f, n.source(), out)
}

// giveUp ends a fetch for others, and tells them, unless somebody may still answer.
func (n *Node) giveUp(f *fetch, reason string, out []step.Output) []step.Output {
	if f.askAt = step.Never; f.asked > 0 {
		return out
	}
	n.bodies.forget(f.want, f.choice)
	out = n.denyWaiting(f.want, reason, out, f.choice)
	if form, only := f.choice.Form(); only {
		out = n.declineAll(record.FormKey{VersionKey: f.want, Form: form}, out)
	}
	return out
}

// cachedFailed hears that a fetch for others failed: the next is asked, or those who
// wait are told.
func (n *Node) cachedFailed(now step.Time, f *fetch, in step.Input, out []step.Output) []step.Output {
	if f.asked = max(f.asked-1, 0); f.asked > 0 {
		return out // another answers
	}
	switch {
	case in.Reason == ReasonLinkLost && n.up.state != upAttached:
		return out // goes on with the next parent
	case in.Local:
		return n.giveUp(f, in.Reason, out)
	}
	out, ok := n.askAbove(now, f, out)
	if !ok {
		return n.giveUp(f, reasonNoForm, out)
	}
	return out
}

// cache begins an exchange for others.
func (n *Node) cache(now step.Time, x *exchange, out []step.Output) []step.Output {
	out, ok := n.makePlace(x, out)
	if !ok {
		return n.declineAll(x.key, n.discard(x.key.VersionKey, out))
	}
	for _, u := range slices.Clone(n.uploads.queue) { // some may be declined
		if u.key == x.key {
			out = n.relayWants(now, x, u, u.want.Clone(), out)
		}
	}
	return n.pump(now, out)
}

// relayWants asks on for shards that a peer wants, and that this node does not need
// itself: parity, or any of an exchange for others. What there is no room for is declined.
func (n *Node) relayWants(now step.Time, x *exchange, u *upload, wanted *bitset.BitSet, out []step.Output) []step.Output {
	x.used = now
	g, added, made, declined := x.info.Geometry, false, false, bitset.New(0)
	for shard, ok := wanted.NextSet(0); ok && int(shard) < x.info.Shards(); shard, ok = wanted.NextSet(shard + 1) {
		stripe, i := int(shard)/g.PerStripe(), int(shard)%g.PerStripe()
		switch {
		case !x.cached && i < int(g.Data) || x.have.Test(shard) || x.relayed != nil && x.relayed.Test(shard):
			continue
		case x.enough(stripe): // parity can be made of it
			x.have.Set(shard)
			made = true
			continue
		}
		if room := true; x.cached {
			if out, room = n.makeRoom(x, int64(g.ShardBytes), out); !room {
				declined.Set(shard)
				continue
			}
		}
		if x.isIdle() {
			x.last, x.highest, x.rescue = now, 0, 0 // what was before says nothing of those asked now
		}
		x.relay(shard)
		added = true
	}
	if made {
		n.recount(x.key.VersionKey)
	}
	if declined.Any() {
		out = n.decline(u, declined, out)
	}
	if added {
		return n.assign(now, x, out)
	}
	return out
}

// relay notes a shard to be had for others.
func (x *exchange) relay(shard uint) {
	if x.relayed == nil {
		x.relayed = bitset.New(uint(x.info.Shards()))
	}
	x.relayed.Set(shard)
	x.relaying++
}

// decline tells a peer that it will not be sent shards that it wants.
func (n *Node) decline(u *upload, shards *bitset.BitSet, out []step.Output) []step.Output {
	u.want.InPlaceDifference(shards)
	if u.want.None() && u.sending == 0 {
		n.dropUpload(u)
	}
	return append(out, step.Output{Op: step.OpSend, Peer: u.peer, Message: &wire.Decline{Key: u.key, Shards: shards}})
}

// declineAll tells so all who want shards of a form.
func (n *Node) declineAll(key record.FormKey, out []step.Output) []step.Output {
	for i := len(n.uploads.queue) - 1; i >= 0; i-- {
		if u := n.uploads.queue[i]; u.key == key && u.want.Any() {
			out = n.decline(u, u.want.Clone(), out)
		}
	}
	return out
}

// declined hears that a source will not send shards: the next in line is asked.
func (n *Node) declined(now step.Time, from step.PeerID, m *wire.Decline, out []step.Output) []step.Output {
	x, name := n.exchanges[m.Key], n.peers[from].Name
	if x == nil {
		return out
	}
	for _, s := range x.sources {
		if s.at.Name != name || s.asked.IntersectionCardinality(m.Shards) == 0 {
			continue
		}
		if s.declined == nil {
			s.declined = bitset.New(uint(x.info.Shards()))
		}
		s.declined.InPlaceUnion(m.Shards)
		return n.assign(now, x, out)
	}
	return out
}
