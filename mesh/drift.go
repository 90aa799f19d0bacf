package mesh

import "banyan/record"

// DriftState is how it stands with a file that is not what was applied.
type DriftState uint8

// The states of drift.
const (
	DriftSeen     DriftState = 1 // the file differs
	DriftRepaired DriftState = 2 // it did, and was put right
	DriftGone     DriftState = 3 // it did, and is right again by another's hand
)

// Drift tells the coordinators that a file on an agent's host was changed by another hand.
type Drift struct {
	Agent   uint32     `cbor:"1,keyasint"`
	Name    string     `cbor:"2,keyasint"`
	Config  string     `cbor:"3,keyasint"`
	Version uint64     `cbor:"4,keyasint"` // that was applied
	State   DriftState `cbor:"5,keyasint"`
	Region  string     `cbor:"6,keyasint"`
}

// drifted sends the news of this host's own drift up.
func (n *Node) drifted(in Input, out []Output) []Output {
	if n.up.index == 0 {
		return out
	}
	return n.sendUp(&Drift{Agent: n.up.index - 1, Name: n.cfg.Self.Name, Config: in.Want.Config, Version: in.Want.Version,
		State: in.Drift, Region: n.cfg.Self.Region}, out)
}

// heardDrift passes it on to the leader; coordinators on the way take note.
func (n *Node) heardDrift(from PeerID, m *Drift, out []Output) []Output {
	i := n.childIndex(from)
	if i < 0 || m.Region != n.children[i].region {
		return out
	}
	if n.cfg.Planner != nil {
		out = append(out, Output{Op: OpDrifted, Message: m})
	}
	if n.isRoot() {
		return out
	}
	return n.sendUp(m, out)
}

// damaged has a version applied anew, since what shows is not it any more; unless whole, it
// is fetched before.
func (n *Node) damaged(now Time, want record.VersionKey, whole bool, out []Output) []Output {
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
