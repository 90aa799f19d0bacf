package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// child is a node that this one relays to.
type child struct {
	peer   step.PeerID
	index  uint32
	region string
	role   wire.Role
	member wire.Member // as it described itself
	behind bool        // it is sent what it missed, and nothing else, until it has caught up
	since  uint64      // revision up to which it was sent everything, while behind

	circle       *wire.Circle   // that it was told it is in
	broodCircles []*wire.Circle // that it was told its children are in
}

func (n *Node) childIndex(peer step.PeerID) int {
	return slices.IndexFunc(n.children, func(c child) bool { return c.peer == peer })
}

// join answers an agent, or a following coordinator, that asks for a place.
func (n *Node) join(now step.Time, from step.PeerID, m *wire.Join, out []step.Output) []step.Output {
	who, known := n.peers[from]
	if !known || n.root == nil {
		return append(out, step.Output{Op: step.OpSend, Peer: from, Message: &wire.Rejected{Reason: "not a coordinator"}})
	}
	if who.Role == wire.RoleCoordinator {
		if reason := n.refuseFollower(who); reason != "" {
			return append(out, step.Output{Op: step.OpSend, Peer: from, Message: &wire.Rejected{Reason: reason}})
		}
		return append(out, step.Output{Op: step.OpSend, Peer: from, Message: &wire.Placement{}})
	}
	if who.Region != n.cfg.Self.Region {
		return append(out, step.Output{Op: step.OpSend, Peer: from, Message: &wire.Rejected{Reason: "this coordinator serves region " + n.cfg.Self.Region}})
	}
	if after := n.root.admission.Admit(now); after > 0 {
		return append(out, step.Output{Op: step.OpSend, Peer: from, Message: &wire.Rejected{Reason: "too many join at once", After: uint32(after.Milliseconds())}})
	}
	if m.Accuse != "" {
		out = append(out, step.Output{Op: step.OpAccused, Peer: from, Reason: m.Accuse})
	}
	placement, err := n.root.planner.Join(now, who.Name, m)
	if err != nil {
		return append(out, step.Output{Op: step.OpSend, Peer: from, Message: &wire.Rejected{Reason: err.Error()}})
	}
	if len(n.root.gossip) > 0 && n.root.planner.JoinsGossip(placement.Index) {
		placement.Gossip = n.root.gossip
	}
	out = append(out, step.Output{Op: step.OpSend, Peer: from, Message: &placement})
	return n.root.reportPlaced(out)
}

// refuseFollower says why another coordinator can't follow this one; "" if it can.
func (n *Node) refuseFollower(who wire.Identity) string {
	switch {
	case !n.isRoot():
		return "this coordinator follows another itself"
	case who == n.cfg.Self:
		return "this coordinator is " + who.Name + " itself"
	}
	return ""
}

// attachChild takes a peer as a child and sends it what it missed.
func (n *Node) attachChild(now step.Time, from step.PeerID, m *wire.Attach, out []step.Output) []step.Output {
	who, known := n.peers[from]
	reason := ""
	switch {
	case !known || from == n.up.parent || from == n.up.seedPeer:
		reason = "not a peer that may attach"
	case !n.cfg.Relay && n.root == nil:
		reason = "not a relay"
	case !n.Attached() && n.root == nil:
		reason = "has no parent itself"
	case who.Role == wire.RoleAgent && n.isBelow(m.Index):
		reason = "is below the one that asks"
	case who.Role == wire.RoleCoordinator:
		reason = n.refuseFollower(who)
	case who.Region != n.cfg.Self.Region:
		reason = "this node is of region " + n.cfg.Self.Region
	}
	if reason == "" && len(n.children) >= wire.MaxChildren && n.childIndex(from) < 0 {
		reason = "no room for more children"
	}
	if reason != "" {
		return append(out, step.Output{Op: step.OpSend, Peer: from, Message: &wire.Rejected{Reason: reason}})
	}
	out = n.replaceChild(from, who, out)
	n.shadows.forget(from)
	member := wire.Member{Index: m.Index, Name: who.Name, Description: m.Description, Children: m.Children}
	n.children = append(n.children, child{peer: from, index: m.Index, region: who.Region, role: who.Role, member: member})
	out = append(out, step.Output{Op: step.OpSend, Peer: from, Message: &wire.Attached{Path: n.pathOfChildren()}})
	n.treeChanged(now)
	if who.Role == wire.RoleAgent {
		out = n.enroll(now, from, member, m.Children, out)
	}
	return n.sendSince(len(n.children)-1, m.Since, out)
}

// replaceChild drops an older link of the node that attaches anew: it came back
// before the loss of that link was noticed.
func (n *Node) replaceChild(from step.PeerID, who wire.Identity, out []step.Output) []step.Output {
	old := slices.IndexFunc(n.children, func(c child) bool { return n.peers[c.peer] == who })
	if old < 0 {
		return out
	}
	peer := n.children[old].peer
	n.children = slices.Delete(n.children, old, old+1)
	delete(n.circles.broods, peer)
	n.bodies.cancelPeer(peer)
	if peer == from {
		return out
	}
	delete(n.peers, peer)
	return append(out, step.Output{Op: step.OpDrop, Peer: peer, Reason: "replaced by a newer link"})
}

