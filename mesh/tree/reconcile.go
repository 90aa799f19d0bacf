package tree

import "banyan/mesh/step"

// Reconcile corrects the children that the planner has for an agent by the agent's own list. Adopt
// and Leave report single changes, and such a report can be lost with the link that carries it.
//
// top is the index of the child of the root from whose branch the list came. A list of an agent that
// the planner does not know in that branch changes nothing: no agent speaks for agents of another
// branch. Within its branch, an agent at the top can lie.
//
// Reconcile returns the indices of agents that must be described by an Adopt, because the planner
// does not know them, or knows them elsewhere. A list alone moves no agent: a list has indices and no
// names, and after the coordinator's store was restored from an older copy two agents may have one
// index.
//
// An agent that changed its place within settleTime is not corrected, because the list may be older
// than the change.
func (p *Planner) Reconcile(now step.Time, top, parent uint32, children []uint32) (undescribed []uint32) {
	c := p.below(top, parent)
	if c == nil {
		return []uint32{parent}
	}
	return p.reconcile(now, c, children)
}

// ReconcileRoot is like Reconcile, for the children of the root.
func (p *Planner) ReconcileRoot(now step.Time, children []uint32) (undescribed []uint32) {
	return p.reconcile(now, &p.root, children)
}

func (p *Planner) reconcile(now step.Time, parent *place, children []uint32) (undescribed []uint32) {
	p.now = now
	parent.listBy = now + listTime
	listed := make(map[uint32]bool, len(children))
	for _, index := range children {
		twice := listed[index] // two children have one index
		listed[index] = true
		if twice || !p.confirm(now, parent, index) {
			undescribed = append(undescribed, index)
		}
	}
	for c := parent.firstChild; c != nil; c = c.next {
		if !listed[c.index] && !c.gone && now-c.changed >= settleTime {
			p.lose(now, c)
		}
	}
	p.expire(now)
	return undescribed
}

// confirm notes that parent lists the agent with the given index among its children. It reports
// whether that agrees with the planner's picture, or is too new or too old to be judged.
func (p *Planner) confirm(now step.Time, parent *place, index uint32) bool {
	c := p.places[index]
	switch {
	case c == nil:
		return false
	case c.parent == parent && !c.gone:
		c.confirmed = true
		p.offer(c)
		return true
	case c.attached() && c.hasInstanceBelow(parent):
		return true
	}
	return now-c.changed < settleTime
}

// below returns the place of the agent with the given index if the agent is attached in the branch
// whose topmost agent has the index top; nil otherwise.
func (p *Planner) below(top, index uint32) *place {
	c := p.places[index]
	if c == nil || !c.attached() || c.branch != p.places[top] {
		return nil
	}
	return c
}

// Silent returns the agents that have not listed their children in time, by the index of the topmost
// agent of their branch. An agent that has lost its last child lists its children only once, and that
// list may be lost. The planner expects a list of each of these agents anew.
func (p *Planner) Silent(now step.Time) map[uint32][]uint32 {
	silent := map[uint32][]uint32{}
	p.root.walk(func(c *place) bool {
		if c.children > 0 && c.attached() && c != &p.root && now >= c.listBy {
			c.listBy = now + listSoon
			silent[c.branch.index] = append(silent[c.branch.index], c.index)
		}
		return !c.gone
	})
	return silent
}
