package mesh

import (
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// This file follows a pointer through a node:
//
//	announcement ──► verify ──► relay ──► settle: fetch ──► activate ──► stage ──► acknowledge
//
// Verifying before relaying stops a forged pointer at the first honest node.

// publish takes a pointer from the leader's own store, which has verified the pointer.
// push is the version to send behind the pointer; nil for none.
func (n *Node) publish(now step.Time, a *wire.Announcement, push *wire.Push, out []step.Output) []step.Output {
	key := a.Pointer.Key()
	s := n.pointers.configs[key]
	switch {
	case s == nil:
		s = n.pointers.create(key)
		if s == nil {
			return append(out, step.Output{Op: step.OpRefused, Reason: "too_many_configs"})
		}
	case a.Pointer.Epoch <= s.latest.Pointer.Epoch:
		return out
	}
	n.pointers.adopt(key, s, a)
	n.pointers.revisions[key.Region] = max(n.pointers.revisions[key.Region], a.Revision)
	a.Pushed = push != nil
	n.expectAnswers(now, key, a.Pointer.Epoch)
	out = n.relay(now, a, out)
	if push != nil {
		out = n.children.sendDown(key.Region, push, out)
	}
	if a.Pointer.Candidate != 0 && key.Region == n.cfg.Self.Region {
		out = n.takeCensus(now, out)
	}
	return out
}

// restore takes a pointer that the node had before it stopped. If the pointer was applied
// and another version is the one to run now, because the host's labels or subscriptions
// changed, the pointer settles again.
func (n *Node) restore(a *wire.Announcement, version uint64, applied bool) {
	key := a.Pointer.Key()
	s := n.pointers.configs[key]
	if s == nil {
		s = &configState{}
		n.pointers.configs[key] = s
	}
	n.pointers.adopt(key, s, a)
	if applied && version == n.pointers.versionFor(s) {
		s.applied = a.Pointer.Epoch
		s.running = version
		n.pointers.restored = append(n.pointers.restored, key)
		return
	}
	n.pointers.unsettled[key] = struct{}{}
	n.retries.add(0, key)
}

// onAnnouncement handles a pointer from the parent, or from the backup.
func (n *Node) onAnnouncement(now step.Time, from step.PeerID, a *wire.Announcement, out []step.Output) []step.Output {
	if !n.up.feeds(from) {
		return refuse(from, "not_parent", out)
	}
	if n.pointers.isLast(a.Raw) {
		n.pointers.sawRevision(a)
		return out
	}
	pointer, err := n.cfg.Verifier.VerifyPointer(a.Raw)
	if err != nil {
		return refuse(from, record.Reason(err), out)
	}
	if pointer.Region != n.cfg.Self.Region {
		return refuse(from, "wrong_region", out)
	}
	a.Pointer = pointer
	known, reason := n.pointers.check(a)
	if reason != "" {
		return refuse(from, reason, out)
	}
	if known {
		n.pointers.sawRevision(a)
		return out
	}
	return n.accept(now, from, a, out)
}

// accept relays a new pointer and begins to settle it.
func (n *Node) accept(now step.Time, from step.PeerID, a *wire.Announcement, out []step.Output) []step.Output {
	key := a.Pointer.Key()
	s := n.pointers.configs[key]
	if s == nil {
		s = n.pointers.create(key)
	}
	n.pointers.adopt(key, s, a)
	s.attempt = 0
	n.pointers.lastRaw = a.Raw
	n.pointers.sawRevision(a)
	out = append(out, step.Output{
		Op:      step.OpAccepted,
		Pointer: step.Pointer{Announcement: a},
		Peer:    from,
	})
	out = n.relay(now, a, out)
	if n.root == nil { // a coordinator keeps every version
		out = n.swarm.Abandon(key.Config, out)
	}
	n.expectAnswers(now, key, a.Pointer.Epoch)
	if n.root != nil && a.Pointer.Candidate != 0 { // the leader counts the agents of the wave
		out = n.takeCensus(now, out)
	}
	if a.Pushed && n.lacks(s) {
		n.pointers.unsettled[key] = struct{}{}
		n.retries.add(now+pushGrace, key) // in case the Push does not arrive
		return out
	}
	return n.settle(now, key, s, out)
}

// relay sends an announcement to every child of its region.
func (n *Node) relay(now step.Time, a *wire.Announcement, out []step.Output) []step.Output {
	if a.Pointer.Region == n.cfg.Self.Region {
		n.shadows.news(now)
	}
	return n.children.sendDown(a.Pointer.Region, a, out)
}

// lacks reports whether the version that the node needs next is neither on disk nor on its way.
func (n *Node) lacks(s *configState) bool {
	v := record.VersionKey{Config: s.latest.Pointer.Config, Version: n.pointers.versionFor(s)}
	candidate := s.latest.Pointer.Candidate
	if s.stages(candidate) && (v.Version == 0 || n.swarm.Has(v)) {
		v.Version = candidate
	}
	return n.cfg.subscribes(v.Config) && v.Version != 0 && !n.swarm.Has(v) && !n.swarm.IsFetching(v)
}

// onPush handles a version that the parent sent without a request: verify, relay, and
// store if this node subscribes. A version that no pointer names, or that is on disk or
// on its way, is dropped.
func (n *Node) onPush(now step.Time, from step.PeerID, m *wire.Push, out []step.Output) []step.Output {
	if from != n.up.parent || !n.up.attached() {
		return refuse(from, "not_parent", out)
	}
	s := n.pointers.own(m.Config)
	if s == nil || m.Version != s.latest.Pointer.Baseline && m.Version != s.latest.Pointer.Candidate {
		return out
	}
	if n.swarm.Has(m.Key()) || n.swarm.IsFetching(m.Key()) || s.pushed == m.Version {
		return out
	}
	if err := n.cfg.Verifier.VerifyVersion(m.Config, m.Version, m.Manifest, m.Body); err != nil {
		out = refuse(from, record.Reason(err), out)
		return n.onParentFailed(now, out)
	}
	s.pushed = m.Version
	out = n.children.sendDown(n.cfg.Self.Region, m, out)
	if !n.cfg.subscribes(m.Config) {
		return out
	}
	n.swarm.ExpectPush(m.Key())
	return append(out, step.Output{Op: step.OpStore, Push: m})
}

// settle moves a config one step toward its pointer: fetch the body, then activate it,
// then fetch what is staged, then acknowledge. Without a subscription there is no body,
// and activating makes the pointer durable, because the head covers the pointer too.
func (n *Node) settle(now step.Time, key record.PointerKey, s *configState, out []step.Output) []step.Output {
	if s.isApplied() || n.cfg.leads() {
		delete(n.pointers.unsettled, key)
		return n.stage(now, key, s, out)
	}
	n.pointers.unsettled[key] = struct{}{}
	if s.busy {
		return out // onActivated calls settle again
	}
	v := record.VersionKey{Config: key.Config, Version: n.pointers.versionFor(s)}
	if v.Version != 0 && !n.swarm.Has(v) {
		return n.swarm.Fetch(now, v, out)
	}
	s.busy = true
	return append(out, step.Output{
		Op:      step.OpActivate,
		Pointer: step.Pointer{Announcement: s.latest, Version: v.Version},
	})
}

// stage fetches the version that an applied pointer stages. It acknowledges the epoch
// once that version is on disk.
func (n *Node) stage(now step.Time, key record.PointerKey, s *configState, out []step.Output) []step.Output {
	if s.told == s.latest.Pointer.Epoch || !n.cfg.subscribes(key.Config) {
		return out
	}
	staged := record.VersionKey{Config: key.Config, Version: s.latest.Pointer.Candidate}
	if s.stages(staged.Version) && !n.swarm.Has(staged) {
		return n.swarm.Fetch(now, staged, out)
	}
	s.told = s.latest.Pointer.Epoch
	n.acknowledge(now, s, s.latest.Pointer, "", s.latency)
	return out
}

// onActivated handles the end of an OpActivate.
func (n *Node) onActivated(now step.Time, in step.Input, out []step.Output) []step.Output {
	key := in.Pointer.Announcement.Pointer.Key()
	s := n.pointers.configs[key]
	s.busy = false
	if in.Failure.Reason == "" {
		s.applied = in.Pointer.Announcement.Pointer.Epoch
		s.running = in.Pointer.Version
		s.latency = max(in.Pointer.LatencyMicros, 1)
	} else if s.latest == in.Pointer.Announcement {
		n.fail(now, key, s, in.Failure.Reason)
		return out
	}
	return n.settle(now, key, s, out)
}

// fail acknowledges a failure to settle the newest pointer, and arranges for a retry.
func (n *Node) fail(now step.Time, key record.PointerKey, s *configState, reason string) {
	s.attempt++
	n.acknowledge(now, s, s.latest.Pointer, reason, 0)
	n.retries.after(now, key, s.attempt)
}

// acknowledge reports this agent's own outcome: success if reason is empty. A follower is
// no agent and reports nothing, nor does an agent that does not subscribe.
func (n *Node) acknowledge(now step.Time, s *configState, p record.Pointer, reason string, latencyMicros int64) {
	if n.cfg.Self.Role != wire.RoleAgent || n.up.index == 0 || !n.cfg.subscribes(p.Config) {
		return
	}
	entry := wire.NewAckEntry(p.Key(), p.Epoch)
	index := n.up.index - 1
	if reason == "" {
		entry.Applied.Add(index)
		if s.running == p.Candidate && s.running != p.Baseline && s.running != 0 {
			entry.Running.Add(index)
		}
		if latencyMicros > 0 {
			entry.Latency.Add(latencyMicros)
		}
	} else {
		entry.Failed.Add(index)
		entry.AddFailure(wire.Failure{
			Agent:    index,
			Name:     n.cfg.Self.Name,
			Reason:   reason[:min(len(reason), wire.MaxReason)],
			Attempts: uint32(s.attempt),
		})
	}
	n.acks.add(now, entry)
}

// acknowledgeRestored acknowledges the pointers that were applied before the node
// started: the coordinator may have started again as well.
func (n *Node) acknowledgeRestored(now step.Time, out []step.Output) []step.Output {
	for _, key := range n.pointers.restored {
		if s := n.pointers.configs[key]; s.isApplied() {
			out = n.stage(now, key, s, out)
		}
	}
	n.pointers.restored = nil
	return out
}

// retry settles the configs whose retry is due.
func (n *Node) retry(now step.Time, out []step.Output) []step.Output {
	for _, key := range n.retries.due(now) {
		out = n.settle(now, key, n.pointers.configs[key], out)
	}
	return out
}

// reapply applies a version again whose file does not show what was applied. A version
// that is not on disk is fetched first.
func (n *Node) reapply(now step.Time, v record.VersionKey, out []step.Output) []step.Output {
	s := n.pointers.own(v.Config)
	if s == nil || s.busy || n.pointers.versionFor(s) != v.Version {
		return out
	}
	s.applied = 0
	return n.settle(now, n.pointers.ownKey(v.Config), s, out)
}

// publishStored informs the followers of a version that the leader has stored.
func (n *Node) publishStored(v record.VersionKey, out []step.Output) []step.Output {
	for i := range n.children {
		c := &n.children[i]
		if c.role == wire.RoleCoordinator && !c.behind {
			out = send(c.peer, &wire.Stored{Config: v.Config, Version: v.Version}, out)
		}
	}
	return out
}

// onStored handles the news of a version that no pointer names yet: a follower fetches it.
func (n *Node) onStored(now step.Time, from step.PeerID, m *wire.Stored, out []step.Output) []step.Output {
	v := record.VersionKey{Config: m.Config, Version: m.Version}
	if from != n.up.parent || !n.up.attached() || n.root == nil || n.swarm.Has(v) {
		return out
	}
	return n.swarm.Fetch(now, v, out)
}

// retries holds the configs that are to be settled again later.
type retries struct {
	jitter jitter
	list   []retry
	wakeAt step.Time // when the first retry is due
}

type retry struct {
	at  step.Time
	key record.PointerKey
}

func (r *retries) add(at step.Time, key record.PointerKey) {
	r.list = append(r.list, retry{at, key})
	r.wakeAt = min(r.wakeAt, at)
}

// after adds a retry after a delay that doubles with each failed attempt.
func (r *retries) after(now step.Time, key record.PointerKey, attempt int) {
	delay := min(minRetry<<min(attempt-1, 16), maxRetry)
	r.add(now+r.jitter.around(delay), key)
}

// due removes and returns the configs whose retry is due.
func (r *retries) due(now step.Time) []record.PointerKey {
	var due []record.PointerKey
	rest := r.list[:0]
	r.wakeAt = step.Never
	for _, e := range r.list {
		if e.at <= now {
			due = append(due, e.key)
		} else {
			rest = append(rest, e)
			r.wakeAt = min(r.wakeAt, e.at)
		}
	}
	r.list = rest
	return due
}
