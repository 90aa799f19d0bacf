package mesh

import (
	"cmp"
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/swarm"
	"banyan/mesh/wire"
	"banyan/record"
)

// settler brings each config of a node to the state that its pointer asks for:
//
//	fetch the version ──► activate it ──► fetch the staged version ──► acknowledge
//
// A step that fails is tried again later. The failure is acknowledged: as a failure of the version
// if the version is to blame, else only with its reason.
type settler struct {
	cfg      *Config
	pointers *pointers
	swarm    *swarm.Swarm
	acks     *acks
	up       *upstream
	retries  retries
}

// lacks reports whether the next version for the node is neither on disk nor on its way.
func (t *settler) lacks(s *configState) bool {
	v := t.pointers.versionFor(s).Of(s.latest.Pointer.Config)
	candidate := s.latest.Pointer.Candidate
	if s.stages(candidate) && (v.Version == 0 || t.swarm.Has(v)) {
		v = candidate.Of(v.Config)
	}
	return t.cfg.subscribes(v.Config) && v.Version != 0 && !t.swarm.Has(v) && !t.swarm.IsFetching(v)
}

// settle moves a config one step toward its pointer: fetch the body, then activate it,
// then fetch what is staged, then acknowledge. A pointer of a config without a subscription counts as
// applied at once. It is kept on disk, because the state in a head covers it too.
func (t *settler) settle(
	now step.Time, key record.PointerKey, s *configState, out step.Outputs,
) step.Outputs {
	if s.isApplied() || t.cfg.leads() {
		t.pointers.unsettled.remove(key)
		return t.finish(now, key, s, out)
	}
	if !t.cfg.subscribes(key.Config) {
		t.pointers.unsettled.remove(key)
		s.applied = s.latest.Digest
		return append(out, step.Output{Op: step.OpKeep, Pointer: step.Pointer{Announcement: s.latest}})
	}
	t.pointers.unsettled.add(key, s.latest.Revision)
	if s.busy {
		return out // activated calls settle again
	}
	v := t.pointers.versionFor(s).Of(key.Config)
	if v.Version != 0 && !t.swarm.Has(v) {
		return t.swarm.Fetch(now, v, out)
	}
	s.busy = true
	return append(out, step.Output{
		Op:      step.OpActivate,
		Pointer: step.Pointer{Announcement: s.latest, Version: v.Ref()},
	})
}

// finish fetches the version that an applied pointer stages, if any, and then acknowledges
// the pointer.
func (t *settler) finish(now step.Time, key record.PointerKey, s *configState, out step.Outputs) step.Outputs {
	if s.acknowledged == s.latest.Digest || !t.cfg.subscribes(key.Config) {
		return out
	}
	staged := s.latest.Pointer.Candidate.Of(key.Config)
	if s.stages(staged.Ref()) && !t.swarm.Has(staged) {
		return t.swarm.Fetch(now, staged, out)
	}
	if t.cfg.Self.Role == wire.RoleAgent && t.up.index == 0 {
		t.pointers.restored = append(t.pointers.restored, key) // acknowledged when the node has an index
		return out
	}
	s.acknowledged = s.latest.Digest
	t.acknowledge(now, s, step.Failure{}, s.latency)
	return out
}

// activated handles the end of an OpActivate.
func (t *settler) activated(now step.Time, in step.Input, out step.Outputs) step.Outputs {
	key := in.Pointer.Announcement.Pointer.Key()
	s := t.pointers.configs[key]
	s.busy = false
	if in.Failure.OK() {
		s.applied = in.Pointer.Announcement.Digest
		s.running = in.Pointer.Version
		s.latency = max(in.Pointer.LatencyMicros, 1)
	} else if s.latest == in.Pointer.Announcement {
		t.fail(now, key, s, in.Failure)
		return out
	}
	return t.settle(now, key, s, out)
}

// fail acknowledges a failure to settle the newest pointer, and arranges for a retry.
func (t *settler) fail(now step.Time, key record.PointerKey, s *configState, why step.Failure) {
	s.attempt++
	t.acknowledge(now, s, why, 0)
	t.retries.after(now, key, s.attempt)
}

// acknowledge reports this agent's own outcome. A follower is no agent and reports nothing, nor
// does an agent that does not subscribe.
func (t *settler) acknowledge(
	now step.Time, s *configState, why step.Failure, latencyMicros int64,
) {
	p := &s.latest.Pointer
	if t.cfg.Self.Role != wire.RoleAgent || t.up.index == 0 || !t.cfg.subscribes(p.Config) {
		return
	}
	entry := wire.NewAckEntry(p.Key(), p.Position(), s.latest.Digest)
	index := t.up.index - 1
	if why.OK() {
		entry.Applied.Add(index)
		if s.running == p.Candidate && s.running != p.Baseline && !s.running.IsZero() {
			entry.Running.Add(index)
		}
		if latencyMicros > 0 {
			entry.Latency.Add(latencyMicros)
		}
	} else {
		if why.OfVersion() {
			entry.Failed.Add(index)
		}
		entry.AddFailure(wire.Failure{
			Agent:    index,
			Name:     t.cfg.Self.Name,
			Reason:   why.Reason[:min(len(why.Reason), wire.MaxReason)],
			Attempts: uint32(s.attempt),
		})
	}
	t.acks.add(now, entry)
}

// forgetAcknowledged has the applied pointers acknowledged again when the node attaches next.
func (t *settler) forgetAcknowledged() {
	t.pointers.restored = nil
	for key, s := range t.pointers.configs {
		s.acknowledged = record.Digest{}
		t.pointers.restored = append(t.pointers.restored, key)
	}
	slices.SortFunc(t.pointers.restored, func(a, b record.PointerKey) int {
		return cmp.Or(cmp.Compare(a.Config, b.Config), cmp.Compare(a.Region, b.Region))
	})
}

// acknowledgeRestored acknowledges the pointers that were applied before the node
// started: the coordinator may have started again as well.
func (t *settler) acknowledgeRestored(now step.Time, out step.Outputs) step.Outputs {
	for _, key := range t.pointers.restored {
		s := t.pointers.configs[key]
		if s != nil && s.isApplied() { // nil: a deletion that was forgotten
			out = t.finish(now, key, s, out)
		}
	}
	t.pointers.restored = nil
	return out
}

// retryDue settles the configs whose retry is due.
func (t *settler) retryDue(now step.Time, out step.Outputs) step.Outputs {
	for _, key := range t.retries.due(now) {
		if s := t.pointers.configs[key]; s != nil { // nil: a deletion that was forgotten
			out = t.settle(now, key, s, out)
		}
	}
	return out
}

// reapply applies v again, because the file of v on the host is wrong. A version that is not
// on disk is fetched first.
func (t *settler) reapply(now step.Time, v record.VersionKey, out step.Outputs) step.Outputs {
	s := t.pointers.own(v.Config)
	if s == nil || s.busy || t.pointers.versionFor(s) != v.Ref() {
		return out
	}
	s.applied = record.Digest{}
	return t.settle(now, t.pointers.ownKey(v.Config), s, out)
}
