package mesh

import (
	"slices"

	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// uploads is what peers want of this node, and what is on its way to them.
type uploads struct {
	queue   []*upload // in order of arrival
	next    [2]int    // whose turn it is: of those of other circles, of siblings
	sending int       // shards on their way, but for those to peers that are stuck
	stuck   int       // shards on their way to those
	width   width
	wakeAt  step.Time // when to look for peers that are stuck
}

// upload is what one peer wants of one form.
type upload struct {
	peer    step.PeerID
	key     record.FormKey
	want    *bitset.BitSet
	ready   int // how many of those are here
	sending int
	since   step.Time // when the last of those left, or the first began
	stuck   bool      // none has left for so long that the peer may be dead
	sibling bool      // of this node's circle
}

const (
	// MaxUploads is how many (peer, form) pairs a node serves at once.
	MaxUploads = 2048
	// maxSendingEach is how many shards are on their way to one peer at once.
	maxSendingEach = 2
	// maxStuck is how many shards may be on their way to peers that take none: each is in memory.
	maxStuck = 64
)

func (u *uploads) find(peer step.PeerID, key record.FormKey) *upload {
	for _, e := range u.queue {
		if e.peer == peer && e.key == key {
			return e
		}
	}
	return nil
}

func (u *uploads) serves(peer step.PeerID) bool {
	return slices.ContainsFunc(u.queue, func(e *upload) bool { return e.peer == peer && e.want.Any() })
}

// forget drops what a lost peer wanted. What is on its way to it ends by itself.
func (u *uploads) forget(peer step.PeerID) {
	u.queue = slices.DeleteFunc(u.queue, func(e *upload) bool {
		if e.peer == peer {
			u.unstick(e)
		}
		return e.peer == peer
	})
	u.rest()
}

// rest notes that nobody may want anything any more: what width is best is found out
// anew for the next body, since at the end of one, with little left to send, any seems good.
func (u *uploads) rest() {
	if len(u.queue) == 0 {
		u.width.reset()
	}
}

// look finds peers that have taken nothing for long. A peer that died keeps what is on
// its way to it until its link times out, and a few such would fill the width: what they
// keep no longer counts.
func (u *uploads) look(now step.Time) {
	u.wakeAt = step.Never
	patience := u.width.patience()
	for _, e := range u.queue {
		switch due := e.since + patience; {
		case e.sending == 0 || e.stuck:
		case now < due:
			u.wakeAt = min(u.wakeAt, due)
		case u.stuck+e.sending > maxStuck:
			u.wakeAt = min(u.wakeAt, now+patience)
		default:
			e.stuck = true
			u.sending -= e.sending
			u.stuck += e.sending
		}
	}
}

func (u *uploads) unstick(e *upload) {
	if e.stuck {
		e.stuck = false
		u.sending += e.sending
		u.stuck -= e.sending
	}
}

// wakeUploads sends to others what peers that are stuck held up.
func (n *Node) wakeUploads(now step.Time, out []step.Output) []step.Output {
	n.uploads.look(now)
	return n.pump(now, out)
}

// wanted hears what a peer wants of a form.
func (n *Node) wanted(now step.Time, from step.PeerID, m *wire.Want, out []step.Output) []step.Output {
	who, known := n.peers[from]
	if !known || !n.tradesWith(who) {
		return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: "wrong_region"})
	}
	u := n.uploads.find(from, m.Key)
	switch {
	case u != nil:
		u.want.InPlaceUnion(m.Shards)
	case m.Shards.None():
		return out
	case len(n.uploads.queue) >= MaxUploads:
		return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: "too_many_wants"})
	default:
		u = &upload{peer: from, key: m.Key, want: m.Shards.Clone(), sibling: n.isSibling(from)}
		n.uploads.queue = append(n.uploads.queue, u)
	}
	if u.want.InPlaceDifference(m.Cancel); u.want.None() && u.sending == 0 {
		n.dropUpload(u)
		return out
	}
	n.countReady(u)
	if x := n.exchanges[m.Key]; x != nil {
		x.wanted.InPlaceUnion(m.Shards)
		out = n.relayWants(now, x, u, m.Shards, out)
	} else if !n.servesForm(m.Key) {
		out = n.fetchWanted(now, u, who, out)
	}
	return n.pump(now, out)
}

