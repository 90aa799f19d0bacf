package mesh

import (
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// overlay is the swarm's view of the node, and implements swarm.Overlay.
type overlay struct{ n *Node }

func (o overlay) Peer(peer step.PeerID) (wire.Identity, bool) {
	who, linked := o.n.peers[peer]
	return who, linked
}

func (o overlay) Attached() bool { return o.n.up.attached() }

func (o overlay) Parent() step.PeerID { return o.n.up.parent }

func (o overlay) Backup() step.PeerID { return o.n.up.standby.peer }

func (o overlay) Source() step.PeerID { return o.n.up.source() }

func (o overlay) CoordinatorAddr() string { return o.n.up.seed() }

func (o overlay) PathDelay() step.Time { return o.n.up.pathDelay() }

func (o overlay) IsBelow(peer step.PeerID) bool {
	return o.n.children.find(peer) != nil || o.n.shadows.has(peer)
}

func (o overlay) InTree(peer step.PeerID) bool {
	up := &o.n.up
	return peer == up.parent || peer == up.standby.peer || peer == up.seedPeer || o.IsBelow(peer)
}

func (o overlay) IsNamed(v record.VersionKey) bool { return o.n.pointers.isNamed(v) }

func (o overlay) SourceWorks() { o.n.up.failures = 0 }

func (o overlay) BodyReady(now step.Time, v record.VersionKey, out step.Outputs) step.Outputs {
	if s := o.n.pointers.own(v.Config); s != nil {
		return o.n.settler.settle(now, o.n.pointers.ownKey(v.Config), s, out)
	}
	return out
}

func (o overlay) BodyFailed(
	now step.Time, v record.VersionKey, why step.Failure, out step.Outputs,
) step.Outputs {
	if s := o.n.pointers.own(v.Config); s != nil && o.n.pointers.needs(s, v.Ref()) {
		o.n.settler.fail(now, o.n.pointers.ownKey(v.Config), s, why)
	}
	if why.Fault == step.FaultHost || why.Fault == step.FaultVersion {
		return out // another parent would not help
	}
	if !o.n.pointers.isNamed(v) {
		return out // a child asked for the version, which the parent need not have
	}
	return o.n.onParentFailed(now, out)
}

func (o overlay) FetchLost(now step.Time, v record.VersionKey) bool {
	if o.n.pointers.own(v.Config) == nil {
		return false
	}
	o.n.settler.retries.add(now+minRetry, o.n.pointers.ownKey(v.Config))
	return true
}

func (o overlay) PeerIsAhead(now step.Time, peer step.PeerID, out step.Outputs) step.Outputs {
	return o.n.up.askNews(now, peer, out)
}
