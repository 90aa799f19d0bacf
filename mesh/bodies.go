package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// bodies is which bodies a node holds, which it is fetching, and who waits.
type bodies struct {
	held    map[record.VersionKey]uint8 // the forms of it whose shards can be served, a bit each
	fetches []*fetch                    // in the order in which they were wanted
	waiting []waiting                   // requests of peers, in order of arrival
}

// fetch is a body that is wanted, or the index by which its shards are traded.
type fetch struct {
	want    record.VersionKey
	choice  wire.FormChoice
	request uint64    // for which it is, of those for others; 0: for none in particular
	asked   int       // peers who have not answered yet; 0: it waits for a parent or a retry, unless it is traded
	tries   int       // how often another was asked
	above   bool      // who has that form is looked for above
	last    bool      // the coordinator was asked: there is nobody else
	slow    bool      // those who were asked have been given more time
	askAt   step.Time // when to ask another as well, if nobody answers
}

// waiting is a peer's request for a body that has not arrived yet. It waits here
// instead of being refused, so that peers need not poll.
type waiting struct {
	request uint64
	peer    step.PeerID
	want    record.VersionKey
	choice  wire.FormChoice
}

func newBodies() bodies { return bodies{held: map[record.VersionKey]uint8{}} }

func (b *bodies) has(v record.VersionKey) bool { _, ok := b.held[v]; return ok }

func (b *bodies) forms(v record.VersionKey) uint8 { return b.held[v] }

func (b *bodies) hold(v record.VersionKey, forms uint8) {
	b.held[v] = forms
	b.forget(v, wire.AnyForm)
}

// fetch finds a body that is being fetched; nil if it is not.
func (b *bodies) fetch(v record.VersionKey, choice wire.FormChoice) *fetch {
	for _, f := range b.fetches {
		if f.want == v && f.choice == choice {
			return f
		}
	}
	return nil
}

// begin notes a body that is wanted.
func (b *bodies) begin(v record.VersionKey, choice wire.FormChoice) *fetch {
	f := b.fetch(v, choice)
	if f == nil {
		f = &fetch{want: v, choice: choice, askAt: step.Never}
		b.fetches = append(b.fetches, f)
	}
	return f
}

func (b *bodies) forget(v record.VersionKey, choice wire.FormChoice) {
	b.fetches = slices.DeleteFunc(b.fetches, func(f *fetch) bool { return f.want == v && f.choice == choice })
}

func (b *bodies) evict(v record.VersionKey) { delete(b.held, v) }

func (b *bodies) cancelPeer(peer step.PeerID) {
	b.waiting = slices.DeleteFunc(b.waiting, func(w waiting) bool { return w.peer == peer })
}

// take removes and returns the requests that wait for a body, with one of certain
// choices; whatever their choice, if there are none.
func (b *bodies) take(v record.VersionKey, choices ...wire.FormChoice) []waiting {
	var taken []waiting
	b.waiting = slices.DeleteFunc(b.waiting, func(w waiting) bool {
		if w.want == v && (len(choices) == 0 || slices.Contains(choices, w.choice)) {
			taken = append(taken, w)
			return true
		}
		return false
	})
	return taken
}

// request handles a peer's wish for a body: serve it, or fetch it and let the
// peer wait.
func (n *Node) request(now step.Time, in step.Input, out []step.Output) []step.Output {
	switch {
	case n.childIndex(in.Peer) < 0 && !n.shadows.has(in.Peer) && !n.tradesWith(n.peers[in.Peer]):
		return append(out, step.Output{Op: step.OpDeny, Request: in.Request, Reason: "not a child of this node"})
	case n.cfg.HoldsAll || n.bodies.has(in.Want):
		return append(out, step.Output{Op: step.OpServe, Request: in.Request, Want: in.Want, Choice: in.Choice})
	case !n.subscribes(in.Want.Config):
		return n.requestCached(now, in, out)
	case n.trades(in.Want):
		return append(out, step.Output{Op: step.OpServe, Request: in.Request, Want: in.Want, Choice: in.Choice})
	}
	out, ok := n.await(in, out)
	if !ok {
		return out
	}
	return n.fetch(now, in.Want, out)
}

// await lets a request wait, if there is room.
func (n *Node) await(in step.Input, out []step.Output) (_ []step.Output, ok bool) {
	if len(n.bodies.waiting) >= MaxWaiting {
		return append(out, step.Output{Op: step.OpDeny, Request: in.Request, Reason: "too many requests wait"}), false
	}
	n.bodies.waiting = append(n.bodies.waiting, waiting{in.Request, in.Peer, in.Want, in.Choice})
	return out, true
}

// serveWaiting answers those who wait for a version, with one of certain choices, if any
// are given.
func (n *Node) serveWaiting(v record.VersionKey, out []step.Output, choices ...wire.FormChoice) []step.Output {
	for _, w := range n.bodies.take(v, choices...) {
		out = append(out, step.Output{Op: step.OpServe, Request: w.request, Want: v, Choice: w.choice})
	}
	return out
}

