package tree

import (
	"cmp"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/record"
)

// Orphan is an attached agent that news does not seem to reach.
type Orphan struct {
	Index uint32
	Name  string
	Addr  string
}

// Orphans returns agents that have not answered the pointer of config at a position, although they
// subscribe to the config, and whose parent has not answered either: the parent may be dead. Of a
// branch that is cut off, Orphans returns the topmost agents, since news reaches the others through
// them, and it goes on below those that tried reports. At most limit agents are returned, those
// with the most children first. waiting is the number of agents without an answer; 0 also if the
// pointer was replaced.
func (q *Quarantine) Orphans(
	config string, at record.Position, tried map[uint32]bool, limit int,
) (orphans []Orphan, waiting int) {
	a := q.answers[config]
	if a == nil || a.position != at {
		return nil, 0
	}
	missing := roaring.AndNot(q.planner.tally.present, a.from)
	var found []*place
	for each := missing.Iterator(); each.HasNext() && waiting < maxLooks; {
		c := q.planner.places[each.Next()]
		if !c.Subscriptions.Include(config) {
			continue
		}
		waiting++
		if !tried[c.index] && cutOff(c, config, missing, tried) {
			found = append(found, c)
		}
	}
	slices.SortStableFunc(found, func(x, y *place) int { return cmp.Compare(y.children, x.children) })
	for _, c := range found[:min(limit, len(found))] {
		orphans = append(orphans, Orphan{Index: c.index, Name: c.name, Addr: c.Addr})
	}
	return orphans, waiting
}

// cutOff reports whether the parent of c has not answered, and is the topmost agent of its branch
// that has not, or was tried in vain. Agents that do not subscribe do not answer, and are passed
// over.
func cutOff(c *place, config string, missing *roaring.Bitmap, tried map[uint32]bool) bool {
	parent := subscriberAbove(c, config)
	if parent == nil || !missing.Contains(parent.index) {
		return false
	}
	above := subscriberAbove(parent, config)
	return above == nil || !missing.Contains(above.index) || tried[parent.index]
}

// subscriberAbove returns the nearest agent above c that subscribes to config; nil if there is none.
func subscriberAbove(c *place, config string) *place {
	for p := c.parent; p != nil && p.parent != nil; p = p.parent {
		if p.Subscriptions.Include(config) {
			return p
		}
	}
	return nil
}