// sendSince sends a child the pointers that changed after a revision, oldest first,
// then the newest head: what one that was away has missed, whatever the number of
// changes between. It goes page by page: the next is sent when the last has left,
// so that a slow child costs no memory.
func (n *Node) sendSince(i int, since uint64, out []step.Output) []step.Output {
	c := &n.children[i]
	out, last, more := n.sendPage(c.peer, c.region, since, out)
	if c.behind = more; more {
		c.since = last
		return append(out, step.Output{Op: step.OpAwaitDrain, Peer: c.peer})
	}
	return out
}

// sendPage sends what changed in a region after a revision, as much as fits in a
// page; when that is all, the newest head too. last is how far it got.
func (n *Node) sendPage(to step.PeerID, region string, since uint64, out []step.Output) (_ []step.Output, last uint64, more bool) {
	var page []*wire.Announcement
	if l := n.ledgers[region]; l != nil {
		page, more = l.since(since, catchUpPage, n.isCurrent)
	}
	for _, a := range page {
		last = a.Revision
		if a.Pushed { // that was then
			fresh := *a
			fresh.Pushed = false
			a = &fresh
		}
		out = append(out, step.Output{Op: step.OpSend, Peer: to, Message: a})
	}
	if !more && n.headRaw != nil && n.head.Region == region {
		out = append(out, step.Output{Op: step.OpSend, Peer: to, Message: n.headRaw})
	}
	return out, last, more
}

// congested stops relaying to a child that does not keep up. When it has taken what
// waits for it, it is sent the newest of what it missed: of many changes to one
// config, the last.
func (n *Node) congested(peer step.PeerID, out []step.Output) []step.Output {
	i := n.childIndex(peer)
	if i < 0 || n.children[i].behind {
		return out
	}
	c := &n.children[i]
	c.behind, c.since = true, n.revisions[c.region]
	out = append(out, step.Output{Op: step.OpSlow, Peer: peer})
	return append(out, step.Output{Op: step.OpAwaitDrain, Peer: peer})
}

func (n *Node) drained(peer step.PeerID, out []step.Output) []step.Output {
	if i := n.childIndex(peer); i >= 0 && n.children[i].behind {
		return n.sendSince(i, n.children[i].since, out)
	}
	return out
}

// loseChild forgets a child and tells the planner, or the parent, that it is gone.
func (n *Node) loseChild(now step.Time, peer step.PeerID, out []step.Output) []step.Output {
	i := n.childIndex(peer)
	if i < 0 {
		return out
	}
	gone := n.children[i]
	n.children = slices.Delete(n.children, i, i+1)
	delete(n.circles.broods, peer)
	n.treeChanged(now)
	n.bodies.cancelPeer(peer)
	if gone.role != wire.RoleAgent {
		return out
	}
	if n.root != nil {
		n.root.planner.LeaveRoot(now, gone.index)
		return n.root.reportPlaced(out)
	}
	return n.sendUp(&wire.Gone{Parent: n.up.index - 1, Agents: []uint32{gone.index}}, out)
}

// gone hears from a child that agents left its subtree.
func (n *Node) gone(now step.Time, from step.PeerID, m *wire.Gone, out []step.Output) []step.Output {
	if n.childIndex(from) < 0 {
		return out
	}
	if n.root != nil {
		for _, index := range m.Agents {
			n.root.planner.Leave(now, index, m.Parent)
		}
		return n.root.reportPlaced(out)
	}
	return n.sendUp(m, out)
}

// relay sends an announcement to every child of its region.
func (n *Node) relay(now step.Time, a *wire.Announcement, out []step.Output) []step.Output {
	if a.Pointer.Region == n.cfg.Self.Region {
		n.newsForShadows(now)
	}
	return n.sendDown(a.Pointer.Region, a, out)
}

// sendDown sends a message to every child of a region, but to those that are behind:
// they are sent what is newest when they have caught up.
func (n *Node) sendDown(region string, m wire.Message, out []step.Output) []step.Output {
	for i := range n.children {
		if c := &n.children[i]; c.region == region && !c.behind {
			out = append(out, step.Output{Op: step.OpSend, Peer: c.peer, Message: m})
		}
	}
	return out
}

// receiveAck merges what a child acknowledges; at the root it has arrived.
func (n *Node) receiveAck(now step.Time, from step.PeerID, m *wire.Ack, out []step.Output) []step.Output {
	i := n.childIndex(from)
	if i < 0 {
		return out
	}
	for _, e := range m.Entries {
		if e.Region != n.children[i].region {
			return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: "wrong_region"})
		}
	}
	if n.root != nil {
		out = append(out, step.Output{Op: step.OpAcked, Message: m})
		if n.children[i].role == wire.RoleAgent {
			out = n.root.observe(now, n.cfg.Self.Region, m.Entries, out)
		}
	}
	if !n.isRoot() {
		for i := range m.Entries {
			n.acks.add(now, &m.Entries[i])
		}
	}
	return out
}

func (n *Node) flushAcks(out []step.Output) []step.Output {
	if n.up.state != upAttached {
		n.acks.flushAt = step.Never // resend finds it once there is a parent
		return out
	}
	for _, m := range n.acks.flush() {
		out = append(out, step.Output{Op: step.OpSend, Peer: n.up.parent, Message: m})
	}
	return out
}
