package mesh

import "slices"

// bodies is which bodies a node holds, which it is fetching, and who waits.
type bodies struct {
	held     map[VersionKey]struct{}
	fetching map[VersionKey]bool // true: a fetch is under way; false: it waits for a parent or a retry
	waiting  []waiting           // requests of peers, in order of arrival
}

// waiting is a peer's request for a body that has not arrived yet. It waits here
// instead of being refused, so that peers need not poll.
type waiting struct {
	request uint64
	peer    PeerID
	want    VersionKey
}

func newBodies() bodies {
	return bodies{held: map[VersionKey]struct{}{}, fetching: map[VersionKey]bool{}}
}

func (b *bodies) has(v VersionKey) bool { _, ok := b.held[v]; return ok }

func (b *bodies) hold(v VersionKey) {
	b.held[v] = struct{}{}
	delete(b.fetching, v)
}

func (b *bodies) evict(v VersionKey) { delete(b.held, v) }

func (b *bodies) cancelPeer(peer PeerID) {
	b.waiting = slices.DeleteFunc(b.waiting, func(w waiting) bool { return w.peer == peer })
}

// take removes and returns the requests that wait for a body.
func (b *bodies) take(v VersionKey) []waiting {
	var taken []waiting
	b.waiting = slices.DeleteFunc(b.waiting, func(w waiting) bool {
		if w.want == v {
			taken = append(taken, w)
			return true
		}
		return false
	})
	return taken
}

// request handles a peer's wish for a body: serve it, or fetch it and let the
// peer wait.
func (n *Node) request(now Time, in Input, out []Output) []Output {
	switch {
	case n.childIndex(in.Peer) < 0 && !n.shadows.has(in.Peer):
		return append(out, Output{Op: OpDeny, Request: in.Request, Reason: "not a child of this node"})
	case n.cfg.HoldsAll || n.bodies.has(in.Want):
		return append(out, Output{Op: OpServe, Request: in.Request, Want: in.Want})
	case len(n.bodies.waiting) >= MaxWaiting:
		return append(out, Output{Op: OpDeny, Request: in.Request, Reason: "too many requests wait"})
	}
	n.bodies.waiting = append(n.bodies.waiting, waiting{in.Request, in.Peer, in.Want})
	return n.fetch(now, in.Want, out)
}

// fetch asks the parent, or the backup, for a body, unless that is under way.
func (n *Node) fetch(_ Time, want VersionKey, out []Output) []Output {
	if n.bodies.fetching[want] {
		return out
	}
	if n.up.state != upAttached {
		n.bodies.fetching[want] = false // resumeFetches starts it
		return out
	}
	n.bodies.fetching[want] = true
	return append(out, Output{Op: OpFetch, Peer: n.source(), Want: want})
}

// resumeFetches asks a new parent for what is still wanted.
func (n *Node) resumeFetches(now Time, out []Output) []Output {
	var wanted []VersionKey
	for want, underWay := range n.bodies.fetching {
		if !underWay {
			wanted = append(wanted, want)
		}
	}
	slices.SortFunc(wanted, compareVersions)
	for _, want := range wanted {
		out = n.fetch(now, want, out)
	}
	return out
}

// fetched hears how a fetch ended: with a verified body on disk, or not.
func (n *Node) fetched(now Time, in Input, out []Output) []Output {
	if in.Reason != "" {
		return n.fetchFailed(now, in, out)
	}
	want := in.Want
	n.bodies.hold(want)
	n.up.failures = 0
	for _, w := range n.bodies.take(want) {
		out = append(out, Output{Op: OpServe, Request: w.request, Want: want})
	}
	return n.settleConfig(now, want.Config, out)
}

// ReasonLinkLost is the reason of a fetch that ended with its link.
const ReasonLinkLost = "link_lost"

// fetchFailed tells those who wait, and tries again later; a parent that fails
// several times in a row is left for another.
func (n *Node) fetchFailed(now Time, in Input, out []Output) []Output {
	want, reason := in.Want, in.Reason
	if reason == ReasonLinkLost && n.up.state != upAttached {
		n.bodies.fetching[want] = false // goes on with the next parent
		return out
	}
	if key := (configKey{want.Config, n.cfg.Self.Region}); reason == ReasonLinkLost && n.configs[key] != nil {
		n.bodies.fetching[want] = false // it was the backup's link, or the loss of the parent's is about to be told
		n.settleAt(now+minRefetch, key)
		return out
	}
	delete(n.bodies.fetching, want)
	for _, w := range n.bodies.take(want) {
		out = append(out, Output{Op: OpDeny, Request: w.request, Reason: reason})
	}
	key := configKey{want.Config, n.cfg.Self.Region}
	if s := n.configs[key]; s != nil && n.wants(s, want) {
		s.attempt++
		n.acknowledge(now, s.latest.Pointer, reason, 0)
		n.retryAfter(now, key, s.attempt)
	}
	if in.Local {
		return out // another parent would not help
	}
	return n.parentFailed(now, out)
}

// parentFailed counts a body that the parent did not give, or gave damaged, and
// leaves it after several in a row.
func (n *Node) parentFailed(now Time, out []Output) []Output {
	n.up.failures++
	if n.up.state == upAttached && n.up.failures >= fetchesToLeave {
		n.up.failures = 0
		return n.leaveParent(now, "bodies from it keep failing", out)
	}
	return out
}

func (n *Node) wants(s *configState, v VersionKey) bool {
	return s.applied != s.latest.Pointer.Epoch &&
		s.latest.Pointer.VersionFor(n.cfg.Self.Name, n.cfg.Labels) == v.Version
}

func (n *Node) settleConfig(now Time, config string, out []Output) []Output {
	key := configKey{config, n.cfg.Self.Region}
	if s := n.configs[key]; s != nil {
		return n.settle(now, key, s, out)
	}
	return out
}

func compareVersions(a, b VersionKey) int {
	if a.Config != b.Config {
		if a.Config < b.Config {
			return -1
		}
		return 1
	}
	if a.Version < b.Version {
		return -1
	}
	return 1
}
