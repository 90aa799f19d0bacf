package tree

import (
	"slices"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// cloneMemory is the time for which an agent counts as cloned after the last sign of a second live
// instance. It is longer than the time within which instances that push each other out of one place
// come back.
const cloneMemory = step.Time(2 * time.Minute)

// instance is a process that runs with an agent's identity.
type instance struct {
	id     uint64
	addr   string
	parent *place // the last known parent of the instance; nil if the link to it is gone
	// replaced is the time at which another instance took the place of this one.
	replaced step.Time
	// gone is true if the instance has no link, and has not come back within cloneMemory.
	gone bool
}

// Clone reports that two live instances of one identity were noticed.
type Clone struct {
	Agent string
	// Addrs are the addresses of the two instances.
	Addrs [2]string
}

// meet notes the instance that a description of an agent comes from. An instance that was
// replaced by another does not come back after a restart: if it does, both are live.
func (p *Planner) meet(now step.Time, agent *place, d wire.Description) {
	if d.Instance == 0 || d.Instance == agent.Instance {
		return
	}
	if agent.Instance == 0 {
		return // the first that is known
	}
	back := slices.IndexFunc(agent.others, func(o instance) bool { return o.id == d.Instance })
	if back >= 0 {
		agent.others = slices.Delete(agent.others, back, back+1)
		if agent.clonedAt == 0 {
			p.clones = append(p.clones, Clone{Agent: agent.name, Addrs: [2]string{agent.Addr, d.Addr}})
			p.doubles = append(p.doubles, agent)
		}
		agent.clonedAt = max(now, 1)
	}
	other := instance{id: agent.Instance, addr: agent.Addr, replaced: now}
	if agent.attached() {
		other.parent = agent.parent
	}
	agent.others = append(agent.others, other)
	if len(agent.others) > maxInstances {
		agent.others = slices.Delete(agent.others, 0, 1)
	}
}

// parted notes that a parent has no link to other instances of an agent any more.
func (c *place) parted(parent *place) {
	for i := range c.others {
		if c.others[i].parent == parent {
			c.others[i].parent = nil
		}
	}
}

// cloned reports whether two live instances of the agent's identity are known.
func (c *place) cloned(now step.Time) bool {
	if c.clonedAt == 0 {
		return false
	}
	return now-c.clonedAt < cloneMemory || slices.ContainsFunc(c.others, instance.live)
}

// hasInstanceBelow reports whether an instance of the agent's identity, other than the present one, was
// reported as a child of parent last.
func (c *place) hasInstanceBelow(parent *place) bool {
	return slices.ContainsFunc(c.others, func(i instance) bool { return i.parent == parent })
}

// live reports whether the instance is a child of a node that is in the tree.
func (i instance) live() bool {
	return i.parent != nil && i.parent.attached()
}

// settleClones ends the mark of agents that are cloned no longer, and notes which instances of the
// other cloned agents are gone.
func (p *Planner) settleClones(now step.Time) {
	p.doubles = slices.DeleteFunc(p.doubles, func(c *place) bool {
		if c.cloned(now) {
			for i := range c.others {
				o := &c.others[i]
				o.gone = !o.live() && now-o.replaced >= cloneMemory
			}
			return false
		}
		c.clonedAt = 0
		return true
	})
}

// TakeClones returns the clones that were noticed since the last call.
func (p *Planner) TakeClones() []Clone {
	clones := p.clones
	p.clones = nil
	return clones
}

// addrs returns the addresses of the instances of a cloned agent that are not known to be gone, the
// newest last. It returns nil for an agent without clones.
func (c *place) addrs() []string {
	if c.clonedAt == 0 {
		return nil
	}
	var all []string
	for _, o := range c.others {
		if !o.gone {
			all = append(all, o.addr)
		}
	}
	return append(all, c.Addr)
}
