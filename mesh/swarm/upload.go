package swarm

import (
	"math/bits"
	"slices"

	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// uploads holds the shards that peers want from the node, and sends them a few at a time.
type uploads struct {
	// held returns the shards of a form that the node has. ok is false if there are none;
	// a nil set with ok stands for all.
	held func(record.FormKey) (have *bitset.BitSet, ok bool)

	queue []*upload // in the order of arrival
	// next is the position in queue whose turn is next: of peers outside the circle, and
	// of mates.
	next    [2]int
	sending int // shards on their way, without those to stuck peers
	stuck   int // shards on their way to stuck peers
	width   width
	wakeAt  step.Time // when to look for stuck peers
}

// upload holds the shards of a form wanted by a peer.
type upload struct {
	peer    step.PeerID
	key     record.FormKey
	want    *bitset.BitSet
	ready   int       // number of wanted shards that are at hand
	sending int       // number of shards on their way
	since   step.Time // when the latest shard left, or the first began to leave
	stuck   bool      // no shard has left for long: the peer may be dead
	mate    bool      // the peer is a member of the node's circle
}

func newUploads(held func(record.FormKey) (*bitset.BitSet, bool)) uploads {
	return uploads{held: held, wakeAt: step.Never}
}

// find returns the upload of a form to a peer; nil if absent.
func (u *uploads) find(peer step.PeerID, key record.FormKey) *upload {
	for _, e := range u.queue {
		if e.peer == peer && e.key == key {
			return e
		}
	}
	return nil
}

// serves reports whether a peer still wants shards.
func (u *uploads) serves(peer step.PeerID) bool {
	return slices.ContainsFunc(u.queue, func(e *upload) bool { return e.peer == peer && e.want.Any() })
}

// wants reports whether any peer has an upload of a version.
func (u *uploads) wants(v record.VersionKey) bool {
	return slices.ContainsFunc(u.queue, func(e *upload) bool { return e.key.VersionKey == v })
}

// drop removes an upload.
func (u *uploads) drop(e *upload) {
	u.queue = slices.DeleteFunc(u.queue, func(o *upload) bool { return o == e })
	u.resetIfIdle()
}

// dropIfDone removes an upload without wanted shards and without shards on their way.
func (u *uploads) dropIfDone(e *upload) (dropped bool) {
	if e.want.Any() || e.sending > 0 {
		return false
	}
	u.drop(e)
	return true
}

// forget removes the uploads to a lost peer. Shards on their way to the peer still end
// with a call of sent.
func (u *uploads) forget(peer step.PeerID) {
	u.queue = slices.DeleteFunc(u.queue, func(e *upload) bool {
		if e.peer == peer {
			u.unstick(e)
		}
		return e.peer == peer
	})
	u.resetIfIdle()
}

// resetIfIdle resets the width when no peer wants anything: the best width is found anew
// for the next body, because any width seems good at the end of a body, when there is
// little left to send.
func (u *uploads) resetIfIdle() {
	if len(u.queue) == 0 {
		u.width.reset()
	}
}

// wake finds peers that have accepted nothing for long. A peer that died holds the shards
// on their way to it until its link times out, and a few such peers would fill the width.
// So the shards on their way to stuck peers do not count.
func (u *uploads) wake(now step.Time) {
	u.wakeAt = step.Never
	patience := u.width.patience()
	for _, e := range u.queue {
		due := e.since + patience
		switch {
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
	if !e.stuck {
		return
	}
	e.stuck = false
	u.sending += e.sending
	u.stuck -= e.sending
}

// countReady counts the wanted shards that are at hand.
func (u *uploads) countReady(e *upload) {
	have, ok := u.held(e.key)
	switch {
	case !ok:
		e.ready = 0
	case have == nil:
		e.ready = int(e.want.Count())
	default:
		e.ready = int(e.want.IntersectionCardinality(have))
	}
}

// recount calls countReady for every upload of a version that arrived, or is gone.
func (u *uploads) recount(v record.VersionKey) {
	for _, e := range u.queue {
		if e.key.VersionKey == v {
			u.countReady(e)
		}
	}
}

// arrived notes a shard for the peers that want the shard.
func (u *uploads) arrived(key record.FormKey, shard int) {
	for _, e := range u.queue {
		if e.key == key && e.want.Test(uint(shard)) {
			e.ready++
		}
	}
}

// pump sends shards as long as the width allows: first to peers outside the circle,
// which pass them on to another circle, then to mates, each in turn.
func (u *uploads) pump(now step.Time, out step.Outputs) step.Outputs {
	for u.sending < u.width.get() {
		e, shard := u.choose(false)
		if e == nil {
			e, shard = u.choose(true)
		}
		if e == nil {
			u.width.starved = true
			return out
		}
		if e.sending == 0 {
			e.since = now
			u.wakeAt = min(u.wakeAt, now+u.width.patience())
		}
		e.want.Clear(shard)
		e.ready--
		e.sending++
		u.sending++
		out = append(out, step.Output{
			Op:    step.OpSendShard,
			Peer:  e.peer,
			Shard: step.Shard{Key: e.key, Number: int(shard)},
		})
	}
	return out
}

// choose returns the upload whose turn it is, among mates or among other peers, and
// its lowest shard that is at hand; nil if absent.
func (u *uploads) choose(mates bool) (*upload, uint) {
	next := &u.next[0]
	if mates {
		next = &u.next[1]
	}
	for i := range u.queue {
		at := (*next + i) % len(u.queue)
		e := u.queue[at]
		if e.ready == 0 || e.stuck || e.sending >= maxSendingEach || e.mate != mates {
			continue
		}
		have, _ := u.held(e.key)
		if shard, ok := lowestOf(e.want, have); ok {
			*next = at + 1
			return e, shard
		}
	}
	return nil, 0
}

// lowestOf returns the lowest number in both sets. A nil have stands for all numbers.
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

// sent notes that a shard has left, or could not be sent.
func (u *uploads) sent(now step.Time, peer step.PeerID, key record.FormKey) {
	e := u.find(peer, key)
	if e != nil {
		u.unstick(e)
	}
	u.sending--
	u.width.left(now)
	if e != nil {
		e.sending--
		e.since = now
		u.dropIfDone(e)
	}
}

// OnSent handles the end of an OpSendShard.
func (s *Swarm) OnSent(now step.Time, peer step.PeerID, key record.FormKey, out step.Outputs) step.Outputs {
	s.uploads.sent(now, peer, key)
	return s.uploads.pump(now, out)
}

// held returns the shards of a form that the node has, as uploads.held.
func (s *Swarm) held(key record.FormKey) (have *bitset.BitSet, ok bool) {
	if s.servesForm(key) {
		return nil, true
	}
	if x := s.exchanges[key]; x != nil {
		return x.have, true
	}
	return nil, false
}

// servesForm reports whether all shards of a form are on disk, or can be made.
func (s *Swarm) servesForm(key record.FormKey) bool {
	return s.cfg.HoldsAll || s.bodies.forms(key.VersionKey)&(1<<key.Form) != 0
}

// OnWant handles a peer's orders.
func (s *Swarm) OnWant(now step.Time, from step.PeerID, m *wire.Want, out step.Outputs) step.Outputs {
	who, linked := s.overlay.Peer(from)
	if !linked || !s.ExchangesWith(who) {
		return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: "wrong_region"})
	}
	u := s.uploads.find(from, m.Key)
	switch {
	case u != nil:
		u.want.InPlaceUnion(m.Shards)
	case m.Shards.None():
		return out
	case len(s.uploads.queue) >= maxUploads:
		return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: "too_many_wants"})
	default:
		u = &upload{peer: from, key: m.Key, want: m.Shards.Clone(), mate: s.isMate(from)}
		s.uploads.queue = append(s.uploads.queue, u)
	}
	u.want.InPlaceDifference(m.Cancel)
	if s.uploads.dropIfDone(u) {
		return out
	}
	s.uploads.countReady(u)
	if x := s.exchanges[m.Key]; x != nil {
		x.wanted.InPlaceUnion(m.Shards)
		out = s.relayWants(now, x, u, m.Shards, out)
	} else if !s.servesForm(m.Key) {
		out = s.fetchWanted(now, u, who, out)
	}
	return s.uploads.pump(now, out)
}

