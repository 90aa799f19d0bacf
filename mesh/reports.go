package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// reports holds what a node reports to the coordinator about its subtree: agents that became
// children without a placement, agents that left, accusations, and changed files. Messages
// wait here while there is no parent.
type reports struct {
	members []wire.Member  // own children to report with the next Adopted
	waiting []wire.Message // from below, and the node's own
	flushAt step.Time
}

// send sends a message toward the planner, now or when there is a parent again. Past
// maxUpward messages the oldest is dropped. A roll call makes up for a lost Adopted; a lost
// Drift or Accusation is not repeated.
func (r *reports) send(u *upstream, m wire.Message, out step.Outputs) step.Outputs {
	if u.attached() {
		return send(u.parent, m, out)
	}
	if len(r.waiting) >= maxUpward {
		r.waiting = slices.Delete(r.waiting, 0, 1)
	}
	r.waiting = append(r.waiting, m)
	return out
}

// add notes a child to report, together with other children.
func (r *reports) add(now step.Time, m wire.Member) {
	r.members = append(r.members, m)
	if r.flushAt == step.Never {
		r.flushAt = now + ackDelay
	}
}

// flush reports the noted children.
func (r *reports) flush(u *upstream, out step.Outputs) step.Outputs {
	r.flushAt = step.Never
	for chunk := range slices.Chunk(r.members, wire.MaxMembers) {
		out = r.send(u, &wire.Adopted{Parent: u.index - 1, Members: slices.Clone(chunk)}, out)
	}
	r.members = nil
	return out
}

// release sends what waited for a parent, and the accusation of the previous parent, if any.
func (r *reports) release(u *upstream, out step.Outputs) step.Outputs {
	for _, m := range r.waiting {
		out = send(u.parent, m, out)
	}
	r.waiting = nil
	if u.accuse != "" {
		out = send(u.parent, &wire.Accusation{Accuser: u.index - 1, Name: u.accuse}, out)
		u.accuse = ""
	}
	return out
}

// enroll reports a new child to the planner. A root, which has the planner, calls the roll
// if the planner knows fewer children of the agent than the agent has: then the tree is
// older than the planner. An agent without children has said so, which is a complete list of them.
func (n *Node) enroll(now step.Time, from step.PeerID, m wire.Member, out step.Outputs) step.Outputs {
	if n.root == nil {
		n.reports.add(now, m)
		return out
	}
	n.root.planner.AdoptRoot(now, m)
	n.root.rollCalls.watch(now)
	switch {
	case m.Children == 0:
		n.root.planner.Reconcile(now, m.Index, m.Index, nil)
	case int(m.Children) > n.root.planner.Children(m.Index):
		n.root.rollCalls.describe(now, from, m.Index)
	}
	out = n.displace(out)
	return n.root.reportPlaced(out)
}

// onAdopted handles the report of agents that came into a child's subtree.
func (n *Node) onAdopted(now step.Time, from step.PeerID, m *wire.Adopted, out step.Outputs) step.Outputs {
	c := n.children.find(from)
	if c == nil || c.role != wire.RoleAgent {
		return out
	}
	c.relays = true
	if n.root == nil {
		// The sender may be among the children yet to report, and must be known first.
		out = n.reports.flush(&n.up, out)
		return n.reports.send(&n.up, m, out)
	}
	for _, member := range m.Members {
		if !n.root.planner.Adopt(now, c.member.Index, member, m.Parent) {
			n.root.rollCalls.describe(now, from, m.Parent)
			break
		}
		if int(member.Children) > n.root.planner.Children(member.Index) { // its subtree is older than the planner
			n.root.rollCalls.describe(now, from, member.Index)
		}
	}
	out = n.displace(out)
	return n.root.reportPlaced(out)
}

// displace tells agents to give up the indices that two of them have.
func (n *Node) displace(out step.Outputs) step.Outputs {
	for _, index := range n.root.planner.TakeDisplaced() {
		out = n.children.sendDown(n.cfg.Self.Region, &wire.Displaced{Index: index}, out)
	}
	return out
}

