package mesh

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"
)

// PlannerConfig shapes a tree.
type PlannerConfig struct {
	// Fanout is how many children each node gets; 0 means 16.
	Fanout int
	// FirstIndex is the first agent index to give out. Indices below it belong to
	// agents of earlier incarnations of this coordinator.
	FirstIndex uint32
	// MaxAgents is the most agents the tree takes; 0 means 131072.
	MaxAgents int
}

// DefaultFanout is the fan-out of a tree that nobody configured.
const DefaultFanout = 16

// DefaultMaxAgents is how many agents one coordinator takes unless told otherwise.
const DefaultMaxAgents = 1 << 17

// Planner gives agents their places in a k-ary tree: as near the root as there
// is room, in the order in which they come. It is pure and not safe for
// concurrent use.
type Planner struct {
	cfg    PlannerConfig
	next   uint32
	places map[uint32]*place
	byName map[string]uint32
	root   place
	placed int // agents that have a parent
	// suspects are relays that a child left because they withheld, oldest first. They
	// are given no more children; the list is short, so that liars can't take the
	// duty from everyone.
	suspects []*place
	room     roomHeap // relays that may have room, nearest the root first; entries can be stale
}

// place is an agent's place in the tree.
type place struct {
	index    uint32
	name     string
	addr     string
	relay    bool
	labels   map[string]string
	parent   *place // nil: has none now (or is the root)
	children int
	accuser  uint32 // who accused it, plus one; 0: nobody
	offered  bool   // it stands in the planner's room heap
}

// ErrFull says that the tree takes no more agents.
var ErrFull = errors.New("the tree is full")

// NewPlanner makes a planner of an empty tree.
func NewPlanner(cfg PlannerConfig) *Planner {
	if cfg.Fanout <= 0 {
		cfg.Fanout = DefaultFanout
	}
	if cfg.MaxAgents <= 0 {
		cfg.MaxAgents = DefaultMaxAgents
	}
	p := &Planner{cfg: cfg, next: cfg.FirstIndex, places: map[uint32]*place{}, byName: map[string]uint32{}}
	p.root.relay = true
	p.offer(&p.root)
	return p
}

// Join places the agent name, which described itself by join. An agent that
// comes back keeps its index and its children; it is not placed
// under a parent that it asks to avoid.
func (p *Planner) Join(name string, join *Join) (Placement, error) {
	agent, err := p.admit(name, join)
	if err != nil {
		return Placement{}, err
	}
	p.detach(agent)
	p.suspect(agent, join.Accuse)
	parent := p.findParent(agent, join.Avoid)
	p.attach(agent, parent)
	placement := Placement{Index: agent.index}
	if parent != &p.root {
		placement.Parent = Location{Name: parent.name, Addr: parent.addr}
	}
	return placement, nil
}

func (p *Planner) admit(name string, join *Join) (*place, error) {
	if index, ok := p.byName[name]; ok {
		agent := p.places[index]
		agent.addr, agent.labels = join.Addr, join.Labels
		if join.Relay && !agent.relay {
			agent.relay = true
			p.offer(agent)
		}
		agent.relay = join.Relay
		return agent, nil
	}
	if len(p.places) >= p.cfg.MaxAgents {
		return nil, fmt.Errorf("%w: it has %d agents", ErrFull, len(p.places))
	}
	agent := &place{index: p.next, name: name, addr: join.Addr, relay: join.Relay, labels: join.Labels}
	if held := join.Index; held > 0 && held-1 < p.cfg.FirstIndex && p.places[held-1] == nil {
		agent.index = held - 1 // from an earlier incarnation; nobody else can have it
	} else {
		if p.next-p.cfg.FirstIndex >= uint32(p.cfg.MaxAgents) {
			return nil, fmt.Errorf("%w: its %d indices are used up", ErrFull, p.cfg.MaxAgents)
		}
		p.next++
	}
	p.places[agent.index] = agent
	p.byName[name] = agent.index
	if agent.relay {
		p.offer(agent)
	}
	return agent, nil
}

// findParent returns the place with room nearest the root that is not agent,
// below agent, or to be avoided. The root takes what fits nowhere else.
func (p *Planner) findParent(agent *place, avoid []string) *place {
	var skipped []roomEntry
	defer func() {
		for _, e := range skipped {
			heap.Push(&p.room, e)
		}
	}()
	for p.room.Len() > 0 {
		e := heap.Pop(&p.room).(roomEntry)
		candidate := e.place
		if !p.hasRoom(candidate) {
			candidate.offered = false
			continue
		}
		depth, attached := p.depth(candidate)
		if !attached {
			skipped = append(skipped, e)
			if len(skipped) > maxSkipped {
				break
			}
			continue
		}
		if depth != e.depth {
			heap.Push(&p.room, roomEntry{place: candidate, depth: depth})
			continue
		}
		skipped = append(skipped, e) // it may have room for more
		if candidate != &p.root && (slices.Contains(avoid, candidate.name) || p.isBelow(candidate, agent)) {
			continue
		}
		return candidate
	}
	return &p.root
}