// fetchWanted fetches a form for a peer that wants shards, if the node may fetch the form.
func (s *Swarm) fetchWanted(now step.Time, u *upload, who wire.Identity, out step.Outputs) step.Outputs {
	v := u.key.VersionKey
	switch {
	case !s.overlay.IsNamed(v) && who.Role != wire.RoleCoordinator:
		return s.overlay.PeerIsAhead(now, u.peer, out)
	case !s.subscribes(v.Config):
		return s.fetchCached(now, v, wire.OnlyForm(u.key.Form), 0, out)
	case s.bodies.has(v) || s.exchanging(v): // another form of the version
		return s.decline(u, u.want.Clone(), out)
	}
	return s.Fetch(now, v, out)
}

// decline informs a peer of wanted shards that will not be sent.
func (s *Swarm) decline(u *upload, shards *bitset.BitSet, out step.Outputs) step.Outputs {
	u.want.InPlaceDifference(shards)
	s.uploads.dropIfDone(u)
	m := &wire.Decline{Key: u.key, Shards: shards}
	return append(out, step.Output{Op: step.OpSend, Peer: u.peer, Message: m})
}

// declineAll declines every shard of a form that peers want.
func (s *Swarm) declineAll(key record.FormKey, out step.Outputs) step.Outputs {
	for i := len(s.uploads.queue) - 1; i >= 0; i-- {
		u := s.uploads.queue[i]
		if u.key == key && u.want.Any() {
			out = s.decline(u, u.want.Clone(), out)
		}
	}
	return out
}

// OnDecline handles the answer of a source that will not send shards: the next candidates
// are asked.
func (s *Swarm) OnDecline(now step.Time, from step.PeerID, m *wire.Decline, out step.Outputs) step.Outputs {
	x := s.exchanges[m.Key]
	if x == nil {
		return out
	}
	src := x.find(s.name(from))
	if src == nil || src.asked.IntersectionCardinality(m.Shards) == 0 {
		return out
	}
	if src.declined == nil {
		src.declined = bitset.New(uint(x.info.Shards()))
	}
	src.declined.InPlaceUnion(m.Shards)
	return s.assign(now, x, out)
}
