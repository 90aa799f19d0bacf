package tree

import (
	"cmp"
	"container/heap"
	"slices"

	"banyan/mesh/step"
)

// rooms holds the attached places that may have room for a child, by zone, and within a zone by
// branch. The place nearest to the root, and the oldest of those, is on top of its heap. An
// entry may be out of date; peek checks an entry when the entry is on top.
type rooms struct {
	zones  []*zoneRooms // in the order in which the zones were first seen
	byName map[string]*zoneRooms
	offers uint32 // number of the last entry
}

// zoneRooms holds the places of a zone.
type zoneRooms struct {
	name     string
	branches []*roomHeap // without empty heaps
	byTop    map[*place]*roomHeap
}

// zone returns the places of a zone. Agents of zones past the limit count as agents of
// the first zone.
func (r *rooms) zone(name string) *zoneRooms {
	z := r.byName[name]
	switch {
	case z != nil:
		return z
	case len(r.zones) >= maxZones:
		return r.zones[0]
	case r.byName == nil:
		r.byName = map[string]*zoneRooms{}
	}
	z = &zoneRooms{name: name, byTop: map[*place]*roomHeap{}}
	r.byName[name] = z
	r.zones = append(r.zones, z)
	return z
}

// push adds a place.
func (z *zoneRooms) push(e roomEntry) {
	h := z.byTop[e.place.branch]
	if h == nil {
		h = &roomHeap{branch: e.place.branch}
		z.byTop[h.branch] = h
		z.branches = append(z.branches, h)
	}
	heap.Push(h, e)
}

// drop removes an empty heap. The order of the heaps does not matter: best compares them.
func (z *zoneRooms) drop(i int) {
	delete(z.byTop, z.branches[i].branch)
	last := len(z.branches) - 1
	z.branches[i] = z.branches[last]
	z.branches = z.branches[:last]
}

// roomEntry is a place with room, as the place was at the time of the offer.
type roomEntry struct {
	place  *place
	offer  uint32 // the entry is valid while the place has this offer
	hops   int
	flappy bool
	since  step.Time
}

// compare orders places of one branch: steady places before others, then those nearest to the root,
// then the oldest.
func (e *roomEntry) compare(o *roomEntry) int {
	switch {
	case e.flappy && !o.flappy:
		return 1
	case !e.flappy && o.flappy:
		return -1
	}
	return cmp.Or(
		cmp.Compare(e.hops, o.hops),
		cmp.Compare(e.since, o.since),
		cmp.Compare(e.place.index, o.place.index))
}

// compareAcross orders places of different branches: at equal distance from the root, the place in
// the smaller branch comes first, so that branches grow alike.
func (e *roomEntry) compareAcross(o *roomEntry) int {
	if e.flappy == o.flappy && e.hops == o.hops && e.place.branch.size != o.place.branch.size {
		return cmp.Compare(e.place.branch.size, o.place.branch.size)
	}
	return e.compare(o)
}

// roomHeap holds places of one zone and branch. It implements heap.Interface.
type roomHeap struct {
	branch  *place // the root, for the root itself
	entries []roomEntry
}

func (h *roomHeap) Len() int           { return len(h.entries) }
func (h *roomHeap) Less(i, j int) bool { return h.entries[i].compare(&h.entries[j]) < 0 }
func (h *roomHeap) Swap(i, j int)      { h.entries[i], h.entries[j] = h.entries[j], h.entries[i] }
func (h *roomHeap) Push(x any)         { h.entries = append(h.entries, x.(roomEntry)) }
func (h *roomHeap) Pop() any {
	last := h.entries[len(h.entries)-1]
	h.entries = h.entries[:len(h.entries)-1]
	return last
}

// offer enters an attached place into rooms, if the place has room and has no entry yet.
func (p *Planner) offer(c *place) {
	if c.offer != 0 || !p.hasRoom(c) {
		return
	}
	p.rooms.offers++
	c.offer = p.rooms.offers
	p.rooms.zone(c.zone()).push(roomEntry{c, c.offer, c.hops, c.flappy(p.now), c.since})
}

// findParent returns the place with room that is nearest to the root. The place is not
// agent, not below agent, and not to be avoided. A place in the agent's own zone is
// preferred if that place is at most one hop deeper than the nearest. The root takes an
// agent for which there is no other place.
func (p *Planner) findParent(agent *place, avoid []string) *place {
	var own, best roomEntry
	for _, zone := range p.rooms.zones {
		e := p.nearest(zone, agent, avoid)
		if zone.name == agent.zone() {
			own = e
		}
		best = best.orBetter(e)
	}
	switch {
	case best.place == nil:
		return &p.root
	case own.place != nil && own.flappy == best.flappy && own.hops <= best.hops+1 && best.place != &p.root:
		return own.place
	}
	return best.place
}

// nearest returns the best entry of a zone that may have agent as a child; the zero value if
// there is none.
func (p *Planner) nearest(zone *zoneRooms, agent *place, avoid []string) (best roomEntry) {
	for i := 0; i < len(zone.branches); {
		h := zone.branches[i]
		best = best.orBetter(p.peek(h, agent, avoid))
		if h.Len() == 0 {
			zone.drop(i)
			continue
		}
		i++
	}
	return best
}

// orBetter returns o if o is a better place than e. The zero value is worse than any place.
func (e roomEntry) orBetter(o roomEntry) roomEntry {
	if o.place != nil && (e.place == nil || o.compareAcross(&e) < 0) {
		return o
	}
	return e
}

// peek returns the first entry of a branch that may have agent as a child; the zero value if
// there is none. It removes entries that are out of date.
func (p *Planner) peek(h *roomHeap, agent *place, avoid []string) (found roomEntry) {
	var skipped []roomEntry
	for h.Len() > 0 && len(skipped) < maxSkipped {
		e := h.entries[0]
		c := e.place
		if c.offer != e.offer {
			heap.Pop(h)
			continue
		}
		if !p.hasRoom(c) {
			heap.Pop(h)
			c.offer = 0
			continue
		}
		if flappy := c.flappy(p.now); c.since != e.since || flappy != e.flappy {
			h.entries[0].since = c.since
			h.entries[0].flappy = flappy
			heap.Fix(h, 0)
			continue
		}
		if p.cfg.MaxDepth > 0 && c.hops >= p.cfg.MaxDepth {
			break // the further entries are as deep, or deeper, or flappy
		}
		if p.mayHaveChild(c, agent) && (c == &p.root || !slices.Contains(avoid, c.name)) {
			found = e
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

// hasRoom reports whether a place is attached, and may have one more child. A relay that has joined
// gets children when its parent has reported it: before that, it would refuse them.
func (p *Planner) hasRoom(c *place) bool {
	reported := c.confirmed || c == &p.root
	return reported && c.attached() && c.eligible() && c.children < c.slots
}

// mayHaveChild reports whether c may become the parent of agent.
func (p *Planner) mayHaveChild(c, agent *place) bool {
	if c == &p.root {
		return true
	}
	return c.attached() && c.eligible() && p.now >= c.doubted && !c.isBelow(agent)
}
