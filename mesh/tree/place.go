package tree

import (
	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// place is an agent's place in the tree. The root has a place too.
type place struct {
	index uint32
	name  string
	wire.Description
	slots int // largest number of children

	parent   *place // nil for the root, and for an agent without a parent
	children int    // including gone children with a kept place
	shadows  int    // agents with this agent as a backup
	backups  []*place

	since  step.Time // when the agent joined last
	gone   bool      // the agent left; its place is kept
	leftAt step.Time // when the agent left, if gone
	flaps  int       // short stays in a row

	doubted  step.Time // until then the agent gets no children
	confined bool      // in quarantine
	accuser  uint32    // index of the accusing agent, plus 1; 0 for none

	// others are the instances of the agent's identity before the present one, the oldest first.
	others   []instance
	clonedAt step.Time // last sign of two live instances; 0 for none

	offered bool // has an entry in Planner.rooms
	listed  bool // has an entry in Planner.relays
	gossips bool // in the gossip pool
}

// location returns where to reach the place. The location of the root is empty, because
// the root is the sender of a Placement.
func (c *place) location() wire.Location { return wire.Location{Name: c.name, Addr: c.Addr} }

func (c *place) zone() string { return c.Labels[wire.ZoneLabel] }

// eligible reports whether the agent may have children.
func (c *place) eligible() bool {
	return c.Relay && !c.confined && c.accuser == 0 && c.flaps < maxFlaps
}

// attached reports whether the agent has a parent and has not left.
func (c *place) attached() bool { return c.parent != nil && !c.gone }

// isBelow reports whether c is ancestor, or hangs below ancestor.
func (c *place) isBelow(ancestor *place) bool {
	for ; c != nil; c = c.parent {
		if c == ancestor {
			return true
		}
	}
	return false
}

// countFlap counts the stay that has just ended, if the stay was short.
func (c *place) countFlap(now step.Time) {
	end := now
	if c.gone {
		end = c.leftAt
	}
	stay := end - c.since
	switch {
	case stay >= steadyStay:
		c.flaps = 0
	case stay < flapStay:
		c.flaps++
	}
}
