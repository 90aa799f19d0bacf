package mesh

import (
	"bytes"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// configState is what a node knows and does about one pointer.
type configState struct {
	latest  *wire.Announcement // newest verified
	applied uint64             // epoch last applied here; 0 for none
	running uint64             // version it runs
	since   uint64             // epoch that brought its candidate, or took the last away
	told    uint64             // epoch whose success was acknowledged
	latency int64              // of the apply, in microseconds; 0: it was before this node started
	pushed  uint64             // version that was passed on last in a Push
	busy    bool               // an OpActivate is under way
	attempt int                // fetches or activations of latest that failed
}

// staging tells whether a version is to be fetched without being run.
func (s *configState) staging(version uint64) bool {
	p := &s.latest.Pointer
	return p.Phase == record.PhaseStage && p.Candidate == version && version != 0
}

// pointerKey returns the key of the pointer of config in the node's own region.
func (n *Node) pointerKey(config string) record.PointerKey {
	return record.PointerKey{Config: config, Region: n.cfg.Self.Region}
}

// versionFor is the version that this node is to run: none of a config that it does not
// subscribe to.
func (n *Node) versionFor(s *configState) uint64 {
	if !n.subscribes(s.latest.Pointer.Config) {
		return 0
	}
	return s.latest.Pointer.VersionFor(n.cfg.Self.Name, n.cfg.Labels)
}

// adopt makes an announcement the newest of its config.
func (n *Node) adopt(key record.PointerKey, s *configState, a *wire.Announcement) {
	state := n.states[key.Region]
	if state == nil {
		state = &record.State{}
		n.states[key.Region] = state
	}
	l := n.ledgers[key.Region]
	if l == nil {
		l = &ledger{}
		n.ledgers[key.Region] = l
	}
	replaces := s.latest != nil
	if replaces {
		state.Remove(s.latest.Raw)
	}
	state.Add(a.Raw)
	if was := s.latest; was == nil || was.Pointer.Candidate != a.Pointer.Candidate {
		s.since = a.Pointer.Epoch
	}
	s.latest = a
	if key.Region == n.cfg.Self.Region && a.Pointer.Candidate != 0 {
		n.waving[key] = struct{}{}
	} else {
		delete(n.waving, key)
	}
	l.add(a, replaces, n.isCurrent)
}

// publish takes a pointer from the root's own store, which verified it, and the
// version to be pushed behind it, if any.
func (n *Node) publish(now step.Time, a *wire.Announcement, push *wire.Push, out []step.Output) []step.Output {
	key := a.Pointer.Key()
	s := n.configs[key]
	if s == nil {
		if len(n.configs) >= MaxConfigs {
			return append(out, step.Output{Op: step.OpRefused, Reason: "too_many_configs"})
		}
		s = &configState{}
		n.configs[key] = s
	} else if a.Pointer.Epoch <= s.latest.Pointer.Epoch {
		return out
	}
	n.adopt(key, s, a)
	n.revisions[key.Region] = max(n.revisions[key.Region], a.Revision)
	a.Pushed = push != nil
	n.expect(now, key, a.Pointer.Epoch)
	out = n.relay(now, a, out)
	if push != nil {
		out = n.sendDown(key.Region, push, out)
	}
	if a.Pointer.Candidate != 0 && key.Region == n.cfg.Self.Region {
		out = n.onCensus(now, out)
	}
	return out
}

// restore takes a pointer that was held before the node stopped. If it was applied, and
// since then the host's labels or subscriptions make another version of it the one to
// run, it settles anew.
func (n *Node) restore(a *wire.Announcement, version uint64, applied bool) {
	key := a.Pointer.Key()
	s := n.configs[key]
	if s == nil {
		s = &configState{}
		n.configs[key] = s
	}
	n.adopt(key, s, a)
	if applied && version == n.versionFor(s) {
		s.applied, s.running = a.Pointer.Epoch, version
		n.restored = append(n.restored, key)
	} else {
		n.unsettled[key] = struct{}{}
		n.settleAt(0, key)
	}
}

// announced handles a pointer from the parent: verify, then relay, then act.
// Verifying first stops a bad one at the first honest hop.
func (n *Node) announced(now step.Time, from step.PeerID, a *wire.Announcement, out []step.Output) []step.Output {
	if !n.feeds(from) {
		return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: "not_parent"})
	}
	if n.isKnown(a.Raw) {
		n.sawRevision(a)
		return out
	}
	pointer, err := n.cfg.Verifier.VerifyPointer(a.Raw)
	if err != nil {
		return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: record.Reason(err)})
	}
	if pointer.Region != n.cfg.Self.Region {
		return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: "wrong_region"})
	}
	a.Pointer = pointer
	key := pointer.Key()
	s := n.configs[key]
	switch {
	case s == nil && len(n.configs) >= MaxConfigs:
		return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: "too_many_configs"})
	case s == nil:
		s = &configState{}
		n.configs[key] = s
	case pointer.Epoch < s.latest.Pointer.Epoch:
		return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: "stale_epoch"})
	case pointer.Epoch == s.latest.Pointer.Epoch && !bytes.Equal(a.Raw, s.latest.Raw):
		return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: "conflicting_epoch"})
	case pointer.Epoch == s.latest.Pointer.Epoch:
		n.sawRevision(a)
		return out
	}
	n.adopt(key, s, a)
	s.attempt = 0
	n.lastRaw = a.Raw
	n.sawRevision(a)
	out = append(out, step.Output{Op: step.OpAccepted, Announcement: a, Peer: from})
	out = n.abandon(key.Config, n.relay(now, a, out))
	n.expect(now, key, pointer.Epoch)
	if n.root != nil && pointer.Candidate != 0 { // the leader counts who is in the wave
		out = n.onCensus(now, out)
	}
	if a.Pushed && n.lacks(s) {
		n.unsettled[key] = struct{}{}
		n.settleAt(now+pushGrace, key) // in case it does not come
		return out
	}
	return n.settle(now, key, s, out)
}

