package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// families holds lists of children on their way to the planner. A node with children lists them
// every familyPeriod. A relay holds its own list and the lists from below for up to familyDelay,
// so that several lists leave in one message.
type families struct {
	waiting []wire.Family
	flushAt step.Time // when the waiting lists leave
	ownAt   step.Time // when the node lists its own children
	jitter  jitter
}

func newFamilies(j jitter) families {
	return families{flushAt: step.Never, ownAt: step.Never, jitter: j}
}

func (f *families) deadline() step.Time { return min(f.flushAt, f.ownAt) }

// changed reports that the node's children have changed. The node lists its children within about
// familySoon.
func (f *families) changed(now step.Time) { f.listAfter(now, familySoon) }

// listNow makes the node list its children at the next tick.
func (f *families) listNow(now step.Time) { f.ownAt = now }

// listAfter makes the node list its children after about d, or earlier if that was planned.
func (f *families) listAfter(now, d step.Time) {
	f.ownAt = min(f.ownAt, now+f.jitter.around(d))
}

// add adds a list to those that wait. A full message leaves at once.
func (f *families) add(now step.Time, list wire.Family) {
	f.waiting = append(f.waiting, list)
	f.flushAt = min(f.flushAt, now+familyDelay)
	if len(f.waiting) >= wire.MaxFamilies {
		f.flushAt = now
	}
}

// flush sends the waiting lists toward the planner. A node without a parent drops the lists, because
// every node lists its children again within familyPeriod.
func (f *families) flush(u *upstream, out step.Outputs) step.Outputs {
	for chunk := range slices.Chunk(f.waiting, wire.MaxFamilies) {
		if u.attached() {
			out = send(u.parent, &wire.Families{Families: slices.Clone(chunk)}, out)
		}
	}
	f.waiting = nil
	f.flushAt = step.Never
	return out
}

// tickFamilies lists the node's own children and sends the waiting lists, if they are due. Children
// that are not yet reported as adopted are reported first: the planner can't place an agent that it
// knows only from a list.
func (n *Node) tickFamilies(now step.Time, out step.Outputs) step.Outputs {
	if now >= n.families.ownAt {
		n.families.ownAt = step.Never
		out = n.listChildren(now, out)
	}
	if now >= n.families.flushAt {
		out = n.reports.flush(&n.up, out)
		out = n.families.flush(&n.up, out)
	}
	return out
}

// listChildren lists the node's own children. A node without children sends one empty list, so that
// the planner learns that the last child left even if the report of that was lost.
func (n *Node) listChildren(now step.Time, out step.Outputs) step.Outputs {
	var own []uint32
	for i := range n.children {
		if n.children[i].role == wire.RoleAgent {
			own = append(own, n.children[i].member.Index)
		}
	}
	if len(own) > 0 {
		n.families.listAfter(now, familyPeriod)
	}
	if n.root != nil {
		before := n.root.planner.Changes()
		if len(n.root.planner.ReconcileRoot(now, own)) > 0 {
			n.adoptAgain(now)
		}
		return n.root.reportCorrected(before, n.displace(out))
	}
	n.families.add(now, wire.Family{Parent: n.up.index - 1, Children: own})
	return out
}

// adoptAgain tells the planner of all agents among the root's children.
func (n *Node) adoptAgain(now step.Time) {
	for i := range n.children {
		if n.children[i].role == wire.RoleAgent {
			n.root.planner.AdoptRoot(now, n.children[i].member)
		}
	}
}

// onFamilies handles lists of children from below. A root corrects its planner by the lists, and
// asks for descriptions of the agents whose place the planner does not know. Another node passes
// the lists on.
func (n *Node) onFamilies(now step.Time, from step.PeerID, m *wire.Families, out step.Outputs) step.Outputs {
	c := n.children.find(from)
	if c == nil || c.role != wire.RoleAgent {
		return out
	}
	if n.root == nil {
		for _, list := range m.Families {
			n.families.add(now, list)
		}
		return out
	}
	before := n.root.planner.Changes()
	for _, list := range m.Families {
		undescribed := n.root.planner.Reconcile(now, c.member.Index, list.Parent, list.Children)
		n.root.rollCalls.describe(now, from, undescribed...)
	}
	return n.root.reportCorrected(before, out)
}
