package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// rollCalls holds the questions of a root to the subtrees of its children, for up to rollCallDelay. A
// question that finds no room, or no answer, is asked again: the next list of children shows what is
// unknown, and silent agents stay silent.
type rollCalls struct {
	waiting []rollCall // at most one for each child
	flushAt step.Time
	checkAt step.Time // when the root looks for silent agents; step.Never without agents
}

type rollCall struct {
	child   step.PeerID
	message *wire.RollCall
}

func newRollCalls() rollCalls { return rollCalls{flushAt: step.Never, checkAt: step.Never} }

func (r *rollCalls) deadline() step.Time { return min(r.flushAt, r.checkAt) }

// watch makes the root look for silent agents from now on.
func (r *rollCalls) watch(now step.Time) { r.checkAt = min(r.checkAt, now+silentPeriod) }

// to returns the message that waits for a child.
func (r *rollCalls) to(now step.Time, child step.PeerID) *wire.RollCall {
	r.flushAt = min(r.flushAt, now+rollCallDelay)
	i := slices.IndexFunc(r.waiting, func(c rollCall) bool { return c.child == child })
	if i < 0 {
		i = len(r.waiting)
		r.waiting = append(r.waiting, rollCall{child, &wire.RollCall{}})
	}
	return r.waiting[i].message
}

// describe asks for descriptions of agents in the subtree of a child.
func (r *rollCalls) describe(now step.Time, child step.PeerID, agents ...uint32) {
	if len(agents) > 0 {
		m := r.to(now, child)
		m.Of = addUpTo(wire.MaxRollCall, m.Of, agents)
	}
}

// list asks agents in the subtree of a child to list their children.
func (r *rollCalls) list(now step.Time, child step.PeerID, agents []uint32) {
	if len(agents) > 0 {
		m := r.to(now, child)
		m.List = addUpTo(wire.MaxRollCall, m.List, agents)
	}
}

// addUpTo appends the indices that list lacks, up to a length of limit.
func addUpTo(limit int, list, indices []uint32) []uint32 {
	for _, index := range indices {
		if len(list) < limit && !slices.Contains(list, index) {
			list = append(list, index)
		}
	}
	return list
}

// flush sends the questions to those children that are still there.
func (r *rollCalls) flush(c children, out step.Outputs) step.Outputs {
	for _, question := range r.waiting {
		if c.find(question.child) != nil {
			out = send(question.child, question.message, out)
		}
	}
	r.waiting = nil
	r.flushAt = step.Never
	return out
}

// checkSilent asks the agents that have not listed their children in time to do so.
func (n *Node) checkSilent(now step.Time) {
	r := &n.root.rollCalls
	r.checkAt = step.Never
	silent := n.root.planner.Silent(now)
	for i := range n.children {
		if c := &n.children[i]; c.role == wire.RoleAgent {
			r.list(now, c.peer, silent[c.member.Index])
			r.watch(now)
		}
	}
}
