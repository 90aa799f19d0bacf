package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// This file takes pointers and versions from the store, from the disk and from peers:
//
//	announcement ──► verify ──► relay ──► settle
//
// Verifying before relaying stops a forged pointer at the first honest node.

// publish takes a pointer from the leader's own store, and announces it if it is news.
func (n *Node) publish(now step.Time, p step.Pointer, out step.Outputs) step.Outputs {
	a := p.Announcement
	key := a.Pointer.Key()
	s := n.pointers.configs[key]
	switch {
	case s == nil:
		if n.pointers.isFull(key.Region) {
			return append(out, step.Output{Op: step.OpRefused, Reason: "too_many_configs"})
		}
		s = n.pointers.create(key)
	case a.Pointer.Position() <= s.latest.Pointer.Position():
		return out
	}
	n.pointers.adopt(key, s, a)
	n.pointers.revisions[key.Region] = max(n.pointers.revisions[key.Region], a.Revision)
	a.Pushed = p.Push != nil
	n.expectAnswers(now, key, a.Pointer.Position())
	out = n.announce(now, p, out)
	if !a.Pointer.Candidate.IsZero() && key.Region == n.cfg.Self.Region {
		out = n.takeCensus(now, out)
	}
	return out
}

// restore takes a pointer from before the node stopped. If the pointer was applied
// and another version is the one to run now, because the host's labels or subscriptions
// changed, the pointer settles again.
func (n *Node) restore(a *wire.Announcement, version record.Ref, applied bool) {
	key := a.Pointer.Key()
	s := n.pointers.configs[key]
	if s == nil {
		s = n.pointers.create(key)
	}
	n.pointers.adopt(key, s, a)
	if applied && version == n.pointers.versionFor(s) {
		s.applied = a.Digest
		s.running = version
		n.pointers.restored = append(n.pointers.restored, key)
		return
	}
	n.pointers.unsettled.add(key, a.Revision)
	n.settler.retries.add(0, key)
}

// forget forgets the deletion of a config: nodes that were away for longer learn of it from the
// leader's store, see deletions in evidence.go.
func (n *Node) forget(key record.PointerKey) {
	if n.pointers.forget(key) {
		n.acks.forget(key)
	}
}

// onAnnouncement handles a pointer from the parent, or from the backup.
func (n *Node) onAnnouncement(
	now step.Time, from step.PeerID, a *wire.Announcement, out step.Outputs,
) step.Outputs {
	if !n.up.feeds(from) {
		return n.onPointerFromBelow(now, from, a, out)
	}
	if n.pointers.isLast(a.Raw) {
		n.sentAgain(from, n.pointers.configs[n.pointers.lastKey], a)
		return out
	}
	pointer, err := n.cfg.Verifier.VerifyPointer(a.Raw)
	if err != nil {
		return refuse(from, record.Reason(err), out)
	}
	if pointer.Region != n.cfg.Self.Region {
		return refuse(from, "wrong_region", out)
	}
	a.Verified(pointer)
	isNew, out := n.compare(now, from, a, out)
	if !isNew {
		return out
	}
	n.up.heard(from)
	out = n.accept(from, a, out)
	out = n.relay(now, pointer.Region, a, out)
	return n.follow(now, a, out)
}

// onBatch handles several pointers under one signature, from the parent. If all of them are new, the
// batch is relayed as it is.
func (n *Node) onBatch(now step.Time, from step.PeerID, m *wire.Batch, out step.Outputs) step.Outputs {
	if !n.up.feeds(from) {
		return refuse(from, "not_parent", out)
	}
	signed, err := n.cfg.Verifier.VerifyBatch(m.Root, m.Payloads())
	if err != nil {
		return refuse(from, record.Reason(err), out)
	}
	region := n.cfg.Self.Region
	if slices.ContainsFunc(signed, func(s record.SignedPointer) bool { return s.Pointer.Region != region }) {
		return refuse(from, "wrong_region", out)
	}
	var news []*wire.Announcement
	for _, a := range m.Announcements(signed) {
		isNew := false
		isNew, out = n.compare(now, from, a, out)
		if isNew {
			out = n.accept(from, a, out)
			news = append(news, a)
		}
	}
	if len(news) == len(signed) {
		out = n.relay(now, region, m, out)
	}
	for _, a := range news {
		n.up.heard(from)
		if len(news) < len(signed) {
			out = n.relay(now, region, a, out)
		}
		out = n.follow(now, a, out)
	}
	return out
}

