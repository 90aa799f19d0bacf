package mesh

import (
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// lacks tells whether the version that the node is to run is neither here nor on
// its way.
func (n *Node) lacks(s *configState) bool {
	want := record.VersionKey{Config: s.latest.Pointer.Config, Version: n.versionFor(s)}
	if p := &s.latest.Pointer; s.staging(p.Candidate) && (want.Version == 0 || n.bodies.has(want)) {
		want.Version = p.Candidate
	}
	return n.subscribes(want.Config) && want.Version != 0 && !n.bodies.has(want) && n.bodies.fetch(want, wire.AnyForm) == nil
}

// pushed handles a version that the parent sent unasked: verify, then relay, then
// store, if this node subscribes. One that no announcement named, or that is here or on
// its way already, goes no further.
func (n *Node) pushed(now step.Time, from step.PeerID, m *wire.Push, out []step.Output) []step.Output {
	if from != n.up.parent || n.up.state != upAttached {
		return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: "not_parent"})
	}
	key := n.pointerKey(m.Config)
	s := n.configs[key]
	if s == nil || m.Version != s.latest.Pointer.Baseline && m.Version != s.latest.Pointer.Candidate {
		return out
	}
	if n.bodies.has(m.Key()) || n.bodies.fetch(m.Key(), wire.AnyForm) != nil || s.pushed == m.Version {
		return out
	}
	if err := n.cfg.Verifier.VerifyVersion(m.Config, m.Version, m.Manifest, m.Body); err != nil {
		out = append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: record.Reason(err)})
		return n.parentFailed(now, out)
	}
	s.pushed = m.Version
	out = n.sendDown(key.Region, m, out)
	if !n.subscribes(m.Config) {
		return out
	}
	n.bodies.begin(m.Key(), wire.AnyForm).asked = 1
	return append(out, step.Output{Op: step.OpStore, Push: m})
}