// fetchWanted sees to it that a form comes here of which a peer wants shards.
func (n *Node) fetchWanted(now step.Time, u *upload, who wire.Identity, out []step.Output) []step.Output {
	v := u.key.VersionKey
	switch {
	case !n.isCurrentVersion(v) && who.Role != wire.RoleCoordinator:
		return n.askNews(now, u.peer, out)
	case !n.subscribes(v.Config):
		return n.fetchCached(now, v, wire.OnlyForm(u.key.Form), 0, out)
	case n.bodies.has(v) || n.trades(v): // another form of it
		return n.decline(u, u.want.Clone(), out)
	}
	return n.fetch(now, v, out)
}

func (n *Node) dropUpload(u *upload) {
	n.uploads.queue = slices.DeleteFunc(n.uploads.queue, func(e *upload) bool { return e == u })
	n.uploads.rest()
}

// servesForm tells whether all shards of a form are here, or can be made.
func (n *Node) servesForm(key record.FormKey) bool {
	return n.cfg.HoldsAll || n.bodies.forms(key.VersionKey)&(1<<key.Form) != 0
}

// isCurrentVersion tells whether a pointer of this node's region names a version: what
// no pointer names is not fetched for others.
func (n *Node) isCurrentVersion(v record.VersionKey) bool {
	s := n.configs[n.pointerKey(v.Config)]
	return s != nil && v.Version != 0 && (v.Version == s.latest.Pointer.Baseline || v.Version == s.latest.Pointer.Candidate)
}

// countReady counts anew what may be sent to a peer.
func (n *Node) countReady(u *upload) {
	u.ready = 0
	if have, ok := n.held(u.key); !ok {
	} else if have == nil {
		u.ready = int(u.want.Count())
	} else {
		u.ready = int(u.want.IntersectionCardinality(have))
	}
}

// recount does so for all who want something of a version that has come, or gone.
func (n *Node) recount(v record.VersionKey) {
	for _, u := range n.uploads.queue {
		if u.key.VersionKey == v {
			n.countReady(u)
		}
	}
}

// arrived notes that a shard may be sent to those who want it.
func (u *uploads) arrived(key record.FormKey, shard int) {
	for _, e := range u.queue {
		if e.key == key && e.want.Test(uint(shard)) {
			e.ready++
		}
	}
}

// held is the set of shards of a form that are here; ok is false if none are. A nil
// set with ok stands for all.
func (n *Node) held(key record.FormKey) (have *bitset.BitSet, ok bool) {
	if n.servesForm(key) {
		return nil, true
	}
	if x := n.exchanges[key]; x != nil {
		return x.have, true
	}
	return nil, false
}

// pump sends shards as long as there is room: first to those who pass them on to
// another circle, then to the members of this node's own, in turn.
func (n *Node) pump(now step.Time, out []step.Output) []step.Output {
	for n.uploads.sending < n.uploads.width.get() {
		u, shard := n.nextUpload(false)
		if u == nil {
			u, shard = n.nextUpload(true)
		}
		if u == nil {
			n.uploads.width.starved = true
			return out
		}
		if u.sending == 0 {
			u.since = now
			n.uploads.wakeAt = min(n.uploads.wakeAt, now+n.uploads.width.patience())
		}
		u.want.Clear(shard)
		u.ready--
		u.sending++
		n.uploads.sending++
		out = append(out, step.Output{Op: step.OpSendShard, Peer: u.peer, Key: u.key, Shard: int(shard)})
	}
	return out
}

// nextUpload is whose turn it is, among siblings or among others, and the shard.
func (n *Node) nextUpload(siblings bool) (*upload, uint) {
	q, next := n.uploads.queue, &n.uploads.next[one(siblings)]
	for i := range q {
		at := (*next + i) % len(q)
		u := q[at]
		if u.ready == 0 || u.stuck || u.sending >= maxSendingEach || u.sibling != siblings {
			continue
		}
		have, _ := n.held(u.key)
		if shard, ok := lowestOf(u.want, have); ok {
			*next = at + 1
			return u, shard
		}
	}
	return nil, 0
}

func (n *Node) isSibling(peer step.PeerID) bool {
	return n.circles.mine != nil && n.circles.mine.Has(n.peers[peer].Name)
}

// sent hears that a shard has left, or could not be sent.
func (n *Node) sent(now step.Time, in step.Input, out []step.Output) []step.Output {
	u := n.uploads.find(in.Peer, in.Key)
	if u != nil {
		n.uploads.unstick(u)
	}
	n.uploads.sending--
	n.uploads.width.left(now)
	if u != nil {
		u.sending--
		u.since = now
		if u.want.None() && u.sending == 0 {
			n.dropUpload(u)
		}
	}
	return n.pump(now, out)
}
