package tree

import "banyan/mesh/step"

// Reconcile corrects the planner's picture of an agent's children by the agent's own list. Reports
// of single changes can be lost with the link that carries them; lists make up for that. unknown
// is true if the list has an agent that the planner can't place for want of a description.
//
// A change within settleTime is not corrected: the list may be older.
func (p *Planner) Reconcile(now step.Time, parent uint32, children []uint32) (unknown bool) {
	c := p.places[parent]
	if c == nil {
		return false // the list of its own parent tells of it
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

// correct notes that parent lists the agent with the given index as its child.
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
