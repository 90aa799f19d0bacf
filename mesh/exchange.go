package mesh

import (
	"math/bits"
	"slices"

	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// exchange is a form on its way here, shard by shard, from many sources at once.
//
// Every missing data shard is asked of one source: whose duty it is in the circle, or
// of a feeder if it is this node's own duty. A source that is silent while others
// deliver is suspected, and what was asked of it is asked of the next in line; those
// with that duty in the circle do the same, so a dead member's shards come from its
// feeders through all others. When the whole circle and its feeders are suspected,
// there are the parent, the backup and the coordinator.
type exchange struct {
	key        record.FormKey
	info       step.FormInfo
	have       *bitset.BitSet  // shards
	inStripe   []uint16        // how many of each stripe are here
	missing    int             // stripes of which too few are here
	circle     *wire.Circle    // whose members and feeders these are
	members    []wire.Location // of them who trade the config
	feeders    []wire.Location // likewise
	sources    []*source       // in the order in which they were first needed
	wanted     *bitset.BitSet  // shards that others have asked for here, at any time
	cached     bool            // it is for others alone: only what they want is asked for
	relayed    *bitset.BitSet  // shards wanted here by others, and not by this node; nil: none
	relaying   int             // how many those are
	stored     int             // shards on disk
	used       step.Time       // when others last wanted something of it
	received   int             // shards that came
	last       step.Time       // when the last came, or help was asked for
	windowAt   step.Time       // when the present run of shards began
	recent     step.Time       // the last such run
	fastest    step.Time       // run of rateWindow shards
	highest    int             // shard that came
	active     int             // sources of which something is outstanding
	delivering int             // sources that have sent something
	rescue     int             // stripes that are asked of the last resort, since nothing comes from anyone
	hedged     *bitset.BitSet  // asked of one more than a suspect
	credit     int             // for more of that, by hedgeCost
	stale      bool            // a source still has orders that have come from elsewhere
	wakeAt     step.Time
}

// source is one peer of an exchange.
type source struct {
	at       wire.Location
	asked    *bitset.BitSet // outstanding
	next     *bitset.BitSet // what is to be asked, while that is worked out
	orders   int            // outstanding, as a number
	came     int            // shards that it delivered
	theirs   *bitset.BitSet // what the peer was told of it, less what came
	declined *bitset.BitSet // what it said that it will not send; nil: nothing
	last     step.Time      // when it last delivered, or was first asked
	strikes  int            // times that it was suspected
	relief   uint           // shards from this one on are asked of others, since it is behind; 0: none
	suspect  bool
}

// indexed hears that the index of a version's form is at hand, and which of its
// shards are: the trade begins.
func (n *Node) indexed(now step.Time, in step.Input, out []step.Output) []step.Output {
	key := record.FormKey{VersionKey: in.Want, Form: in.Form}
	f := n.bodies.fetch(in.Want, in.Choice)
	if f == nil {
		return out
	}
	f.asked, f.askAt = max(f.asked-1, 0), step.Never // others that were asked may still answer
	cached := !n.subscribes(in.Want.Config)
	if cached {
		n.bodies.forget(in.Want, in.Choice)
		out = n.serveWaiting(in.Want, out, in.Choice, wire.OnlyForm(in.Form))
	} else { // of those who want another form, their driver knows that it is not here
		out = n.serveWaiting(in.Want, out)
	}
	if n.exchanges[key] != nil {
		return out
	}
	x := newExchange(key, in.Info, in.Shards)
	x.cached, x.used = cached, now
	x.last = now
	n.exchanges[key] = x
	n.trading = append(n.trading, x)
	for _, u := range n.uploads.queue {
		if u.key == key {
			x.wanted.InPlaceUnion(u.want)
		}
	}
	n.recount(in.Want)
	if cached {
		return n.cache(now, x, out)
	}
	if x.missing == 0 {
		return n.assemble(x, out)
	}
	return n.pump(now, n.assign(now, x, out))
}

func newExchange(key record.FormKey, info step.FormInfo, have *bitset.BitSet) *exchange {
	if have == nil {
		have = bitset.New(uint(info.Shards()))
	}
	x := &exchange{key: key, info: info, have: have.Clone(), wakeAt: step.Never, hedged: bitset.New(uint(info.Shards())), wanted: bitset.New(uint(info.Shards())), credit: firstHedges * hedgeCost, inStripe: make([]uint16, info.Geometry.Stripes(info.Size))}
	for s := range x.inStripe {
		for i := range info.Geometry.PerStripe() {
			shard := s*info.Geometry.PerStripe() + i
			if info.Geometry.IsPadding(info.Size, shard) {
				x.have.Set(uint(shard))
			} else if have.Test(uint(shard)) {
				x.stored++
			}
			if x.have.Test(uint(shard)) {
				x.inStripe[s]++
			}
		}
		if !x.enough(s) {
			x.missing++
		}
	}
	return x
}

func (x *exchange) enough(stripe int) bool { return x.inStripe[stripe] >= x.info.Geometry.Data }

// source finds or makes the record of a source.
func (x *exchange) source(now step.Time, at wire.Location) *source {
	for _, s := range x.sources {
		if s.at.Name == at.Name {
			s.at = at
			return s
		}
	}
	total := uint(x.info.Shards())
	s := &source{at: at, asked: bitset.New(total), next: bitset.New(total), theirs: bitset.New(total), last: now}
	x.sources = append(x.sources, s)
	return s
}

// shardCame hears that a shard has been stored, or why it was not.
func (n *Node) shardCame(now step.Time, in step.Input, out []step.Output) []step.Output {
	x := n.exchanges[in.Key]
	switch {
	case in.Reason == ReasonPoison:
		return n.poisoned(now, in, out)
	case x == nil || x.missing == 0 && !x.cached:
		return append(out, step.Output{Op: step.OpDuplicate, Want: in.Key.VersionKey})
	case in.Reason != "":
		return n.storeFailed(now, x, in, out)
	}
	x.delivered(now, n.peers[in.Peer].Name, in.Shard)
	if x.have.Test(uint(in.Shard)) {
		return append(out, step.Output{Op: step.OpDuplicate, Want: in.Key.VersionKey})
	}
	for _, shard := range append(in.Restored, in.Shard) {
		if x.hold(shard); x.wanted.Test(uint(shard)) { // few are: those of this node's duty
			n.uploads.arrived(x.key, shard)
			out = n.pump(now, out)
		}
	}
	x.stale = x.stale || len(in.Restored) > 0
	n.up.failures = 0
	if x.missing == 0 && !x.cached {
		return n.assemble(x, n.withdraw(x, out))
	}
	if x.isIdle() {
		x.wakeAt = step.Never
	}
	return out
}

// delivered notes that a source has sent a shard: it is alive.
func (x *exchange) delivered(now step.Time, name string, shard int) {
	for _, s := range x.sources {
		if s.at.Name != name {
			continue
		}
		s.theirs.Clear(uint(shard))
		if s.asked.Test(uint(shard)) {
			s.asked.Clear(uint(shard))
			s.orders--
		} else {
			x.stale = true // another was asked for it
		}
		if s.came++; s.came == 1 {
			x.delivering++
		}
		s.last, s.suspect = now, false
		x.received++
		x.credit++
		x.sawRate(now)
		x.highest = max(x.highest, shard)
		break
	}
	x.last = now
}

func (x *exchange) hold(shard int) {
	x.have.Set(uint(shard))
	x.stored++
	if x.relayed != nil && x.relayed.Test(uint(shard)) {
		x.relayed.Clear(uint(shard))
		x.relaying--
	}
	stripe := shard / x.info.Geometry.PerStripe()
	if x.enough(stripe) {
		return
	}
	if x.inStripe[stripe]++; x.enough(stripe) {
		x.missing--
		if x.info.Geometry.Parity > 0 { // what is asked of the stripe beyond is of no use
			x.stale = x.stale || !x.dataHeld(stripe)
		}
	}
}

func (x *exchange) dataHeld(stripe int) bool {
	for i := range int(x.info.Geometry.Data) {
		if !x.have.Test(uint(stripe*x.info.Geometry.PerStripe() + i)) {
			return false
		}
	}
	return true
}

// withdraw tells all sources that nothing more is wanted of them.
func (n *Node) withdraw(x *exchange, out []step.Output) []step.Output {
	for _, s := range x.sources {
		s.asked.ClearAll()
		s.orders = 0
	}
	return n.order(0, x, out)
}

func (n *Node) assemble(x *exchange, out []step.Output) []step.Output {
	x.wakeAt = step.Never
	return append(out, step.Output{Op: step.OpAssemble, Key: x.key, Want: x.key.VersionKey})
}

// endExchanges forgets the exchanges of a version. What has come of it stays on disk.
func (n *Node) endExchanges(want record.VersionKey, out []step.Output) []step.Output {
	n.trading = slices.DeleteFunc(n.trading, func(x *exchange) bool {
		if x.key.VersionKey != want {
			return false
		}
		out = n.withdraw(x, out)
		delete(n.exchanges, x.key)
		return true
	})
	n.recount(want)
	return out
}

// storeFailed ends an exchange whose shards this host can't keep.
func (n *Node) storeFailed(now step.Time, x *exchange, in step.Input, out []step.Output) []step.Output {
	want := x.key.VersionKey
	if x.cached {
		return n.declineAll(x.key, n.discard(want, out))
	}
	return n.fetched(now, step.Input{Kind: step.InFetched, Want: want, Reason: in.Reason, Local: true}, n.endExchanges(want, out))
}

// wakeExchanges looks after sources that are due, and ends links that are idle.
func (n *Node) wakeExchanges(now step.Time, out []step.Output) []step.Output {
	for _, x := range n.trading {
		if now >= x.wakeAt {
			x.wakeAt = now + x.pace()
			out = n.look(now, x, out)
		}
	}
	return out
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// lowestOf is the lowest number in both sets; all of want, if have is nil.
func lowestOf(want, have *bitset.BitSet) (uint, bool) {
	if have == nil {
		return want.NextSet(0)
	}
	w, h := want.Words(), have.Words()
	for i := range min(len(w), len(h)) {
		if both := w[i] & h[i]; both != 0 {
			return uint(i*64 + bits.TrailingZeros64(both)), true
		}
	}
	return 0, false
}
