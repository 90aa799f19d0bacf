package mesh

import (
	"math/bits"
	"slices"

	"github.com/bits-and-blooms/bitset"

	"banyan/record"
)

// FormKey names a form of a version, by its place in the manifest.
type FormKey struct {
	VersionKey
	Form uint8
}

// FormInfo is what a node needs to know of a form to trade its shards.
type FormInfo struct {
	Size     int64
	Geometry record.Geometry
}

// Shards is how many shards the form has.
func (f FormInfo) Shards() int { return f.Geometry.Shards(f.Size) }

// exchange is a form on its way here, shard by shard, from many sources at once.
//
// Every missing data shard is asked of one source: whose duty it is in the circle, or
// of a feeder if it is this node's own duty. A source that is silent while others
// deliver is suspected, and what was asked of it is asked of the next in line; those
// with that duty in the circle do the same, so a dead member's shards come from its
// feeders through all others. When the whole circle and its feeders are suspected,
// there are the parent, the backup and the coordinator.
type exchange struct {
	key        FormKey
	info       FormInfo
	have       *bitset.BitSet // shards
	inStripe   []uint16       // how many of each stripe are here
	missing    int            // stripes of which too few are here
	sources    []*source      // in the order in which they were first needed
	wanted     *bitset.BitSet // shards that others have asked for here, at any time
	relayed    *bitset.BitSet // shards wanted here by others, and not by this node; nil: none
	received   int            // shards that came
	last       Time           // when the last came, or help was asked for
	windowAt   Time           // when the present run of shards began
	recent     Time           // the last such run
	fastest    Time           // run of rateWindow shards
	highest    int            // shard that came
	active     int            // sources of which something is outstanding
	delivering int            // sources that have sent something
	rescue     int            // stripes that are asked of the last resort, since nothing comes from anyone
	hedged     *bitset.BitSet // asked of one more than a suspect
	credit     int            // for more of that, by hedgeCost
	stale      bool           // a source still has orders that have come from elsewhere
	wakeAt     Time
}

// source is one peer of an exchange.
type source struct {
	at      Location
	asked   *bitset.BitSet // outstanding
	next    *bitset.BitSet // what is to be asked, while that is worked out
	orders  int            // outstanding, as a number
	came    int            // shards that it delivered
	theirs  *bitset.BitSet // what the peer was told of it, less what came
	last    Time           // when it last delivered, or was first asked
	strikes int            // times that it was suspected
	relief  uint           // shards from this one on are asked of others, since it is behind; 0: none
	suspect bool
}

// indexed hears that the index of a version's form is at hand, and which of its
// shards are: the trade begins.
func (n *Node) indexed(now Time, in Input, out []Output) []Output {
	key := FormKey{in.Want, in.Form}
	f := n.bodies.fetch(in.Want)
	if f == nil {
		return out
	}
	f.asked, f.askAt = max(f.asked-1, 0), Never // others that were asked may still answer
	if n.exchanges[key] != nil {
		return out
	}
	x := newExchange(key, in.Info, in.Shards)
	x.last = now
	n.exchanges[key] = x
	n.trading = append(n.trading, x)
	for _, u := range n.uploads.queue {
		if u.key == key {
			x.wanted.InPlaceUnion(u.want)
		}
	}
	n.recount(in.Want)
	for _, w := range n.bodies.take(in.Want) {
		out = append(out, Output{Op: OpServe, Request: w.request, Want: in.Want})
	}
	if x.missing == 0 {
		return n.assemble(x, out)
	}
	return n.pump(now, n.assign(now, x, out))
}

