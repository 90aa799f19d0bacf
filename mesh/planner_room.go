package mesh

import (
	"container/heap"
	"slices"

	"banyan/mesh/step"
)

// rooms holds, by zone, the places that may have room, nearest the root and oldest
// first. Entries can be stale: what they say is checked
// when they come up.
type rooms struct {
	byZone map[string]*roomHeap
	zones  []string // in the order in which they were first seen
}

func (r *rooms) of(zone string) *roomHeap {
	h := r.byZone[zone]
	if h == nil {
		if r.byZone == nil {
			r.byZone = map[string]*roomHeap{}
		}
		if len(r.zones) >= maxZones {
			zone = r.zones[0] // more zones than there are anywhere: a label that is none
			return r.byZone[zone]
		}
		h = &roomHeap{}
		r.byZone[zone] = h
		r.zones = append(r.zones, zone)
	}
	return h
}

// maxZones bounds the number of zones that are told apart.
const maxZones = 64

// findParent returns the place with room nearest the root that is not agent, below
// agent, or to be avoided: in the agent's own zone, if that is at most a hop deeper
// than elsewhere. The root takes what fits nowhere else.
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

// nearest is the best entry of a zone that may have the agent as a child; nil if
// there is none.
func (p *Planner) nearest(zone string, agent *place, avoid []string) (found *roomEntry) {
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
			break // so are all behind it
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

// maxSkipped bounds the search past places that the agent can't have.
const maxSkipped = 256

func (p *Planner) hasRoom(c *place) bool {
	alive := c == &p.root || p.places[c.index] == c
	return alive && c.eligible() && c.children < c.slots
}

// mayHaveChild tells whether agent can hang on c without hanging on itself.
func (p *Planner) mayHaveChild(c, agent *place) bool {
	return c == &p.root || c != agent && c.eligible() && !c.gone && p.now >= c.doubted && !p.isBelow(c, agent)
}

// depth is the number of hops from the root; attached is false when the path does
// not lead there.
func (p *Planner) depth(c *place) (hops int, attached bool) {
	for ; c != &p.root; c = c.parent {
		if c.parent == nil {
			return 0, false
		}
		hops++
	}
	return hops, true
}

func (p *Planner) isBelow(c, ancestor *place) bool {
	for ; c != nil; c = c.parent {
		if c == ancestor {
			return true
		}
	}
	return false
}

// branch is the ancestor of c that hangs on the root: what is below another branch
// does not fail with it.
func (p *Planner) branch(c *place) *place {
	for c != nil && c != &p.root && c.parent != &p.root {
		c = c.parent
	}
	return c
}

// offer puts a place among those that may have room, once.
func (p *Planner) offer(c *place) {
	if c.offered || !p.hasRoom(c) {
		return
	}
	depth, attached := p.depth(c)
	if !attached {
		return // it is offered when it is attached
	}
	c.offered = true
	heap.Push(p.rooms.of(c.zone()), roomEntry{c, depth, c.since})
}

// Backups given to an agent: relays that are asked in turn, and the root.
const (
	backupRelays   = 2
	maxBackupTries = 24
)

// chooseBackups gives an agent places to go to at once when it loses its parent:
// not below it, not its parent, the first in another zone and another branch if
// such are near. The root stands at the end.
func (p *Planner) chooseBackups(agent *place, avoid []string) []*place {
	for _, old := range agent.backups {
		old.shadows--
	}
	agent.backups = nil
	strict := true
	for tries := 0; len(agent.backups) < backupRelays && tries < min(maxBackupTries, 2*len(p.relays)); tries++ {
		if tries == maxBackupTries/2 || tries == len(p.relays) {
			strict = false
		}
		p.turn = (p.turn + 1) % len(p.relays)
		c := p.relays[p.turn]
		if !p.fitsAsBackup(c, agent, avoid) {
			continue
		}
		if strict && (p.branch(c) == p.branch(agent) || len(agent.backups) == 0 && c.zone() == agent.parent.zone() && agent.parent != &p.root && len(p.rooms.zones) > 2) {
			continue
		}
		c.shadows++
		agent.backups = append(agent.backups, c)
	}
	if agent.parent == &p.root {
		return agent.backups
	}
	return append(slices.Clone(agent.backups), &p.root)
}

func (p *Planner) fitsAsBackup(c, agent *place, avoid []string) bool {
	if p.places[c.index] != c || !p.mayHaveChild(c, agent) || c == agent.parent || slices.Contains(agent.backups, c) ||
		slices.Contains(avoid, c.name) || c.shadows >= 2*c.slots {
		return false
	}
	_, attached := p.depth(c)
	return attached
}

// roomEntry is a place that had room when it was offered, at the depth it had then.
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
