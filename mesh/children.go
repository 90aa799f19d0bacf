package mesh

import (
	"slices"
	"strings"

	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
)

// children holds the receivers of relayed messages, in the order of attachment.
type children []child

// child is a node that receives relayed messages: an agent, or a follower.
type child struct {
	peer   step.PeerID
	region string
	role   wire.Role
	member wire.Member // the child's description of itself
	seen   uint64      // revision of the region that the child had when it attached
	// relays is true if nodes below the child were ever reported.
	relays bool

	// behind: the child is sent the missed pointers only, until the child has caught up.
	behind bool
	since  uint64 // revision of the last pointer sent to a child that is behind

	circle       *wire.Circle   // the child's circle, as last sent to the child
	broodCircles []*wire.Circle // the circles of the child's children, as last sent
}

// index returns the position of a child by its link; -1 if absent.
func (c children) index(peer step.PeerID) int {
	return slices.IndexFunc(c, func(c child) bool { return c.peer == peer })
}

// find returns the child with the given link; nil if absent.
func (c children) find(peer step.PeerID) *child {
	if i := c.index(peer); i >= 0 {
		return &c[i]
	}
	return nil
}

// has reports whether there is a child of a region.
func (c children) has(region string) bool {
	return slices.ContainsFunc(c, func(c child) bool { return c.region == region })
}

// sendDown sends a message to every child of a region, except to children that are behind:
// they are sent the newest state when they have caught up.
func (c children) sendDown(region string, m wire.Message, out step.Outputs) step.Outputs {
	for i := range c {
		if c[i].region == region && !c[i].behind {
			out = send(c[i].peer, m, out)
		}
	}
	return out
}

// push sends a version to the children of a region that need it: a child that does not subscribe
// to the config needs it for the nodes below.
func (c children) push(region string, m *wire.Push, out step.Outputs) step.Outputs {
	for i := range c {
		if c[i].region == region && !c[i].behind && c[i].needs(m.Config) {
			out = send(c[i].peer, m, out)
		}
	}
	return out
}

// needs reports whether the child is sent the versions of config: it subscribes to config, or may have
// nodes below that do.
func (c *child) needs(config string) bool {
	return c.relays || c.role == wire.RoleCoordinator || c.member.Subscriptions.Include(config)
}

// sendAll sends a message to every child.
func (c children) sendAll(m wire.Message, out step.Outputs) step.Outputs {
	for i := range c {
		out = send(c[i].peer, m, out)
	}
	return out
}

// brood returns the locations of the agents among the children, by zone and then in the
// order of attachment, so that neighbours in the list are near each other.
func (c children) brood() []wire.Location {
	agents := make([]*child, 0, len(c))
	for i := range c {
		if c[i].role == wire.RoleAgent {
			agents = append(agents, &c[i])
		}
	}
	slices.SortStableFunc(agents, func(a, b *child) int { return strings.Compare(a.zone(), b.zone()) })
	brood := make([]wire.Location, len(agents))
	for i, a := range agents {
		brood[i] = a.location()
	}
	return brood
}

func (c *child) zone() string { return c.member.Labels[wire.ZoneLabel] }

func (c *child) location() wire.Location {
	return wire.Location{Name: c.member.Name, Addr: c.member.Addr, Subscriptions: c.member.Subscriptions}
}

// catchUp sends a child the pointers that changed after a revision, oldest first, then the
// newest head. The number of changes in between does not matter: only current pointers are
// sent. The pointers go page by page, and each page waits until the page before has left,
// so that a slow child costs no memory.
func (c *child) catchUp(p *pointers, since uint64, out step.Outputs) step.Outputs {
	out, last, more := p.sendPage(c.peer, c.region, since, out)
	c.behind = more
	if more {
		c.since = last
		return append(out, step.Output{Op: step.OpAwaitDrain, Peer: c.peer})
	}
	return out
}

// onCatchUp handles a peer's question for missing pointers.
func (n *Node) onCatchUp(from step.PeerID, m *wire.CatchUp, out step.Outputs) step.Outputs {
	if c := n.children.find(from); c != nil {
		return c.catchUp(&n.pointers, m.Since, out)
	}
	if n.root != nil {
		n.root.rescues.used(from)
	}
	if !n.shadows.has(from) && !n.swarm.ExchangesWith(n.peers[from]) {
		return out
	}
	out, last, more := n.pointers.sendPage(from, n.cfg.Self.Region, m.Since, out)
	if m.Paged {
		return send(from, &wire.Page{Last: last, More: more}, out)
	}
	return out
}

// congested stops relaying to a child that does not keep up. When the child has taken
// what waits for it, the child is sent the newest state of what it missed: of several
// changes to one config, the last.
func (n *Node) congested(peer step.PeerID, out step.Outputs) step.Outputs {
	child := n.children.find(peer)
	if child == nil || child.behind {
		return out
	}
	child.behind = true
	// Other pointers of the newest revision may be yet to come, and at a leader pointers may wait to leave.
	unsent := n.outbox.oldest(child.region, n.pointers.revisions[child.region])
	child.since = max(unsent, 1) - 1
	out = append(out, step.Output{Op: step.OpSlow, Peer: peer})
	return append(out, step.Output{Op: step.OpAwaitDrain, Peer: peer})
}

