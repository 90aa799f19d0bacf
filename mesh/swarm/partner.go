package swarm

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// partners holds the links by node, and dials the nodes that are needed for an exchange
// and are not linked. A link that was dialed for an exchange ends when no body has needed
// the link for a while.
type partners struct {
	self    string                 // name of the node
	byName  map[string]step.PeerID // the link to each linked node
	dialed  []*partner             // in the order of the first dial
	shunned map[string]step.Time   // nodes that sent poison, and until when they are not asked
	wakeAt  step.Time
}

// partner is a node that the node dials for an exchange.
type partner struct {
	at      wire.Location
	peer    step.PeerID // 0 without a link
	dialing bool
	dialAt  step.Time // no dial before
	usedAt  step.Time
}

func newPartners(self wire.Identity) partners {
	return partners{
		self:    self.Name,
		byName:  map[string]step.PeerID{},
		shunned: map[string]step.Time{},
		wakeAt:  step.Never,
	}
}

// link returns the link to a node; 0 if absent.
func (p *partners) link(at wire.Location) step.PeerID {
	if at.Name != "" {
		return p.byName[at.Name]
	}
	for _, d := range p.dialed {
		if d.at == at {
			return d.peer
		}
	}
	return 0
}

// dial dials a node, unless a dial or a link exists. If the exchange is mutual, the node
// may dial the node as well: then the node whose name comes first dials first.
func (p *partners) dial(now step.Time, at wire.Location, mutual bool, out step.Outputs) step.Outputs {
	d := p.partnerAt(now, at, mutual)
	if d == nil {
		return out
	}
	d.usedAt = now
	if d.dialing || d.peer != 0 || now < d.dialAt {
		return out
	}
	d.dialing = true
	return append(out, step.Output{Op: step.OpConnect, Addr: at.Addr})
}

// partnerAt returns the partner at a location. It creates the partner if there is none,
// and returns nil if the location can't be dialed or there are too many partners.
func (p *partners) partnerAt(now step.Time, at wire.Location, mutual bool) *partner {
	for _, d := range p.dialed {
		if d.at == at {
			return d
		}
	}
	if at.Addr == "" || len(p.dialed) >= maxPartners {
		return nil
	}
	d := &partner{at: at}
	if mutual && p.self > at.Name {
		d.dialAt = now + dialWait
	}
	p.dialed = append(p.dialed, d)
	p.wakeAt = min(p.wakeAt, now+partnerIdle)
	return d
}

// dialing returns the partner being dialed at an address; nil if absent.
func (p *partners) dialing(addr string) *partner {
	for _, d := range p.dialed {
		if d.at.Addr == addr && d.dialing {
			return d
		}
	}
	return nil
}

// shun notes that a node sent poison.
func (p *partners) shun(now step.Time, name string) {
	if len(p.shunned) >= maxShunned {
		clear(p.shunned)
	}
	p.shunned[name] = now + shunTime
}

func (p *partners) isShunned(now step.Time, name string) bool {
	until, ok := p.shunned[name]
	return ok && now < until
}

// OnLinked notes a link that is up.
func (s *Swarm) OnLinked(peer step.PeerID, who wire.Identity) { s.partners.byName[who.Name] = peer }

// OnAccepted handles a link that a peer dialed: orders that wait for a link are sent.
func (s *Swarm) OnAccepted(now step.Time, out step.Outputs) step.Outputs {
	for _, x := range s.ordered {
		out = s.order(now, x, out)
	}
	return out
}

// OnDialed handles a link that the node dialed. It returns false if the link is of no
// use: no partner was dialed at the address, or another node answered.
func (s *Swarm) OnDialed(
	now step.Time, addr string, peer step.PeerID, who wire.Identity, out step.Outputs,
) (_ step.Outputs, ok bool) {
	p := s.partners.dialing(addr)
	if p == nil {
		return out, false
	}
	p.dialing = false
	isCoordinator := p.at.Name == "" && who.Role == wire.RoleCoordinator
	if who.Name != p.at.Name && !isCoordinator || !s.ExchangesWith(who) {
		p.dialAt = now + redialWait
		return out, false
	}
	p.peer = peer
	return s.reassign(now, out), true // the location of a coordinator has a name now
}

// OnDialFailed handles a failed dial. Nothing happens if no partner was dialed at
// the address.
func (s *Swarm) OnDialFailed(now step.Time, addr string, out step.Outputs) step.Outputs {
	p := s.partners.dialing(addr)
	if p == nil {
		return out
	}
	p.dialing = false
	p.dialAt = now + redialWait
	return s.lost(now, p.at.Name, out)
}

// OnUnlinked forgets a link that went down, with the uploads and orders of its peer.
func (s *Swarm) OnUnlinked(now step.Time, peer step.PeerID, out step.Outputs) step.Outputs {
	s.uploads.forget(peer)
	for _, p := range s.partners.dialed {
		if p.peer == peer {
			p.peer = 0
			p.dialAt = now + redialWait
		}
	}
	for name, link := range s.partners.byName {
		if link == peer { // at most one name has this link
			delete(s.partners.byName, name)
			out = s.lost(now, name, out)
			return s.uploads.pump(now, out)
		}
	}
	return out
}

// lost assigns the orders of a node that can't be reached to other sources.
func (s *Swarm) lost(now step.Time, name string, out step.Outputs) step.Outputs {
	for _, x := range s.ordered {
		if src := x.find(name); src != nil && src.orders > 0 && !src.suspect {
			src.accuse()
			src.orders = 0
			src.asked.ClearAll()
			src.known.ClearAll()
			x.stale = true
		}
		if x.stale && !x.isDone() {
			out = s.assign(now, x, out)
		}
	}
	return out
}

// wakePartners ends links that no body has needed for a while.
func (s *Swarm) wakePartners(now step.Time, out step.Outputs) step.Outputs {
	p := &s.partners
	p.wakeAt = step.Never
	busy := s.busy()
	p.dialed = slices.DeleteFunc(p.dialed, func(d *partner) bool {
		switch {
		case d.dialing || busy || s.uploads.serves(d.peer):
			d.usedAt = now
		case now-d.usedAt >= partnerIdle:
			if d.peer != 0 && !s.overlay.InTree(d.peer) {
				out = append(out, step.Output{Op: step.OpDrop, Peer: d.peer, Reason: "no body to trade"})
			}
			return true
		}
		p.wakeAt = min(p.wakeAt, d.usedAt+partnerIdle)
		return false
	})
	return out
}

// busy reports whether an exchange still needs shards.
func (s *Swarm) busy() bool {
	return slices.ContainsFunc(s.ordered, func(x *exchange) bool { return !x.isIdle() })
}
