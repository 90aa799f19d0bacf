package tree

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// tally counts the attached agents of a planner. Every change of the tree updates the counts, so
// that a census need not look at every agent.
type tally struct {
	agents    int
	present   *roaring.Bitmap // indices
	labels    map[label]uint32
	audiences map[wire.Subscriptions]uint32 // without agents that subscribe to everything
	waves     map[waveKey]*wave
	changes   uint64 // number of agents that were added or removed so far
}

type label struct{ key, value string }

// waveKey identifies a pointer of the planner's region.
type waveKey struct {
	config   string
	position record.Position
}

// wave counts the subscribers of a config whose pointer has a candidate, and those of them
// that are in the pointer's wave.
type wave struct {
	pointer        *record.Pointer
	agents, inWave int
	asked          bool // by the present census
}

func newTally() tally {
	return tally{
		present:   roaring.New(),
		labels:    map[label]uint32{},
		audiences: map[wire.Subscriptions]uint32{},
		waves:     map[waveKey]*wave{},
	}
}

// add counts an agent that became attached.
func (t *tally) add(c *place) {
	t.agents++
	t.changes++
	t.present.Add(c.index)
	for key, value := range c.Labels {
		t.labels[label{key, value}]++
	}
	if c.Subscriptions != "" {
		t.audiences[c.Subscriptions]++
	}
	for _, w := range t.waves {
		w.count(c, 1)
	}
}

// remove takes back what add counted. The description must be the one that was added.
func (t *tally) remove(c *place) {
	t.agents--
	t.changes++
	t.present.Remove(c.index)
	for key, value := range c.Labels {
		decrement(t.labels, label{key, value})
	}
	if c.Subscriptions != "" {
		decrement(t.audiences, c.Subscriptions)
	}
	for _, w := range t.waves {
		w.count(c, -1)
	}
}

func decrement[K comparable](counts map[K]uint32, key K) {
	counts[key]--
	if counts[key] == 0 {
		delete(counts, key)
	}
}

// count adds n agents like c.
func (w *wave) count(c *place, n int) {
	if !c.Subscriptions.Include(w.pointer.Config) {
		return
	}
	w.agents += n
	if w.pointer.Wave.Covers(w.pointer.Config, c.name, c.Labels) {
		w.inWave += n
	}
}

// connect notes that a place, whose parent is attached, has a path to the root, and with it
// the places below.
func (p *Planner) connect(now step.Time, top *place) {
	top.walk(func(c *place) bool {
		if c.gone {
			return false
		}
		p.lapsing.remove(c)
		p.forgetting.remove(c)
		c.listBy = now + listSoon // lists may have been lost while there was no path
		c.hops = c.parent.hops + 1
		c.branch = c.parent.branch
		if c.parent == &p.root {
			c.branch = c
			c.size = 0
		}
		c.branch.size++
		p.tally.add(c)
		p.listRelay(c)
		p.offer(c)
		return true
	})
}

// disconnect notes that the path from a place to the root is broken, and with it the paths of
// the places below. Places that are not attached again within the grace time lose their parent.
func (p *Planner) disconnect(now step.Time, top *place) {
	top.walk(func(c *place) bool {
		if !c.attached() {
			return false
		}
		p.tally.remove(c)
		p.unlistRelay(c)
		c.offer = 0
		c.branch.size--
		c.branch = nil
		c.lostAt = now
		p.lapsing.push(c)
		return true
	})
}

// expire takes away the places of agents whose grace time has ended or whom no parent has reported
// within confirmTime, and forgets agents that have not been attached for forgetAfter.
func (p *Planner) expire(now step.Time) {
	for c := p.unconfirmed.first(); c != nil && now >= c.since+confirmTime; c = p.unconfirmed.first() {
		p.unconfirmed.remove(c)
		if !c.confirmed && !c.gone && c.parent != nil {
			p.lose(now, c)
		}
	}
	for c := p.lapsing.first(); c != nil && now >= c.lostAt.Add(p.cfg.Grace); c = p.lapsing.first() {
		p.lapsing.remove(c)
		p.detach(now, c)
		p.retireFromGossip(c)
		p.forgetting.push(c)
	}
	for c := p.forgetting.first(); c != nil && now >= c.lostAt+forgetAfter; c = p.forgetting.first() {
		p.forget(now, c)
	}
}

// forget frees the place of an agent. An agent that comes back later keeps its index.
func (p *Planner) forget(now step.Time, c *place) {
	p.orphan(now, c)
	p.detach(now, c)
	p.retireFromGossip(c)
	for _, b := range c.backups {
		b.shadows--
	}
	c.backups = nil
	for i, s := range p.suspects {
		if s == c {
			p.pardon(i)
			break
		}
	}
	p.doubles = slices.DeleteFunc(p.doubles, func(d *place) bool { return d == c })
	p.unconfirmed.remove(c)
	p.lapsing.remove(c)
	p.forgetting.remove(c)
	delete(p.places, c.index)
	delete(p.byName, c.name)
}

// orphan removes the children of an agent whose process was replaced, or that is forgotten.
func (p *Planner) orphan(now step.Time, c *place) {
	for c.firstChild != nil {
		p.detach(now, c.firstChild)
	}
}

// listRelay makes an attached relay a possible backup.
func (p *Planner) listRelay(c *place) {
	if !c.Relay || c.relayAt != 0 {
		return
	}
	p.relays = append(p.relays, c)
	c.relayAt = len(p.relays)
}

func (p *Planner) unlistRelay(c *place) {
	if c.relayAt == 0 {
		return
	}
	last := p.relays[len(p.relays)-1]
	p.relays[c.relayAt-1] = last
	last.relayAt = c.relayAt
	p.relays = p.relays[:len(p.relays)-1]
	c.relayAt = 0
}
