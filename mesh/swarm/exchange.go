package swarm

import (
	"slices"

	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// exchange is a form on its way to the node, shard by shard, from many sources at once.
type exchange struct {
	key  record.FormKey
	info step.FormInfo

	have     *bitset.BitSet // shards on disk, and padding
	inStripe []uint16       // number of shards of each stripe in have
	missing  int            // number of stripes that are not complete yet
	stored   int            // number of shards on disk

	circle  *wire.Circle    // the circle that members and feeders come from
	members []wire.Location // members of the circle that subscribe to the config
	feeders []wire.Location // feeders of the circle that subscribe to the config
	sources []*source       // in the order in which they were first needed

	// wanted are the shards that other nodes have ever asked the node for.
	wanted *bitset.BitSet
	// cached: the exchange is for other nodes only. Only shards that they ask for are fetched.
	cached bool
	// relayed are the shards to fetch for other nodes only; nil for none.
	relayed  *bitset.BitSet
	relaying int       // number of shards in relayed
	used     step.Time // when another node last asked for a shard of a cached exchange

	received int       // shards that arrived
	highest  int       // highest number of a shard that arrived
	last     step.Time // when a shard last arrived, or help was last asked
	arrived  step.Time // when a shard last arrived; before the first shard, when the exchange began
	windowAt step.Time // when the present rate window began
	recent   step.Time // duration of the latest rate window
	fastest  step.Time // duration of the shortest rate window

	active     int            // sources with outstanding orders
	delivering int            // sources that have delivered a shard
	rescue     int            // stripes that are ordered from the last resort
	hedged     *bitset.BitSet // shards ordered from a second source
	credit     int            // credit for more of them; each costs hedgeCost
	stale      bool           // orders should be worked out again
	wakeAt     step.Time
}

// source is one peer of an exchange.
type source struct {
	at       wire.Location
	asked    *bitset.BitSet // outstanding orders
	next     *bitset.BitSet // the next orders, while assign works them out
	orders   int            // number of outstanding orders
	came     int            // shards that the source delivered
	known    *bitset.BitSet // orders sent to the peer, without the delivered shards
	declined *bitset.BitSet // shards declined by the source; nil for none
	last     step.Time      // when the source last delivered a shard, or was first asked
	strikes  int            // number of times that the source was suspected
	// relief: shards from this number on are ordered elsewhere, since the source is far
	// behind; 0 for none.
	relief  uint
	suspect bool
}

// newExchange returns an exchange of a form of which the shards in have are on disk.
// have may be nil for none.
func newExchange(now step.Time, key record.FormKey, info step.FormInfo, have *bitset.BitSet) *exchange {
	total := uint(info.Shards())
	if have == nil {
		have = bitset.New(total)
	}
	x := &exchange{
		key:      key,
		info:     info,
		have:     have.Clone(),
		inStripe: make([]uint16, info.Geometry.Stripes(info.Size)),
		wanted:   bitset.New(total),
		hedged:   bitset.New(total),
		credit:   firstHedges * hedgeCost,
		used:     now,
		last:     now,
		arrived:  now,
		wakeAt:   step.Never,
	}
	for stripe := range x.inStripe {
		x.countStripe(stripe, have)
	}
	return x
}

// countStripe counts the shards of a stripe on disk. Padding shards, which have
// no bytes, count as present.
func (x *exchange) countStripe(stripe int, have *bitset.BitSet) {
	perStripe := x.info.Geometry.PerStripe()
	for i := range perStripe {
		shard := stripe*perStripe + i
		if x.info.Geometry.IsPadding(x.info.Size, shard) {
			x.have.Set(uint(shard))
		} else if have.Test(uint(shard)) {
			x.stored++
		}
		if x.have.Test(uint(shard)) {
			x.inStripe[stripe]++
		}
	}
	if !x.complete(stripe) {
		x.missing++
	}
}

// complete reports whether a stripe can be rebuilt from the shards on disk.
func (x *exchange) complete(stripe int) bool {
	return x.inStripe[stripe] >= x.info.Geometry.Data
}

// isDone reports whether the exchange needs no further shard.
func (x *exchange) isDone() bool {
	if x.cached {
		return x.isIdle()
	}
	return x.missing == 0
}

// isIdle reports whether a cached exchange has every shard that other nodes asked for.
func (x *exchange) isIdle() bool { return x.cached && x.relaying == 0 }

// cost returns the number of bytes of a cached exchange, on disk and ordered.
func (x *exchange) cost() int64 {
	return int64(x.stored+x.relaying) * int64(x.info.Geometry.ShardBytes)
}

// sourceAt returns the source at a location. A missing source is created.
func (x *exchange) sourceAt(now step.Time, at wire.Location) *source {
	if s := x.find(at.Name); s != nil {
		s.at = at
		return s
	}
	total := uint(x.info.Shards())
	s := &source{
		at:    at,
		asked: bitset.New(total),
		next:  bitset.New(total),
		known: bitset.New(total),
		last:  now,
	}
	x.sources = append(x.sources, s)
	return s
}

// find returns the source with the given name; nil if absent.
func (x *exchange) find(name string) *source {
	for _, s := range x.sources {
		if s.at.Name == name {
			return s
		}
	}
	return nil
}

// delivered notes that a source has sent a shard.
func (x *exchange) delivered(now step.Time, name string, shard int) {
	x.last = now
	x.arrived = now
	s := x.find(name)
	if s == nil {
		return
	}
	s.known.Clear(uint(shard))
	if s.asked.Test(uint(shard)) {
		s.asked.Clear(uint(shard))
		s.orders--
	} else {
		x.stale = true // the shard is ordered from another source
	}
	s.came++
	if s.came == 1 {
		x.delivering++
	}
	s.last = now
	s.suspect = false
	x.received++
	x.credit++
	x.measureRate(now)
	x.highest = max(x.highest, shard)
}

// hold notes a shard that is on disk.
func (x *exchange) hold(shard int) {
	x.have.Set(uint(shard))
	x.stored++
	if x.relayed != nil && x.relayed.Test(uint(shard)) {
		x.relayed.Clear(uint(shard))
		x.relaying--
	}
	stripe := shard / x.info.Geometry.PerStripe()
	if x.complete(stripe) {
		return
	}
	x.inStripe[stripe]++
	if !x.complete(stripe) {
		return
	}
	x.missing--
	if x.info.Geometry.Parity > 0 && !x.dataHeld(stripe) {
		x.stale = true // further shards of the stripe are not needed
	}
}

// dataHeld reports whether all data shards of a stripe are on disk.
func (x *exchange) dataHeld(stripe int) bool {
	for i := range int(x.info.Geometry.Data) {
		if !x.have.Test(uint(stripe*x.info.Geometry.PerStripe() + i)) {
			return false
		}
	}
	return true
}

// relay orders a shard for other nodes.
func (x *exchange) relay(shard uint) {
	if x.relayed == nil {
		x.relayed = bitset.New(uint(x.info.Shards()))
	}
	x.relayed.Set(shard)
	x.relaying++
}

// OnIndexed handles the arrival of the index of a form: an exchange begins.
func (s *Swarm) OnIndexed(now step.Time, b step.Body, index step.Index, out step.Outputs) step.Outputs {
	key := record.FormKey{VersionKey: b.Version, Form: index.Form}
	f := s.bodies.fetches.find(b.Version, b.Choice)
	if f == nil {
		return out
	}
	f.asked = max(f.asked-1, 0) // other nodes that were asked may still answer
	s.bodies.fetches.wakeAt(f, step.Never)
	cached := !s.subscribes(b.Version.Config)
	if cached {
		s.bodies.fetches.forget(b.Version, b.Choice)
		out = s.bodies.serve(b.Version, out, b.Choice, wire.OnlyForm(index.Form))
	} else {
		// A request for another form is served too: the driver knows that the form is not here.
		out = s.bodies.serve(b.Version, out)
	}
	if s.exchanges[key] != nil {
		return out
	}
	x := newExchange(now, key, index.Info, index.Held)
	x.cached = cached
	s.exchanges[key] = x
	s.ordered = append(s.ordered, x)
	for _, u := range s.uploads.queue {
		if u.key == key {
			x.wanted.InPlaceUnion(u.want)
		}
	}
	s.uploads.recount(b.Version)
	switch {
	case cached:
		return s.cache(now, x, out)
	case x.missing == 0:
		return s.assemble(x, out)
	}
	out = s.assign(now, x, out)
	return s.uploads.pump(now, out)
}

// OnShard handles a shard that was stored, or could not be stored.
func (s *Swarm) OnShard(
	now step.Time, peer step.PeerID, shard step.Shard, why step.Failure, out step.Outputs,
) step.Outputs {
	x := s.exchanges[shard.Key]
	switch {
	case why.Reason == step.ReasonPoison:
		return s.poisoned(now, peer, out)
	case x == nil || x.missing == 0 && !x.cached:
		return append(out, step.Output{
			Op:   step.OpDuplicate,
			Body: step.Body{Version: shard.Key.VersionKey},
		})
	case !why.OK():
		return s.storeFailed(now, x, why, out)
	}
	x.delivered(now, s.name(peer), shard.Number)
	if x.have.Test(uint(shard.Number)) {
		return append(out, step.Output{
			Op:   step.OpDuplicate,
			Body: step.Body{Version: shard.Key.VersionKey},
		})
	}
	for _, n := range append(shard.Restored, shard.Number) {
		x.hold(n)
		if x.wanted.Test(uint(n)) {
			s.uploads.arrived(x.key, n)
			out = s.uploads.pump(now, out)
		}
	}
	x.stale = x.stale || len(shard.Restored) > 0
	s.overlay.SourceWorks()
	if x.missing == 0 && !x.cached {
		out = s.withdraw(x, out)
		return s.assemble(x, out)
	}
	if x.isIdle() {
		x.wakeAt = step.Never
	}
	return out
}

// storeFailed ends an exchange after the host failed to store a shard.
func (s *Swarm) storeFailed(now step.Time, x *exchange, why step.Failure, out step.Outputs) step.Outputs {
	v := x.key.VersionKey
	if x.cached {
		out = s.discard(v, out)
		return s.declineAll(x.key, out)
	}
	out = s.endExchanges(v, out)
	why.Fault = step.FaultHost
	return s.fetchFailed(now, step.Body{Version: v}, why, out)
}

// reasonStalled is the reason of an exchange that ends because no node sends shards.
const reasonStalled = "no node sends shards of it"

// isStuck reports whether no node has sent a shard of x for maxStall, while a fetch waits for a slot. An
// exchange for other nodes has no slot.
func (s *Swarm) isStuck(now step.Time, x *exchange) bool {
	return !x.cached && now-x.arrived > maxStall && s.bodies.fetches.waits()
}

// giveWay ends a stuck exchange, so that its slot is free for a fetch that waits. The node fetches the
// version again later. The shards that have come stay on disk.
func (s *Swarm) giveWay(now step.Time, x *exchange, out step.Outputs) step.Outputs {
	v := x.key.VersionKey
	out = s.endExchanges(v, out)
	why := step.Failure{Reason: reasonStalled, Fault: step.FaultPath}
	return s.bodyFailed(now, v, s.bodies.fetches.find(v, wire.AnyForm), why, out)
}

// withdraw cancels all orders of an exchange.
func (s *Swarm) withdraw(x *exchange, out step.Outputs) step.Outputs {
	for _, src := range x.sources {
		src.asked.ClearAll()
		src.orders = 0
	}
	return s.order(0, x, out)
}

func (s *Swarm) assemble(x *exchange, out step.Outputs) step.Outputs {
	x.wakeAt = step.Never
	return append(out, step.Output{
		Op:    step.OpAssemble,
		Shard: step.Shard{Key: x.key},
		Body:  step.Body{Version: x.key.VersionKey},
	})
}

// endExchanges forgets the exchanges of a version. The stored shards stay on disk.
func (s *Swarm) endExchanges(v record.VersionKey, out step.Outputs) step.Outputs {
	s.ordered = slices.DeleteFunc(s.ordered, func(x *exchange) bool {
		if x.key.VersionKey != v {
			return false
		}
		out = s.withdraw(x, out)
		delete(s.exchanges, x.key)
		return true
	})
	s.uploads.recount(v)
	return out
}

// wakeExchanges checks the sources of every exchange that is due.
func (s *Swarm) wakeExchanges(now step.Time, out step.Outputs) step.Outputs {
	var stuck []*exchange
	for _, x := range s.ordered {
		if now < x.wakeAt {
			continue
		}
		x.wakeAt = now + x.pace()
		out = s.checkSources(now, x, out)
		if s.isStuck(now, x) {
			stuck = append(stuck, x)
		}
	}
	for _, x := range stuck {
		if s.isStuck(now, x) { // unless the slots of the others were enough for all fetches that waited
			out = s.giveWay(now, x, out)
		}
	}
	return out
}