// drained sends the next page of missed pointers to a child that was behind.
func (c children) drained(peer step.PeerID, p *pointers, out step.Outputs) step.Outputs {
	child := c.find(peer)
	if child == nil || !child.behind {
		return out
	}
	return child.catchUp(p, child.since, out)
}

// onAttach takes a peer as a child and sends the missed pointers.
func (n *Node) onAttach(now step.Time, from step.PeerID, m *wire.Attach, out step.Outputs) step.Outputs {
	if reason := n.refuseChild(from, m); reason != "" {
		return send(from, &wire.Rejected{Reason: reason}, out)
	}
	if n.root == nil && !n.Attached() {
		later := uint32(orphanDelay.Milliseconds())
		return send(from, &wire.Rejected{Reason: "has no parent itself", After: later}, out)
	}
	who := n.peers[from]
	out = n.replaceChild(from, who, out)
	n.shadows.forget(from)
	member := wire.Member{Index: m.Index, Name: who.Name, Description: m.Description, Children: m.Children}
	n.children = append(n.children, child{
		peer:   from,
		region: who.Region,
		role:   who.Role,
		member: member,
		seen:   m.Since,
		relays: m.Children > 0,
	})
	out = send(from, &wire.Attached{Path: n.up.pathOfChildren()}, out)
	n.circles.change(now)
	if who.Role == wire.RoleAgent {
		n.families.changed(now)
		out = n.enroll(now, from, member, out)
	}
	if n.root != nil && n.root.recovering {
		out = n.askForPage(from, 0, out)
	}
	return n.children[len(n.children)-1].catchUp(&n.pointers, m.Since, out)
}

// refuseChild returns the reason why a peer can't be a child; "" for no reason.
func (n *Node) refuseChild(from step.PeerID, m *wire.Attach) string {
	who, linked := n.peers[from]
	switch {
	case !linked || from == n.up.parent || from == n.up.seedPeer:
		return "not a peer that may attach"
	case !n.cfg.Relay && n.root == nil:
		return "not a relay"
	case who.Role == wire.RoleAgent && n.up.isBelow(m.Index):
		return "is below the one that asks"
	case who.Role != wire.RoleCoordinator && who.Region != n.cfg.Self.Region:
		return "this node is of region " + n.cfg.Self.Region
	}
	if who.Role == wire.RoleCoordinator {
		if reason := n.cfg.refuseFollower(who); reason != "" {
			return reason
		}
	}
	if len(n.children) >= wire.MaxChildren && n.children.find(from) == nil {
		return "no room for more children"
	}
	return ""
}

// refuseFollower returns the reason why another coordinator can't follow; "" for no reason.
func (c *Config) refuseFollower(who wire.Identity) string {
	switch {
	case !c.leads():
		return "this coordinator follows another itself"
	case who == c.Self:
		return "this coordinator is " + who.Name + " itself"
	}
	return ""
}

// replaceChild drops an older link of the node that attaches: the node came back before
// the loss of that link was noticed.
func (n *Node) replaceChild(from step.PeerID, who wire.Identity, out step.Outputs) step.Outputs {
	i := slices.IndexFunc(n.children, func(c child) bool { return n.peers[c.peer] == who })
	if i < 0 {
		return out
	}
	old := n.removeChild(i)
	if old.peer == from {
		return out
	}
	return n.peers.drop(old.peer, "replaced by a newer link", out)
}

// removeChild removes the child at a position, with the child's requests.
func (n *Node) removeChild(i int) child {
	c := n.children[i]
	n.children = slices.Delete(n.children, i, i+1)
	delete(n.circles.broods, c.peer)
	n.swarm.CancelRequests(c.peer)
	return c
}

// loseChild removes a child whose link is down, and reports the loss to the planner.
func (n *Node) loseChild(now step.Time, peer step.PeerID, out step.Outputs) step.Outputs {
	i := n.children.index(peer)
	if i < 0 {
		return out
	}
	gone := n.removeChild(i)
	n.circles.change(now)
	if gone.role != wire.RoleAgent {
		return out
	}
	n.families.changed(now)
	if n.root != nil {
		n.root.planner.LeaveRoot(now, gone.member.Index)
		return n.root.reportPlaced(out)
	}
	m := &wire.Gone{Parent: n.up.index - 1, Agents: []uint32{gone.member.Index}}
	return n.reports.send(&n.up, m, out)
}

// tellCircle sends the child's circle, unless the circle was sent before.
func (c *child) tellCircle(circle *wire.Circle, out step.Outputs) step.Outputs {
	if circle.Equal(c.circle) {
		return out
	}
	c.circle = circle
	return send(c.peer, circle, out)
}

// tellFollowers assigns the followers to circles of their own.
func (c children) tellFollowers(feeders []wire.Location, out step.Outputs) step.Outputs {
	var followers []wire.Location
	for i := range c {
		if c[i].role == wire.RoleCoordinator {
			followers = append(followers, wire.Location{Name: c[i].member.Name, Addr: c[i].member.Addr})
		}
	}
	for _, circle := range tree.Arrange(followers, feeders) {
		for i := range c {
			if circle.Has(c[i].member.Name) {
				out = c[i].tellCircle(circle, out)
			}
		}
	}
	return out
}
