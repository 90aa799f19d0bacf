package swarm

import (
	"slices"

	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// This file decides what a node fetches of configs that the node does not subscribe to:
// exactly the shards that other nodes ask for. The node keeps the shards for the next
// node that asks, as long as there is room.
//
//	request ──► fetch the index from above ──► a cached exchange ──► OpServe
//	Want ─────────────┘                             │
//	                    the wanted shards, from circle and feeders ──► the peer that wants them
//
// A cached exchange is never complete, and is not assembled. When another exchange needs
// room, the exchange that was asked for least recently is discarded, unless a peer still
// wants its shards. A shard for which there is no room is declined, so that the peer
// asks the next candidate at once.

// makeRoom discards exchanges until the cache has room for bytes more of x. It returns
// false if there is no room.
func (s *Swarm) makeRoom(x *exchange, bytes int64, out step.Outputs) (_ step.Outputs, ok bool) {
	for s.CacheUsed()+bytes > s.cfg.CacheLimit {
		oldest := s.leastUsed(x)
		if oldest == nil {
			return out, false
		}
		out = s.discard(oldest.key.VersionKey, out)
	}
	return out, true
}

// makePlace makes room for x, which is in s.ordered already, among at most maxCached
// exchanges.
func (s *Swarm) makePlace(x *exchange, out step.Outputs) (_ step.Outputs, ok bool) {
	count := 0
	for _, y := range s.ordered {
		if y.cached {
			count++
		}
	}
	if count > maxCached {
		oldest := s.leastUsed(x)
		if oldest == nil {
			return out, false
		}
		out = s.discard(oldest.key.VersionKey, out)
	}
	return s.makeRoom(x, 0, out)
}

// leastUsed returns the cached exchange that was asked for least recently, of another
// version than x, and of which no peer wants shards; nil if absent.
func (s *Swarm) leastUsed(x *exchange) *exchange {
	var oldest *exchange
	for _, y := range s.ordered {
		if !y.cached || y.key.VersionKey == x.key.VersionKey || s.uploads.wants(y.key.VersionKey) {
			continue
		}
		if oldest == nil || y.used < oldest.used {
			oldest = y
		}
	}
	return oldest
}

// discard ends the exchanges of a version and deletes its shards.
func (s *Swarm) discard(v record.VersionKey, out step.Outputs) step.Outputs {
	out = s.endExchanges(v, out)
	return append(out, step.Output{Op: step.OpAbandon, Body: step.Body{Version: v}})
}

// requestCached handles a request for a version of a config that the node does not
// subscribe to: the request is served from an exchange, or waits for the index.
func (s *Swarm) requestCached(now step.Time, peer step.PeerID, b step.Body, out step.Outputs) step.Outputs {
	for _, x := range s.ordered {
		if x.key.VersionKey == b.Version && b.Choice.Allows(x.key.Form) {
			x.used = now
			return append(out, step.Output{
				Op:   step.OpServe,
				Body: step.Body{Request: b.Request, Version: b.Version, Choice: b.Choice},
			})
		}
	}
	out, ok := s.bodies.await(waiting{b.Request, peer, b.Version, b.Choice}, out)
	if !ok {
		return out
	}
	return s.fetchCached(now, b.Version, b.Choice, b.Request, out)
}

// fetchCached asks for the index of a form, for other nodes. With wire.AnyForm, the form
// is one that request can use.
func (s *Swarm) fetchCached(
	now step.Time, v record.VersionKey, choice wire.FormChoice, request uint64, out step.Outputs,
) step.Outputs {
	f := s.bodies.fetches.begin(v, choice)
	if f.request == 0 {
		f.request = request
	}
	if f.asked > 0 || !s.overlay.Attached() {
		return out
	}
	return s.ask(now, f, s.overlay.Source(), out)
}

// giveUp ends a fetch for other nodes, unless a node may still answer. The waiting peers
// are refused.
func (s *Swarm) giveUp(f *fetch, reason string, out step.Outputs) step.Outputs {
	s.bodies.fetches.wakeAt(f, step.Never)
	if f.asked > 0 {
		return out
	}
	s.bodies.fetches.forget(f.version, f.choice)
	out = s.bodies.deny(f.version, reason, out, f.choice)
	if form, only := f.choice.Form(); only {
		out = s.declineAll(record.FormKey{VersionKey: f.version, Form: form}, out)
	}
	return out
}

// cachedFailed handles the failure of a fetch for other nodes: the next node is asked,
// or the waiting peers are refused.
func (s *Swarm) cachedFailed(now step.Time, f *fetch, why step.Failure, out step.Outputs) step.Outputs {
	f.asked = max(f.asked-1, 0)
	switch {
	case f.asked > 0:
		return out // another node may answer
	case why.Reason == step.ReasonLinkLost && !s.overlay.Attached():
		return out // Resume asks the next parent
	case why.Fault == step.FaultHost:
		return s.giveUp(f, why.Reason, out)
	}
	out, ok := s.askAbove(now, f, out)
	if !ok {
		return s.giveUp(f, reasonNoForm, out)
	}
	return out
}

// cache begins an exchange for other nodes.
func (s *Swarm) cache(now step.Time, x *exchange, out step.Outputs) step.Outputs {
	out, ok := s.makePlace(x, out)
	if !ok {
		out = s.discard(x.key.VersionKey, out)
		return s.declineAll(x.key, out)
	}
	for _, u := range slices.Clone(s.uploads.queue) { // relayWants may drop some
		if u.key == x.key {
			out = s.relayWants(now, x, u, u.want.Clone(), out)
		}
	}
	return s.uploads.pump(now, out)
}

// relayWants orders the shards that a peer wants and the node does not order for itself:
// parity shards, or any shard of a cached exchange. A shard for which there is no room is
// declined.
func (s *Swarm) relayWants(
	now step.Time, x *exchange, u *upload, wanted *bitset.BitSet, out step.Outputs,
) step.Outputs {
	x.used = now
	g := x.info.Geometry
	declined := bitset.New(0)
	added, made := false, false
	total := uint(x.info.Shards())
	for shard, ok := wanted.NextSet(0); ok && shard < total; shard, ok = wanted.NextSet(shard + 1) {
		stripe, i := int(shard)/g.PerStripe(), int(shard)%g.PerStripe()
		ordered := x.relayed != nil && x.relayed.Test(shard)
		switch {
		case !x.cached && i < int(g.Data) || x.have.Test(shard) || ordered:
			continue
		case x.complete(stripe): // the parity shard can be made from the data
			x.have.Set(shard)
			made = true
			continue
		}
		if x.cached {
			room := false
			out, room = s.makeRoom(x, int64(g.ShardBytes), out)
			if !room {
				declined.Set(shard)
				continue
			}
		}
		if x.isIdle() { // earlier progress says nothing about the sources of this shard
			x.last = now
			x.highest = 0
			x.rescue = 0
		}
		x.relay(shard)
		added = true
	}
	if made {
		s.uploads.recount(x.key.VersionKey)
	}
	if declined.Any() {
		out = s.decline(u, declined, out)
	}
	if added {
		return s.assign(now, x, out)
	}
	return out
}