// onDisplaced passes a displacement on to the children. If the node has the displaced index, the node
// gives the index up: it joins again without an index, and acknowledges what it runs under the index
// that it is given.
func (n *Node) onDisplaced(now step.Time, from step.PeerID, m *wire.Displaced, out step.Outputs) step.Outputs {
	if !n.up.isParent(from) || n.root != nil {
		return out
	}
	out = n.children.sendDown(n.cfg.Self.Region, m, out)
	if n.up.index != m.Index+1 {
		return out
	}
	n.setIndex(0)
	return n.up.retreat(now, "another agent has the same index", out)
}

// onGone handles the report of agents that left a child's subtree.
func (n *Node) onGone(now step.Time, from step.PeerID, m *wire.Gone, out step.Outputs) step.Outputs {
	c := n.children.find(from)
	if c == nil || c.role != wire.RoleAgent {
		return out
	}
	if n.root == nil {
		return n.reports.send(&n.up, m, out)
	}
	for _, index := range m.Agents {
		n.root.planner.Leave(now, c.member.Index, index, m.Parent)
	}
	return n.root.reportPlaced(out)
}

// onRollCall answers a roll call, and passes the rest of the question on to the children.
func (n *Node) onRollCall(now step.Time, from step.PeerID, m *wire.RollCall, out step.Outputs) step.Outputs {
	if !n.up.isParent(from) || n.root != nil {
		return out
	}
	own := n.up.index - 1
	if slices.Contains(m.List, own) {
		n.families.listNow(now)
	}
	below := &wire.RollCall{
		Of:   without(m.Of, own),
		All:  m.All || slices.Contains(m.Of, own),
		List: without(m.List, own),
	}
	for i := range n.children {
		c := &n.children[i]
		if c.role != wire.RoleAgent {
			continue
		}
		if below.All || slices.Contains(m.Of, c.member.Index) {
			member := c.member
			member.Children = 0 // the child reports its own children
			n.reports.add(now, member)
		}
		if below.All || len(below.Of) > 0 || len(below.List) > 0 {
			out = send(c.peer, below, out)
		}
	}
	return out
}

func without(list []uint32, index uint32) []uint32 {
	return slices.DeleteFunc(slices.Clone(list), func(i uint32) bool { return i == index })
}

// onAccusation passes an accusation on to the planner.
func (n *Node) onAccusation(now step.Time, from step.PeerID, m *wire.Accusation, out step.Outputs) step.Outputs {
	c := n.children.find(from)
	if c == nil || c.role != wire.RoleAgent {
		return out
	}
	if n.root == nil {
		out = n.reports.flush(&n.up, out) // the planner must know that the accuser is in this branch now
		return n.reports.send(&n.up, m, out)
	}
	n.root.planner.Accuse(c.member.Index, m.Accuser, m.Name)
	return append(out, step.Output{Op: step.OpAccused, Peer: from, Name: m.Name})
}

// reportDrift reports a changed file on this host to the coordinators.
func (n *Node) reportDrift(in step.Input, out step.Outputs) step.Outputs {
	if n.up.index == 0 {
		return out
	}
	m := &wire.Drift{
		Agent:   n.up.index - 1,
		Name:    n.cfg.Self.Name,
		Config:  in.Body.Version.Config,
		Version: in.Body.Version.Version,
		State:   in.Drift,
		Region:  n.cfg.Self.Region,
	}
	return n.reports.send(&n.up, m, out)
}

// onDrift passes a report of a changed file on to the leader. Each coordinator on the way
// takes note.
func (n *Node) onDrift(from step.PeerID, m *wire.Drift, out step.Outputs) step.Outputs {
	c := n.children.find(from)
	if c == nil || m.Region != c.region {
		return out
	}
	if n.root != nil {
		out = append(out, step.Output{Op: step.OpDrifted, Message: m})
	}
	if n.cfg.leads() {
		return out
	}
	return n.reports.send(&n.up, m, out)
}