func newExchange(key FormKey, info FormInfo, have *bitset.BitSet) *exchange {
	if have == nil {
		have = bitset.New(uint(info.Shards()))
	}
	x := &exchange{key: key, info: info, have: have.Clone(), wakeAt: Never, hedged: bitset.New(uint(info.Shards())), wanted: bitset.New(uint(info.Shards())), credit: firstHedges * hedgeCost, inStripe: make([]uint16, info.Geometry.Stripes(info.Size))}
	for s := range x.inStripe {
		for i := range info.Geometry.PerStripe() {
			shard := s*info.Geometry.PerStripe() + i
			if info.Geometry.IsPadding(info.Size, shard) {
				x.have.Set(uint(shard))
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
func (x *exchange) source(now Time, at Location) *source {
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

// spares tells whether a shard is not asked of a source for now.
func (x *exchange) spares(name string, shard uint) bool {
	for _, s := range x.sources {
		if s.at.Name == name {
			return s.suspect || s.relief > 0 && shard >= s.relief
		}
	}
	return false
}

// assign works out of whom each missing shard is to be had, and tells those for whom
// that has changed.
func (n *Node) assign(now Time, x *exchange, out []Output) []Output {
	hoped := n.hopedFor(now, x)
	g, incomplete := x.info.Geometry, 0
	for stripe := range x.inStripe {
		if x.enough(stripe) {
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
				x.source(now, n.choose(now, x, stripe*int(g.Data)+i, shard)).next.Set(shard)
			}
		}
	}
	if x.relayed != nil {
		for shard, ok := x.relayed.NextSet(0); ok; shard, ok = x.relayed.NextSet(shard + 1) {
			x.source(now, n.choose(now, x, int(shard), shard)).next.Set(shard)
		}
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

// hopedFor keeps what suspects were asked for, since it may still come, and returns it.
func (n *Node) hopedFor(now Time, x *exchange) *bitset.BitSet {
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
func (n *Node) choose(now Time, x *exchange, ordinal int, shard uint) Location {
	if c := n.circles.mine; c != nil {
		for i := range c.Members {
			at := candidate(c.Members, ordinal, i)
			if at.Name == n.cfg.Self.Name {
				break // it is this node's turn to get it from the feeders
			}
			if n.mayAsk(now, x, at, shard) {
				return at
			}
		}
		for i := range c.Feeders {
			if at := candidate(c.Feeders, ordinal, i); at.Name != n.cfg.Self.Name && n.mayAsk(now, x, at, shard) {
				return at
			}
		}
	}
	return n.lastResort(now, x, shard)
}

func (n *Node) mayAsk(now Time, x *exchange, at Location, shard uint) bool {
	return !x.spares(at.Name, shard) && !n.isShunned(now, at.Name)
}

// lastResort is the parent, the backup, or the coordinator, in this order.
func (n *Node) lastResort(now Time, x *exchange, shard uint) Location {
	for _, peer := range []PeerID{n.up.parent, n.up.standby.peer} {
		if who, known := n.peers[peer]; known {
			if at := (Location{Name: who.Name}); n.mayAsk(now, x, at, shard) {
				return at
			}
		}
	}
	at := Location{Addr: n.seed()}
	if who, up := n.peers[n.linkTo(at)]; up {
		at.Name = who.Name
	}
	return at
}

// order sends each source what is asked of it now, over links that are up; others are
// dialed.
func (n *Node) order(now Time, x *exchange, out []Output) []Output {
	for _, s := range x.sources {
		if s.asked.Equal(s.theirs) {
			continue
		}
		peer := n.linkTo(s.at)
		if peer == 0 {
			if s.orders > 0 {
				out = n.dialPartner(now, s.at, out)
			}
			continue
		}
		out = append(out, Output{Op: OpSend, Peer: peer, Message: &Want{Key: x.key, Shards: s.asked.Difference(s.theirs), Cancel: s.theirs.Difference(s.asked)}})
		s.asked.CopyFull(s.theirs)
	}
	return out
}

// reassign works out all orders anew.
func (n *Node) reassign(now Time, out []Output) []Output {
	for _, x := range n.trading {
		if x.missing > 0 {
			out = n.assign(now, x, out)
		}
	}
	return out
}

// shardCame hears that a shard has been stored, or why it was not.
func (n *Node) shardCame(now Time, in Input, out []Output) []Output {
	x := n.exchanges[in.Key]
	switch {
	case in.Reason == ReasonPoison:
		return n.poisoned(now, in, out)
	case x == nil || x.missing == 0:
		return append(out, Output{Op: OpDuplicate, Want: in.Key.VersionKey})
	case in.Reason != "":
		return n.storeFailed(now, x, in, out)
	}
	x.delivered(now, n.peers[in.Peer].Name, in.Shard)
	if x.have.Test(uint(in.Shard)) {
		return append(out, Output{Op: OpDuplicate, Want: in.Key.VersionKey})
	}
	for _, shard := range append(in.Restored, in.Shard) {
		if x.hold(shard); x.wanted.Test(uint(shard)) { // few are: those of this node's duty
			n.uploads.arrived(x.key, shard)
			out = n.pump(now, out)
		}
	}
	x.stale = x.stale || len(in.Restored) > 0
	n.up.failures = 0
	if x.missing == 0 {
		return n.assemble(x, n.withdraw(x, out))
	}
	return out
}

// delivered notes that a source has sent a shard: it is alive.
func (x *exchange) delivered(now Time, name string, shard int) {
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
	if x.relayed != nil {
		x.relayed.Clear(uint(shard))
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
func (n *Node) withdraw(x *exchange, out []Output) []Output {
	for _, s := range x.sources {
		s.asked.ClearAll()
		s.orders = 0
	}
	return n.order(0, x, out)
}

func (n *Node) assemble(x *exchange, out []Output) []Output {
	x.wakeAt = Never
	return append(out, Output{Op: OpAssemble, Key: x.key, Want: x.key.VersionKey})
}

// endExchanges forgets the exchanges of a version. What has come of it stays on disk.
func (n *Node) endExchanges(want VersionKey, out []Output) []Output {
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
func (n *Node) storeFailed(now Time, x *exchange, in Input, out []Output) []Output {
	want := x.key.VersionKey
	return n.fetched(now, Input{Kind: InFetched, Want: want, Reason: in.Reason, Local: true}, n.endExchanges(want, out))
}

// wakeExchanges looks after sources that are due, and ends links that are idle.
func (n *Node) wakeExchanges(now Time, out []Output) []Output {
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
