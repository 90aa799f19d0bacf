package tree

import (
	"container/heap"
	"slices"

	"banyan/mesh/step"
)

// rooms holds the places that may have room for a child, by zone. Each zone has a heap
// in which the place nearest to the root, and the oldest of those, is on top. An entry
// may be stale; nearest checks an entry when the entry is on top.
type rooms struct {
	byZone map[string]*roomHeap
	zones  []string // in the order in which the zones were first seen
}

// zone returns the heap of a zone.
func (r *rooms) zone(zone string) *roomHeap {
	h := r.byZone[zone]
	if h != nil {
		return h
	}
	if r.byZone == nil {
		r.byZone = map[string]*roomHeap{}
	}
	if len(r.zones) >= maxZones {
		return r.byZone[r.zones[0]]
	}
	h = &roomHeap{}
	r.byZone[zone] = h
	r.zones = append(r.zones, zone)
	return h
}

// roomEntry is a place with room at the time of the offer, with the depth and age that
// the place had then.
type roomEntry struct {
	place *place
	depth int
	since step.Time
}

func (e *roomEntry) before(o *roomEntry) bool {
	switch {
	case e.depth != o.depth:
		return e.depth < o.depth
	case e.since != o.since:
		return e.since < o.since
	}
	return e.place.index < o.place.index
}

// roomHeap implements heap.Interface.
type roomHeap []roomEntry

func (h roomHeap) Len() int           { return len(h) }
func (h roomHeap) Less(i, j int) bool { return h[i].before(&h[j]) }
func (h roomHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *roomHeap) Push(x any)        { *h = append(*h, x.(roomEntry)) }
func (h *roomHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// offer enters a place into rooms if the place has room and has no entry yet.
func (p *Planner) offer(c *place) {
	if c.offered || !p.hasRoom(c) {
		return
	}
	depth, attached := p.depth(c)
	if !attached {
		return // attach offers the place
	}
	c.offered = true
	heap.Push(p.rooms.zone(c.zone()), roomEntry{c, depth, c.since})
}

// findParent returns the place with room that is nearest to the root. The place is not
// agent, not below agent, and not to be avoided. A place in the agent's own zone is
// preferred if that place is at most one hop deeper than the nearest. The root takes an
// agent for which there is no other place.
func (p *Planner) findParent(agent *place, avoid []string) *place {
	var own, best *roomEntry
	for _, zone := range p.rooms.zones {
		e := p.nearest(zone, agent, avoid)
		if zone == agent.zone() {
			own = e
		}
		if e != nil && (best == nil || e.before(best)) {
			best = e
		}
	}
	switch {
	case best == nil:
		return &p.root
	case own != nil && own.depth <= best.depth+1 && best.place != &p.root:
		return own.place
	}
	return best.place
}

// nearest returns the first entry of a zone that may have agent as a child; nil if
// there is none. Stale entries that nearest meets are corrected or removed.
func (p *Planner) nearest(zone string, agent *place, avoid []string) *roomEntry {
	var found *roomEntry
	h := p.rooms.byZone[zone]
	var skipped []roomEntry
	for h.Len() > 0 && len(skipped) < maxSkipped {
		e := (*h)[0]
		c := e.place
		if !p.hasRoom(c) {
			heap.Pop(h)
			c.offered = false
			continue
		}
		depth, attached := p.depth(c)
		if attached && (depth != e.depth || c.since != e.since) {
			heap.Pop(h)
			heap.Push(h, roomEntry{c, depth, c.since})
			continue
		}
		if attached && p.cfg.MaxDepth > 0 && depth >= p.cfg.MaxDepth {
			break // all further entries are as deep, or deeper
		}
		if attached && p.mayHaveChild(c, agent) && (c == &p.root || !slices.Contains(avoid, c.name)) {
			found = &e
			break
		}
		heap.Pop(h)
		skipped = append(skipped, e)
	}
	for _, e := range skipped {
		heap.Push(h, e)
	}
	return found
}

func (p *Planner) hasRoom(c *place) bool {
	known := c == &p.root || p.places[c.index] == c
	return known && c.eligible() && c.children < c.slots
}

// mayHaveChild reports whether c may become the parent of agent. c must not be below agent.
func (p *Planner) mayHaveChild(c, agent *place) bool {
	if c == &p.root {
		return true
	}
	return c != agent && c.eligible() && !c.gone && p.now >= c.doubted && !c.isBelow(agent)
}

// depth returns the number of hops between the root and c. attached is false if the
// path from c does not lead to the root.
func (p *Planner) depth(c *place) (hops int, attached bool) {
	for ; c != &p.root; c = c.parent {
		if c.parent == nil {
			return 0, false
		}
		hops++
	}
	return hops, true
}
