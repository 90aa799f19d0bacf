package mesh

import (
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// drifted sends the news of this host's own drift up.
func (n *Node) drifted(in step.Input, out []step.Output) []step.Output {
	if n.up.index == 0 {
		return out
	}
	return n.sendUp(&wire.Drift{Agent: n.up.index - 1, Name: n.cfg.Self.Name, Config: in.Want.Config, Version: in.Want.Version,
		State: in.Drift, Region: n.cfg.Self.Region}, out)
}

// heardDrift passes it on to the leader; coordinators on the way take note.
func (n *Node) heardDrift(from step.PeerID, m *wire.Drift, out []step.Output) []step.Output {
	i := n.childIndex(from)
	if i < 0 || m.Region != n.children[i].region {
		return out
	}
	if n.root != nil {
		out = append(out, step.Output{Op: step.OpDrifted, Message: m})
	}
	if n.isRoot() {
		return out
	}
	return n.sendUp(m, out)
}

// damaged has a version applied anew, since what shows is not it any more; unless whole, it
// is fetched before.
func (n *Node) damaged(now step.Time, want record.VersionKey, whole bool, out []step.Output) []step.Output {
	if !whole {
		n.bodies.evict(want)
		n.recount(want)
	}
	key := n.pointerKey(want.Config)
	s := n.configs[key]
	if s == nil || s.busy || n.versionFor(s) != want.Version {
		return out
	}
	s.applied = 0
	return n.settle(now, key, s, out)
}