// denyWaiting refuses them.
func (n *Node) denyWaiting(v record.VersionKey, reason string, out []step.Output, choices ...wire.FormChoice) []step.Output {
	for _, w := range n.bodies.take(v, choices...) {
		out = append(out, step.Output{Op: step.OpDeny, Request: w.request, Reason: reason})
	}
	return out
}

// fetch asks the parent, or the backup, for a body, unless that is under way.
func (n *Node) fetch(now step.Time, want record.VersionKey, out []step.Output) []step.Output {
	f := n.bodies.begin(want, wire.AnyForm)
	if f.asked > 0 || n.trades(want) || n.up.state != upAttached { // resumeFetches starts it
		return out
	}
	return n.ask(now, f, n.source(), out)
}

func (n *Node) ask(now step.Time, f *fetch, peer step.PeerID, out []step.Output) []step.Output {
	f.asked++
	f.askAt = now + fetchPatience + step.Time(len(n.path))*lagHop
	return append(out, step.Output{Op: step.OpFetch, Peer: peer, Want: f.want, Choice: f.choice, Request: f.request, Cached: !n.subscribes(f.want.Config)})
}

// resumeFetches asks a new parent for what is still wanted.
func (n *Node) resumeFetches(now step.Time, out []step.Output) []step.Output {
	for _, f := range slices.Clone(n.bodies.fetches) {
		switch {
		case f.asked > 0:
		case n.subscribes(f.want.Config):
			out = n.fetch(now, f.want, out)
		default:
			out = n.fetchCached(now, f.want, f.choice, f.request, out)
		}
	}
	return out
}

// wakeFetches asks another as well for what nobody has begun to send: the backup
// first, then members of the circle, one after another.
func (n *Node) wakeFetches(now step.Time, out []step.Output) []step.Output {
	for _, f := range slices.Clone(n.bodies.fetches) {
		if now < f.askAt {
			continue
		}
		f.askAt = now + fetchPatience
		if n.trades(f.want) && f.choice == wire.AnyForm || f.asked >= maxAsked {
			f.askAt = step.Never
			continue
		}
		if f.above || !n.subscribes(f.want.Config) {
			out = n.askFurther(now, f, out)
			continue
		}
		f.tries++
		if spare := n.spare(); f.tries == 1 && spare != 0 {
			out = n.ask(now, f, spare, out)
			continue
		}
		out = n.askCircle(now, f, out)
	}
	return out
}

// askAbove asks another for what the parent would not give, or is slow to: the backup,
// then the coordinator, who has every form. ok is false if that was done.
func (n *Node) askAbove(now step.Time, f *fetch, out []step.Output) (_ []step.Output, ok bool) {
	spare, coordinator := n.spare(), wire.Location{Addr: n.seed()}
	f.above = true
	f.tries++
	switch {
	case f.tries == 1 && spare != 0:
		return n.ask(now, f, spare, out), true
	case f.last || f.tries > maxAsked || n.peers[n.source()].Role == wire.RoleCoordinator:
		return out, false
	case f.asked > 0 && !f.slow: // all who are slow for the same reason would ask it at once
		f.slow, f.askAt = true, now+fetchSlow
		return out, true
	}
	if peer := n.linkTo(coordinator); peer != 0 {
		f.last = true
		return n.ask(now, f, peer, out), true
	}
	f.askAt = now + fetchPatience
	return n.dialPartner(now, coordinator, false, out), true
}

// reasonNoForm is why a fetch ends that nobody served.
const reasonNoForm = "nobody above has a form of it that can be used"

// askFurther does so for a fetch that waits; if there is nobody left to ask, and nobody
// to answer, it has failed.
func (n *Node) askFurther(now step.Time, f *fetch, out []step.Output) []step.Output {
	out, ok := n.askAbove(now, f, out)
	switch {
	case ok:
		return out
	case !n.subscribes(f.want.Config):
		return n.giveUp(f, reasonNoForm, out)
	case f.asked == 0:
		return n.fetchFailed(now, step.Input{Want: f.want, Reason: reasonNoForm}, out)
	}
	f.askAt = step.Never
	return out
}

// askCircle asks the next member of the circle; one that is not linked is dialed, and
// asked the next time.
func (n *Node) askCircle(now step.Time, f *fetch, out []step.Output) []step.Output {
	c := n.circles.mine
	if c == nil || len(c.Members) < 2 {
		return out
	}
	at := c.Members[(c.Position(n.cfg.Self.Name)+1+f.tries/2)%len(c.Members)]
	if at.Name == n.cfg.Self.Name {
		return out
	}
	if peer := n.linkTo(at); peer != 0 {
		return n.ask(now, f, peer, out)
	}
	f.askAt = now + dialWait
	return n.dialPartner(now, at, at.Subscriptions.Include(f.want.Config), out)
}

