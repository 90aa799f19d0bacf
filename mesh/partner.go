package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// partners are the links over which shards are traded and that are not in the tree.
// They are dialed when a body is wanted, and end when none has been for a while.
type partners struct {
	byName  map[string]step.PeerID // the link to each node that one is up to
	dialed  []*partner             // in the order of the first dial
	shunned map[string]step.Time   // nodes that sent poison: until when
	wakeAt  step.Time
}

// partner is a node that this one dials to trade with it.
type partner struct {
	at      wire.Location
	peer    step.PeerID // 0: no link
	dialing bool
	dialAt  step.Time // not before
	usedAt  step.Time
}

const (
	// dialWait lets the one of two members of a circle whose name comes first dial the
	// other, so that they need one link and not two.
	dialWait = step.Time(1e9)
	// redialWait is the pause after a dial that failed.
	redialWait = step.Time(1e9)
	// partnerIdle is how long a link lives after the last body that needed it.
	partnerIdle = step.Time(15e9)
	// MaxPartners is how many nodes are dialed to trade with at once.
	MaxPartners = 256
	// maxShunned bounds the memory of who sent poison.
	maxShunned = 1024
)

func newPartners() partners {
	return partners{byName: map[string]step.PeerID{}, shunned: map[string]step.Time{}, wakeAt: step.Never}
}

// linkTo is the link to a node; 0 if there is none.
func (n *Node) linkTo(at wire.Location) step.PeerID {
	if at.Name != "" {
		return n.partners.byName[at.Name]
	}
	for _, p := range n.partners.dialed {
		if p.at == at {
			return p.peer
		}
	}
	return 0
}

// linked notes a link that came up.
func (n *Node) linked(peer step.PeerID, who wire.Identity) {
	n.peers[peer] = who
	n.partners.byName[who.Name] = peer
}

// unlinked forgets a link that went down, and what was asked over it.
func (n *Node) unlinked(now step.Time, peer step.PeerID, out []step.Output) []step.Output {
	n.uploads.forget(peer)
	for _, p := range n.partners.dialed {
		if p.peer == peer {
			p.peer, p.dialAt = 0, now+redialWait
		}
	}
	for name, link := range n.partners.byName {
		if link == peer { // one name at most
			delete(n.partners.byName, name)
			return n.pump(now, n.lost(now, name, out))
		}
	}
	return out
}

// lost asks others for what was asked of a node that can't be reached.
func (n *Node) lost(now step.Time, name string, out []step.Output) []step.Output {
	for _, x := range n.trading {
		for _, s := range x.sources {
			if s.at.Name == name && s.orders > 0 && !s.suspect {
				s.suspect, s.orders = true, 0
				s.asked.ClearAll()
				s.theirs.ClearAll()
				s.strikes++
				x.stale = true
			}
		}
		if x.stale && !x.isDone() {
			out = n.assign(now, x, out)
		}
	}
	return out
}

// dialPartner dials a node. If the other wants something of this one too, it may wait
// for that to dial.
func (n *Node) dialPartner(now step.Time, at wire.Location, mutual bool, out []step.Output) []step.Output {
	i := slices.IndexFunc(n.partners.dialed, func(p *partner) bool { return p.at == at })
	if i < 0 {
		if at.Addr == "" || len(n.partners.dialed) >= MaxPartners {
			return out
		}
		p := &partner{at: at}
		if mutual && n.cfg.Self.Name > at.Name {
			p.dialAt = now + dialWait
		}
		n.partners.dialed = append(n.partners.dialed, p)
		i = len(n.partners.dialed) - 1
		n.partners.wakeAt = min(n.partners.wakeAt, now+partnerIdle)
	}
	p := n.partners.dialed[i]
	p.usedAt = now
	if p.dialing || p.peer != 0 || now < p.dialAt {
		return out
	}
	p.dialing = true
	return append(out, step.Output{Op: step.OpConnect, Addr: at.Addr})
}

// partnerDialed finds the partner that a dial was for.
func (n *Node) partnerDialed(addr string) *partner {
	for _, p := range n.partners.dialed {
		if p.at.Addr == addr && p.dialing {
			return p
		}
	}
	return nil
}

// partnerUp hears that a dial to a partner has succeeded.
func (n *Node) partnerUp(now step.Time, p *partner, in step.Input, out []step.Output) []step.Output {
	p.dialing = false
	isCoordinator := p.at.Name == "" && in.Identity.Role == wire.RoleCoordinator
	if in.Identity.Name != p.at.Name && !isCoordinator || !n.tradesWith(in.Identity) {
		p.dialAt = now + redialWait
		delete(n.peers, in.Peer)
		return append(out, step.Output{Op: step.OpDrop, Peer: in.Peer, Reason: "not the node that was dialed"})
	}
	p.peer = in.Peer
	n.linked(in.Peer, in.Identity)
	return n.reassign(now, out) // the coordinator has a name now
}

// tradesWith tells whether a node is one to trade shards with: of the same region, or
// a coordinator like this one.
func (n *Node) tradesWith(who wire.Identity) bool {
	return who.Region == n.cfg.Self.Region || who.Role == wire.RoleCoordinator && n.cfg.Self.Role == wire.RoleCoordinator
}

// partnerFailed hears that a dial to a partner has failed.
func (n *Node) partnerFailed(now step.Time, p *partner, out []step.Output) []step.Output {
	p.dialing = false
	p.dialAt = now + redialWait
	return n.lost(now, p.at.Name, out)
}

// wakePartners ends links that no body has needed for a while.
func (n *Node) wakePartners(now step.Time, out []step.Output) []step.Output {
	n.partners.wakeAt = step.Never
	n.partners.dialed = slices.DeleteFunc(n.partners.dialed, func(p *partner) bool {
		switch {
		case p.dialing || n.busy() || n.uploads.serves(p.peer):
			p.usedAt = now
		case now-p.usedAt >= partnerIdle:
			if p.peer != 0 && !n.isTreeLink(p.peer) {
				out = append(out, step.Output{Op: step.OpDrop, Peer: p.peer, Reason: "no body to trade"})
			}
			return true
		}
		n.partners.wakeAt = min(n.partners.wakeAt, p.usedAt+partnerIdle)
		return false
	})
	return out
}

// isTreeLink tells whether a link has a duty other than trade.
func (n *Node) isTreeLink(peer step.PeerID) bool {
	return peer == n.up.parent || peer == n.up.standby.peer || peer == n.up.seedPeer || n.childIndex(peer) >= 0 || n.shadows.has(peer)
}

func (n *Node) shun(now step.Time, name string) {
	if len(n.partners.shunned) >= maxShunned {
		clear(n.partners.shunned)
	}
	n.partners.shunned[name] = now + shunTime
}

func (n *Node) isShunned(now step.Time, name string) bool {
	until, ok := n.partners.shunned[name]
	return ok && now < until
}