// isKnown spares the signature check of an announcement that came twice in a row.
func (n *Node) isKnown(raw []byte) bool {
	return len(raw) > 0 && bytes.Equal(raw, n.lastRaw)
}

func (n *Node) sawRevision(a *wire.Announcement) {
	region := n.cfg.Self.Region
	n.revisions[region] = max(n.revisions[region], a.Revision)
}

// settle moves a config one step toward what its pointer says: fetch the body,
// then activate it, then fetch what is to be staged, then acknowledge. Without a
// subscription there is no body, and activating makes the pointer durable: a head tells
// of it too.
func (n *Node) settle(now step.Time, key record.PointerKey, s *configState, out []step.Output) []step.Output {
	if s.applied == s.latest.Pointer.Epoch || n.isRoot() {
		delete(n.unsettled, key)
		return n.stage(now, key, s, out)
	}
	n.unsettled[key] = struct{}{}
	if s.busy {
		return out // activated will come here again
	}
	version := n.versionFor(s)
	if want := (record.VersionKey{Config: key.Config, Version: version}); version != 0 && !n.bodies.has(want) {
		return n.fetch(now, want, out)
	}
	s.busy = true
	return append(out, step.Output{Op: step.OpActivate, Announcement: s.latest, Version: version})
}

// stage fetches what an applied pointer stages, and acknowledges the epoch once that
// is here.
func (n *Node) stage(now step.Time, key record.PointerKey, s *configState, out []step.Output) []step.Output {
	if s.told == s.latest.Pointer.Epoch || !n.subscribes(key.Config) {
		return out
	}
	if staged := (record.VersionKey{Config: key.Config, Version: s.latest.Pointer.Candidate}); s.staging(staged.Version) && !n.bodies.has(staged) {
		return n.fetch(now, staged, out)
	}
	s.told = s.latest.Pointer.Epoch
	n.acknowledge(now, s, s.latest.Pointer, "", s.latency)
	return out
}

// activated hears how an OpActivate ended.
func (n *Node) activated(now step.Time, in step.Input, out []step.Output) []step.Output {
	key := in.Announcement.Pointer.Key()
	s := n.configs[key]
	s.busy = false
	if in.Reason == "" {
		s.applied, s.running = in.Announcement.Pointer.Epoch, in.Version
		s.latency = max(in.LatencyMicros, 1)
	}
	if in.Reason != "" && s.latest == in.Announcement {
		s.attempt++
		n.acknowledge(now, s, in.Announcement.Pointer, in.Reason, 0)
		n.retryAfter(now, key, s.attempt)
		return out
	}
	return n.settle(now, key, s, out)
}

// acknowledge reports this agent's own outcome. A coordinator that follows has
// none: it is no agent. Nor has one that does not subscribe.
func (n *Node) acknowledge(now step.Time, s *configState, p record.Pointer, reason string, latencyMicros int64) {
	if n.cfg.Self.Role != wire.RoleAgent || n.up.index == 0 || !n.subscribes(p.Config) {
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
		entry.AddFailure(wire.Failure{Agent: index, Name: n.cfg.Self.Name, Reason: reason[:min(len(reason), wire.MaxReason)], Attempts: uint32(s.attempt)})
	}
	n.acks.add(now, entry)
}

// recall acknowledges what was applied before the node started: whoever counted it
// may have started anew as well.
func (n *Node) recall(now step.Time, out []step.Output) []step.Output {
	for _, key := range n.restored {
		if s := n.configs[key]; s.applied == s.latest.Pointer.Epoch {
			out = n.stage(now, key, s, out)
		}
	}
	n.restored = nil
	return out
}

// retry is a config to settle again later.
type retry struct {
	at  step.Time
	key record.PointerKey
}

func (n *Node) settleAt(at step.Time, key record.PointerKey) {
	n.retries = append(n.retries, retry{at, key})
	n.retryAt = min(n.retryAt, at)
}

func (n *Node) retryAfter(now step.Time, key record.PointerKey, attempt int) {
	delay := min(minRefetch<<min(attempt-1, 16), maxRefetch)
	n.settleAt(now+n.jittered(delay), key)
}

func (n *Node) retryDue(now step.Time, out []step.Output) []step.Output {
	var due []record.PointerKey
	rest := n.retries[:0]
	n.retryAt = step.Never
	for _, r := range n.retries {
		if r.at <= now {
			due = append(due, r.key)
		} else {
			rest = append(rest, r)
			n.retryAt = min(n.retryAt, r.at)
		}
	}
	n.retries = rest
	for _, key := range due {
		out = n.settle(now, key, n.configs[key], out)
	}
	return out
}
