package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// roster is what a node has to tell the planner of its subtree: who came to it
// without being sent, who went. Messages wait here while there is no parent.
type roster struct {
	members []wire.Member  // own children to be told of
	waiting []wire.Message // from below, and own ones
	flushAt step.Time
}

// sendUp sends a message toward the planner, now or when there is a parent again.
// Past MaxUpward the oldest are dropped: a roll call finds what they said.
func (n *Node) sendUp(m wire.Message, out []step.Output) []step.Output {
	if n.up.state == upAttached {
		return append(out, step.Output{Op: step.OpSend, Peer: n.up.parent, Message: m})
	}
	if len(n.roster.waiting) >= MaxUpward {
		n.roster.waiting = slices.Delete(n.roster.waiting, 0, 1)
	}
	n.roster.waiting = append(n.roster.waiting, m)
	return out
}

// enroll notes a new child for the planner. At the root the planner is here; if it
// knows fewer children of that agent than the agent has, it calls the roll: it is
// younger than the tree.
func (n *Node) enroll(now step.Time, from step.PeerID, m wire.Member, children uint32, out []step.Output) []step.Output {
	if n.root == nil {
		n.tellOf(now, m)
		return out
	}
	n.root.planner.AdoptRoot(now, m)
	if int(children) > n.root.planner.Children(m.Index) {
		out = append(out, step.Output{Op: step.OpSend, Peer: from, Message: &wire.RollCall{}})
	}
	return n.root.reportPlaced(out)
}

// tellOf notes a child, to be told of with others.
func (n *Node) tellOf(now step.Time, m wire.Member) {
	n.roster.members = append(n.roster.members, m)
	if n.roster.flushAt == step.Never {
		n.roster.flushAt = now + ackDelay
	}
}

// flushRoster tells of the children noted.
func (n *Node) flushRoster(out []step.Output) []step.Output {
	n.roster.flushAt = step.Never
	for chunk := range slices.Chunk(n.roster.members, wire.MaxMembers) {
		out = n.sendUp(&wire.Adopted{Parent: n.up.index - 1, Members: slices.Clone(chunk)}, out)
	}
	n.roster.members = nil
	return out
}

// tellPlanner sends what waited for a parent, and an accusation.
func (n *Node) tellPlanner(out []step.Output) []step.Output {
	waiting := n.roster.waiting
	n.roster.waiting = nil
	for _, m := range waiting {
		out = append(out, step.Output{Op: step.OpSend, Peer: n.up.parent, Message: m})
	}
	if n.up.accuse != "" {
		out = append(out, step.Output{Op: step.OpSend, Peer: n.up.parent, Message: &wire.Accusation{Accuser: n.up.index - 1, Name: n.up.accuse}})
		n.up.accuse = ""
	}
	return out
}

// adopted hears from a child of agents in its subtree.
func (n *Node) adopted(now step.Time, from step.PeerID, m *wire.Adopted, out []step.Output) []step.Output {
	i := n.childIndex(from)
	if i < 0 || n.children[i].role != wire.RoleAgent {
		return out
	}
	if n.root == nil {
		// Who sent it may be among the children yet to be told of, and must be known first.
		return n.sendUp(m, n.flushRoster(out))
	}
	unknown := false
	for _, member := range m.Members {
		n.root.planner.Adopt(now, member, m.Parent)
		unknown = unknown || int(member.Children) > n.root.planner.Children(member.Index)
	}
	if unknown { // it brought a subtree from before this planner was
		out = append(out, step.Output{Op: step.OpSend, Peer: from, Message: &wire.RollCall{}})
	}
	return n.root.reportPlaced(out)
}

// rollCalled tells of all children, and has them do the same.
func (n *Node) rollCalled(now step.Time, from step.PeerID, m *wire.RollCall, out []step.Output) []step.Output {
	if from != n.up.parent || n.up.state != upAttached {
		return out
	}
	for i := range n.children {
		if c := &n.children[i]; c.role == wire.RoleAgent {
			member := c.member
			member.Children = 0 // they answer for themselves
			n.tellOf(now, member)
			out = append(out, step.Output{Op: step.OpSend, Peer: c.peer, Message: m})
		}
	}
	return out
}

// accused passes an accusation on to the planner.
func (n *Node) accused(from step.PeerID, m *wire.Accusation, out []step.Output) []step.Output {
	if n.childIndex(from) < 0 {
		return out
	}
	if n.root == nil {
		return n.sendUp(m, out)
	}
	n.root.planner.Accuse(m.Accuser, m.Name)
	return append(out, step.Output{Op: step.OpAccused, Peer: from, Reason: m.Name})
}

// isBelow tells whether this node hangs on the agent of that index, or is it.
func (n *Node) isBelow(index uint32) bool {
	if n.root != nil {
		return false
	}
	return n.up.index != 0 && n.up.index-1 == index || slices.Contains(n.path, index)
}

// pathOfChildren is the way from the root to this node's children.
func (n *Node) pathOfChildren() []uint32 {
	if n.root != nil {
		return nil
	}
	return append(slices.Clone(n.path), n.up.index-1)
}

// setPath takes the way from the root, and tells those below if it is another.
func (n *Node) setPath(path []uint32, out []step.Output) []step.Output {
	if slices.Equal(n.path, path) {
		return out
	}
	n.path = path
	if n.root != nil || len(path) >= wire.MaxPath {
		return out
	}
	m := &wire.Attached{Path: n.pathOfChildren()}
	for i := range n.children {
		if n.children[i].role == wire.RoleAgent {
			out = append(out, step.Output{Op: step.OpSend, Peer: n.children[i].peer, Message: m})
		}
	}
	return out
}
