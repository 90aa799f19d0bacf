package tree

import (
	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// place is an agent's place in the tree. The root has a place too.
//
// A place is attached if its path leads to the root over places that have not left. The
// places below a relay that left are not attached until they are adopted elsewhere, or the
// relay comes back with them.
type place struct {
	index uint32
	name  string
	wire.Description
	slots int // largest number of children

	parent     *place // nil for the root, and for an agent without a parent
	children   int    // including gone children with a kept place
	firstChild *place // the children are a list, in no particular order
	prev, next *place // siblings in that list
	shadows    int    // agents with this agent as a backup
	backups    []*place

	branch *place    // the child of the root above the place, or the place itself; nil if not attached
	hops   int       // number of hops from the root, if attached
	size   int       // of a child of the root: number of attached agents in its branch
	lostAt step.Time // when the place was last detached from the root, or made, if not attached

	since     step.Time // when the agent joined last
	changed   step.Time // when the agent was last reported to have come to its parent, or to have left
	confirmed bool      // the parent has reported the agent as its child
	// waitsSince is when the agent was put off first, because no relay had room yet; 0 if it does
	// not wait.
	waitsSince step.Time
	gone       bool      // the agent left; its place is kept
	listBy     step.Time // when the agent must have listed its children, if it has any

	flaps  int       // short stays in a row
	flapAt step.Time // end of the last short stay

	doubted  step.Time // until then the agent gets no children
	confined bool      // in quarantine
	accuser  *place    // the agent that accused this one; nil for none

	// others are the instances of the agent's identity before the present one, the oldest first.
	others   []instance
	clonedAt step.Time // last sign of two live instances; 0 for none

	offer   uint32 // number of the valid entry in Planner.rooms; 0 for none
	relayAt int    // position in Planner.relays, plus 1; 0 if absent
	gossips bool   // in the gossip pool
}

// location returns where to reach the place. The location of the root is empty, because
// the root is the sender of a Placement.
func (c *place) location() wire.Location { return wire.Location{Name: c.name, Addr: c.Addr} }

func (c *place) zone() string { return c.Labels[wire.ZoneLabel] }

// eligible reports whether the agent may have children.
func (c *place) eligible() bool { return c.Relay && !c.confined && c.accuser == nil }

// attached reports whether the agent has a path to the root.
func (c *place) attached() bool { return c.branch != nil }

// isBelow reports whether c is ancestor, or hangs below ancestor.
func (c *place) isBelow(ancestor *place) bool {
	for ; c != nil; c = c.parent {
		if c == ancestor {
			return true
		}
	}
	return false
}

// link makes c a child of parent.
func (c *place) link(parent *place) {
	c.parent = parent
	c.next = parent.firstChild
	c.prev = nil
	if c.next != nil {
		c.next.prev = c
	}
	parent.firstChild = c
	parent.children++
}

// unlink takes c off its parent.
func (c *place) unlink() {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		c.parent.firstChild = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.parent.children--
	c.parent = nil
	c.prev = nil
	c.next = nil
}

// walk calls visit for top and the places below, parents first. Below a place for which visit
// returns false, nothing is visited.
func (top *place) walk(visit func(*place) bool) {
	c := top
	for {
		if visit(c) && c.firstChild != nil {
			c = c.firstChild
			continue
		}
		for c != top && c.next == nil {
			c = c.parent
		}
		if c == top {
			return
		}
		c = c.next
	}
}