// maxSkipped bounds the search past relays that are themselves without a parent.
const maxSkipped = 4096

func (p *Planner) hasRoom(c *place) bool {
	alive := c == &p.root || p.places[c.index] == c
	return alive && c.relay && c.accuser == 0 && c.children < p.cfg.Fanout
}

// depth is the number of hops from the root; attached is false when the path
// does not lead there.
func (p *Planner) depth(c *place) (hops int, attached bool) {
	for ; c != &p.root; c = c.parent {
		if c.parent == nil {
			return 0, false
		}
		hops++
	}
	return hops, true
}

// suspect takes relay duty from the agent that another accuses. One accusation is
// enough, as it costs little to be wrong; but each agent can have one other under
// suspicion, and only so many can be at a time: the oldest is pardoned.
func (p *Planner) suspect(accuser *place, name string) {
	index, known := p.byName[name]
	if !known || name == accuser.name || p.places[index].accuser != 0 {
		return
	}
	earlier := func(s *place) bool { return s.accuser == accuser.index+1 }
	if i := slices.IndexFunc(p.suspects, earlier); i >= 0 {
		p.pardon(i)
	}
	if len(p.suspects) >= max(minSuspects, len(p.places)/suspectShare) {
		p.pardon(0)
	}
	p.places[index].accuser = accuser.index + 1
	p.suspects = append(p.suspects, p.places[index])
}

func (p *Planner) pardon(i int) {
	s := p.suspects[i]
	p.suspects = slices.Delete(p.suspects, i, i+1)
	s.accuser = 0
	p.offer(s)
}

// At most one agent in suspectShare, but minSuspects in any case, can be suspected.
const (
	minSuspects  = 8
	suspectShare = 16
)

func (p *Planner) isBelow(c, ancestor *place) bool {
	for ; c != nil; c = c.parent {
		if c == ancestor {
			return true
		}
	}
	return false
}

func (p *Planner) attach(agent, parent *place) {
	agent.parent = parent
	parent.children++
	p.placed++
}

func (p *Planner) detach(agent *place) {
	if parent := agent.parent; parent != nil {
		agent.parent = nil
		parent.children--
		p.placed--
		p.offer(parent)
	}
}

// offer puts a place among those that may have room, once.
func (p *Planner) offer(c *place) {
	if c.offered {
		return
	}
	c.offered = true
	depth, _ := p.depth(c)
	heap.Push(&p.room, roomEntry{place: c, depth: depth})
}

// Leave tells that an agent is gone from under a parent, the root being
// parentIsRoot. It is ignored if the agent has since been placed elsewhere.
func (p *Planner) Leave(index uint32, parentIsRoot bool, parent uint32) {
	agent := p.places[index]
	if agent == nil || agent.parent == nil {
		return
	}
	if parentIsRoot != (agent.parent == &p.root) || !parentIsRoot && agent.parent.index != parent {
		return
	}
	p.detach(agent)
}

// Placed is the number of agents that have a parent.
func (p *Planner) Placed() int { return p.placed }

// Name returns the name of the agent with an index; "" if there is none.
func (p *Planner) Name(index uint32) string {
	if agent := p.places[index]; agent != nil {
		return agent.name
	}
	return ""
}

// AgentPlace describes an agent's place, for status pages.
type AgentPlace struct {
	Index    uint32            `json:"index"`
	Name     string            `json:"name"`
	Addr     string            `json:"addr"`
	Relay    bool              `json:"relay"`
	Labels   map[string]string `json:"labels,omitempty"`
	Parent   string            `json:"parent"` // "" for the coordinator
	Depth    int               `json:"depth"`  // hops from the coordinator
	Children int               `json:"children"`
	Attached bool              `json:"attached"`          // false: it left and has not come back
	Accuser  string            `json:"accuser,omitempty"` // who left it because it withheld
}

// Agents lists every agent the planner knows, in no particular order.
func (p *Planner) Agents() []AgentPlace {
	agents := make([]AgentPlace, 0, len(p.places))
	for _, a := range p.places {
		depth, attached := p.depth(a)
		out := AgentPlace{Index: a.index, Name: a.name, Addr: a.addr, Relay: a.relay, Labels: a.labels,
			Depth: depth, Children: a.children, Attached: attached}
		if a.parent != nil {
			out.Parent = a.parent.name
		}
		if a.accuser != 0 {
			out.Accuser = p.Name(a.accuser - 1)
		}
		agents = append(agents, out)
	}
	return agents
}

// roomEntry is a place that had room when it was offered, at the depth it had then.
type roomEntry struct {
	place *place
	depth int
}

type roomHeap []roomEntry

func (h roomHeap) Len() int { return len(h) }
func (h roomHeap) Less(i, j int) bool {
	if h[i].depth != h[j].depth {
		return h[i].depth < h[j].depth
	}
	return h[i].place.index < h[j].place.index
}
func (h roomHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *roomHeap) Push(x any)   { *h = append(*h, x.(roomEntry)) }
func (h *roomHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
