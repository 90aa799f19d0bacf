package tree

import "banyan/mesh/step"

// Reconcile corrects the children that the planner has for an agent by the agent's own list. Adopt
// and Leave report single changes, and such a report can be lost with the link that carries it.
// unknown is true if the list has an agent that the planner has no description of, and so can't place.
//
// An agent that changed its place within settleTime is not corrected, because the list may be older
// than the change.
func (p *Planner) Reconcile(now step.Time, parent uint32, children []uint32) (unknown bool) {
	c := p.places[parent]
	if c == nil {
		return false // not to be placed before the list of its own parent names it
	}
	return p.reconcile(now, c, children)
}

// ReconcileRoot is like Reconcile, for the children of the root.
func (p *Planner) ReconcileRoot(now step.Time, children []uint32) (unknown bool) {
	return p.reconcile(now, &p.root, children)
}

func (p *Planner) reconcile(now step.Time, parent *place, children []uint32) (unknown bool) {
	p.now = now
	listed := make(map[uint32]bool, len(children))
	for _, index := range children {
		listed[index] = true
		unknown = p.correct(now, parent, index) || unknown
	}
	for c := parent.firstChild; c != nil; c = c.next {
		if !listed[c.index] && !c.gone && now-c.changed >= settleTime {
			p.lose(now, c)
		}
	}
	p.expire(now)
	return unknown
}

// correct makes the agent with the given index a child of parent, which lists it. unknown is true if
// the planner does not know the agent.
func (p *Planner) correct(now step.Time, parent *place, index uint32) (unknown bool) {
	c := p.places[index]
	switch {
	case c == nil:
		return true
	case c.parent == parent && !c.gone:
		c.confirmed = true
		return false
	case now-c.changed < settleTime, parent.isBelow(c):
		return false
	case c.attached() && c.cloned(now): // its instances are children of several agents
		return false
	}
	p.detach(now, c)
	p.attach(now, c, parent)
	c.confirmed = true
	return false
}