// compare compares a verified announcement with the pointer that the node has. isNew reports whether
// the announcement is to be accepted.
func (n *Node) compare(
	now step.Time, from step.PeerID, a *wire.Announcement, out step.Outputs,
) (isNew bool, _ step.Outputs) {
	key := a.Pointer.Key()
	known, reason := n.pointers.check(a)
	switch {
	case reason != "":
		out = n.objectToPointer(now, from, key, out)
		return false, refuse(from, reason, out)
	case known:
		n.sentAgain(from, n.pointers.configs[key], a)
		return false, out
	}
	return true, out
}

// sentAgain notes that a peer sent a pointer that the node has. That is news from the parent only if
// another peer sent the pointer first, and once: a parent that repeats old pointers is silent.
func (n *Node) sentAgain(from step.PeerID, s *configState, a *wire.Announcement) {
	if s.owed && from == n.up.parent {
		s.owed = false
		n.up.heard(from)
	}
	n.pointers.sawRevision(a)
	s.told = n.pointers.tellings
}

// accept makes a new pointer the newest of its config.
func (n *Node) accept(from step.PeerID, a *wire.Announcement, out step.Outputs) step.Outputs {
	key := a.Pointer.Key()
	s := n.pointers.configs[key]
	if s == nil {
		s = n.pointers.create(key)
	}
	n.pointers.adopt(key, s, a)
	s.attempt = 0
	s.owed = from != n.up.parent
	s.told = n.pointers.tellings
	n.pointers.lastRaw = a.Raw
	n.pointers.lastKey = key
	n.pointers.sawRevision(a)
	return append(out, step.Output{
		Op:      step.OpAccepted,
		Pointer: step.Pointer{Announcement: a},
		Peer:    from,
	})
}

// relay sends an announcement, or a batch of them, to every child of its region.
func (n *Node) relay(now step.Time, region string, m wire.Message, out step.Outputs) step.Outputs {
	if region == n.cfg.Self.Region {
		n.shadows.news(now)
	}
	return n.children.sendDown(region, m, out)
}

// follow begins to settle a pointer that was accepted and relayed.
func (n *Node) follow(now step.Time, a *wire.Announcement, out step.Outputs) step.Outputs {
	key := a.Pointer.Key()
	s := n.pointers.configs[key]
	if n.root == nil { // a coordinator keeps every version
		out = n.swarm.Abandon(now, key.Config, out)
	}
	n.expectAnswers(now, key, a.Pointer.Position())
	if n.root != nil && !a.Pointer.Candidate.IsZero() { // the leader counts the agents of the wave
		out = n.takeCensus(now, out)
	}
	if a.Pushed && n.settler.lacks(s) {
		n.pointers.unsettled.add(key, a.Revision)
		n.settler.retries.add(now+pushGrace, key) // in case the Push does not arrive
		return out
	}
	return n.settler.settle(now, key, s, out)
}

// onPush handles a version that the parent sent without a request: verify, relay, and
// store if the node subscribes. A version that no pointer names, or that is on disk or
// on its way, is dropped.
func (n *Node) onPush(now step.Time, from step.PeerID, m *wire.Push, out step.Outputs) step.Outputs {
	if !n.up.isParent(from) {
		return refuse(from, "not_parent", out)
	}
	s := n.pointers.own(m.Config)
	if s == nil || !s.names(m.Key().Ref()) {
		return out
	}
	if n.swarm.Has(m.Key()) || n.swarm.IsFetching(m.Key()) || s.pushed == m.Digest {
		return out
	}
	if err := n.cfg.Verifier.VerifyVersion(m.Key(), m.Manifest, m.Body); err != nil {
		out = refuse(from, record.Reason(err), out)
		return n.onParentFailed(now, out)
	}
	s.pushed = m.Digest
	out = n.children.push(n.cfg.Self.Region, m, out)
	if !n.cfg.subscribes(m.Config) {
		return out
	}
	n.swarm.ExpectPush(m.Key())
	return append(out, step.Output{Op: step.OpStore, Push: m})
}

// publishStored informs the followers of a version that the leader has stored.
func (n *Node) publishStored(v record.VersionKey, out step.Outputs) step.Outputs {
	for i := range n.children {
		c := &n.children[i]
		if c.role == wire.RoleCoordinator && !c.behind {
			out = send(c.peer, &wire.Stored{Config: v.Config, Version: v.Version, Digest: v.Digest}, out)
		}
	}
	return out
}

// onStored handles the news of a version that no pointer names yet: a follower fetches it.
func (n *Node) onStored(now step.Time, from step.PeerID, m *wire.Stored, out step.Outputs) step.Outputs {
	v := m.Key()
	if !n.up.isParent(from) || n.root == nil || n.swarm.Has(v) {
		return out
	}
	return n.swarm.Fetch(now, v, out)
}