// answered hears that a peer has begun to send a body: nobody else is asked.
func (n *Node) answered(in step.Input) {
	if f := n.bodies.fetch(in.Want, in.Choice); f != nil {
		f.askAt = step.Never
	}
}

// fetched hears how a fetch ended: with a verified body on disk, or not.
func (n *Node) fetched(now step.Time, in step.Input, out []step.Output) []step.Output {
	if in.Reason != "" {
		return n.fetchFailed(now, in, out)
	}
	out = n.endExchanges(in.Want, out)
	want := in.Want
	n.bodies.hold(want, in.Forms)
	n.recount(want)
	n.up.failures = 0
	out = n.serveWaiting(want, out)
	return n.pump(now, n.settleConfig(now, want.Config, out))
}

// trades tells whether a form of a version is on its way here, shard by shard.
func (n *Node) trades(want record.VersionKey) bool {
	for _, x := range n.trading {
		if x.key.VersionKey == want {
			return true
		}
	}
	return false
}

// tellStored tells the coordinators that follow of a new version.
func (n *Node) tellStored(v record.VersionKey, out []step.Output) []step.Output {
	for i := range n.children {
		if c := &n.children[i]; c.role == wire.RoleCoordinator && !c.behind {
			out = append(out, step.Output{Op: step.OpSend, Peer: c.peer, Message: &wire.Stored{Config: v.Config, Version: v.Version}})
		}
	}
	return out
}

// mirror fetches a version that no pointer of this region names yet.
func (n *Node) mirror(now step.Time, from step.PeerID, m *wire.Stored, out []step.Output) []step.Output {
	want := record.VersionKey{Config: m.Config, Version: m.Version}
	if from != n.up.parent || n.up.state != upAttached || n.root == nil || n.bodies.has(want) {
		return out
	}
	return n.fetch(now, want, out)
}

// abandon ends the trade of versions of a config that no pointer names any more.
func (n *Node) abandon(config string, out []step.Output) []step.Output {
	if n.root != nil {
		return out // a coordinator keeps them all
	}
	for _, x := range slices.Clone(n.trading) {
		if want := x.key.VersionKey; want.Config == config && !n.isCurrentVersion(want) {
			n.bodies.forget(want, wire.AnyForm)
			if out = n.discard(want, out); x.cached {
				out = n.declineAll(x.key, out)
			}
		}
	}
	return out
}

// ReasonLinkLost is the reason of a fetch that ended with its link.
const ReasonLinkLost = "link_lost"

// fetchFailed tells those who wait, and tries again later; a parent that fails
// several times in a row is left for another.
func (n *Node) fetchFailed(now step.Time, in step.Input, out []step.Output) []step.Output {
	want, reason := in.Want, in.Reason
	f := n.bodies.fetch(want, in.Choice)
	assembled := in.Key.Config != ""
	switch {
	case f == nil && !assembled:
		return out // another has answered, or nobody wants it any more
	case !n.subscribes(want.Config):
		return n.cachedFailed(now, f, in, out)
	}
	if !assembled && f.asked > 0 {
		if f.asked--; f.asked > 0 || n.trades(want) {
			return out // another answers, or has
		}
	}
	if reason == ReasonLinkLost && n.up.state != upAttached {
		return out // goes on with the next parent
	}
	if in.Denied {
		if next, ok := n.askAbove(now, f, out); ok {
			return next
		}
	}
	if key := n.pointerKey(want.Config); reason == ReasonLinkLost && n.configs[key] != nil {
		n.settleAt(now+minRefetch, key) // it was the backup's link, or the loss of the parent's is about to be told
		return out
	}
	n.bodies.forget(want, wire.AnyForm)
	out = n.endExchanges(want, out)
	out = n.denyWaiting(want, reason, out)
	key := n.pointerKey(want.Config)
	if s := n.configs[key]; s != nil && n.wants(s, want) {
		s.attempt++
		n.acknowledge(now, s, s.latest.Pointer, reason, 0)
		n.retryAfter(now, key, s.attempt)
	}
	if in.Local {
		return out // another parent would not help
	}
	return n.parentFailed(now, out)
}

// parentFailed counts a body that the parent did not give, or gave damaged, and
// leaves it after several in a row.
func (n *Node) parentFailed(now step.Time, out []step.Output) []step.Output {
	n.up.failures++
	if n.up.state == upAttached && n.up.failures >= fetchesToLeave {
		n.up.failures = 0
		return n.leaveParent(now, "bodies from it keep failing", out)
	}
	return out
}

func (n *Node) wants(s *configState, v record.VersionKey) bool {
	return s.applied != s.latest.Pointer.Epoch && n.versionFor(s) == v.Version || s.staging(v.Version)
}

func (n *Node) settleConfig(now step.Time, config string, out []step.Output) []step.Output {
	key := n.pointerKey(config)
	if s := n.configs[key]; s != nil {
		return n.settle(now, key, s, out)
	}
	return out
}
