package mesh

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// PlannerConfig shapes a tree.
type PlannerConfig struct {
	// Fanout is how many children each node gets; 0 means 16. A node that states a
	// capacity gets as many as that.
	Fanout int
	// MaxDepth is how many hops the deepest agent may be from the root; 0: no limit.
	// The root takes what would be deeper, beyond its fan-out.
	MaxDepth int
	// FirstIndex is the first agent index to give out. Indices below it belong to
	// agents of earlier incarnations of this coordinator.
	FirstIndex uint32
	// MaxAgents is the most agents the tree takes; 0 means 131072.
	MaxAgents int
	// Grace is how long the place of an agent that left is kept for it; 0 means 30 s.
	Grace time.Duration
}

// DefaultFanout is the fan-out of a tree that nobody configured.
const DefaultFanout = 16

// DefaultMaxAgents is how many agents one coordinator takes unless told otherwise.
const DefaultMaxAgents = 1 << 17

// DefaultGrace is how long a place is kept for an agent that left.
const DefaultGrace = 30 * time.Second

// Planner gives agents their places in a k-ary tree: as near the root as there is
// room, in their own zone if that costs no more than a hop, below the oldest first.
// It moves nobody who has a place: a join moves the one that joins, a leave those
// that were below. It is pure and not safe for concurrent use.
type Planner struct {
	cfg    PlannerConfig
	next   uint32
	places map[uint32]*place
	byName map[string]uint32
	root   place
	placed int // agents that have a parent
	gossip int // agents that are in the gossip pool
	now    step.Time
	rooms  rooms
	// leavers are agents that left, oldest first, and whose places are kept for now.
	leavers []*place
	// relays are asked in turn to be backups; some are no relays any more.
	relays []*place
	turn   int
	// suspects are relays that a child left because they withheld, oldest first. They
	// are given no more children; the list is short, so that liars can't take the
	// duty from everyone.
	suspects []*place
}

// place is an agent's place in the tree.
type place struct {
	index uint32
	name  string
	wire.Description
	slots int // children it takes

	confined bool   // in quarantine
	parent   *place // nil: has none now (or is the root)
	children int    // of them and of those that left and may come back
	shadows  int    // agents whose backup it is
	backups  []*place
	since    step.Time // when it came, or came back
	leftAt   step.Time // when it left, if gone
	gone     bool      // it left; its parent is kept for it
	flaps    int       // short stays in a row
	doubted  step.Time // until then it may be dead: a child lost it
	accuser  uint32
	offered  bool // it stands among those that may have room
	listed   bool // it stands in Planner.relays
	gossips  bool // it was sent to the gossip pool
}

// A stay shorter than flapStay is a flap; an agent with maxFlaps of them in a row
// relays no more, until it has stayed for steadyStay.
const (
	flapStay   = step.Time(time.Minute)
	steadyStay = step.Time(10 * time.Minute)
	maxFlaps   = 3
	// doubtFor is how long an agent that a child could not reach gets no others: the
	// news that it is dead may still be on its way.
	doubtFor = step.Time(10 * time.Second)
)

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
	if cfg.Grace <= 0 {
		cfg.Grace = DefaultGrace
	}
	p := &Planner{cfg: cfg, next: cfg.FirstIndex, places: map[uint32]*place{}, byName: map[string]uint32{}}
	p.root.Relay, p.root.slots = true, cfg.Fanout
	p.offer(&p.root)
	return p
}

// Join places the agent name, which described itself by join. An agent that comes
// back keeps its index, its children and, within the grace time, its parent, unless
// it asks to avoid that.
func (p *Planner) Join(now step.Time, name string, join *wire.Join) (wire.Placement, error) {
	p.expire(now)
	agent, err := p.admit(now, name, join)
	if err != nil {
		return wire.Placement{}, err
	}
	p.suspect(agent, join.Accuse)
	p.doubt(now, join.Avoid)
	parent := agent.parent
	p.detach(agent)
	if parent == nil || slices.Contains(join.Avoid, parent.name) || !p.mayHaveChild(parent, agent) {
		parent = p.findParent(agent, join.Avoid)
	}
	p.attach(agent, parent)
	agent.since = now
	placement := wire.Placement{Index: agent.index, Parent: p.location(parent)}
	for _, b := range p.chooseBackups(agent, join.Avoid) {
		placement.Backups = append(placement.Backups, p.location(b))
	}
	return placement, nil
}

// location of the root is empty: it is the one that answers.
func (p *Planner) location(c *place) wire.Location { return wire.Location{Name: c.name, Addr: c.Addr} }

func (p *Planner) admit(now step.Time, name string, join *wire.Join) (*place, error) {
	if index, ok := p.byName[name]; ok {
		agent := p.places[index]
		agent.countFlap(now)
		p.describe(agent, join.Description)
		return agent, nil
	}
	if len(p.places) >= p.cfg.MaxAgents {
		return nil, fmt.Errorf("%w: it has %d agents", ErrFull, len(p.places))
	}
	agent := &place{index: p.next, name: name, since: now}
	if held := join.Index; held > 0 && p.places[held-1] == nil && (held-1 < p.cfg.FirstIndex || cellOf(held-1) != cellOf(p.cfg.FirstIndex)) {
		agent.index = held - 1 // from an earlier incarnation, or another cell; nobody else can have it
	} else {
		if p.next-p.cfg.FirstIndex >= uint32(p.cfg.MaxAgents) {
			return nil, fmt.Errorf("%w: its %d indices are used up", ErrFull, p.cfg.MaxAgents)
		}
		p.next++
	}
	p.places[agent.index] = agent
	p.byName[name] = agent.index
	p.describe(agent, join.Description)
	return agent, nil
}

// describe takes what an agent says of itself.
func (p *Planner) describe(agent *place, d wire.Description) {
	agent.Description = d
	agent.slots = p.cfg.Fanout
	if d.Capacity > 0 {
		agent.slots = min(int(d.Capacity), wire.MaxChildren)
	}
	p.offer(agent)
	if agent.eligible() && !agent.listed {
		agent.listed = true
		p.relays = append(p.relays, agent)
	}
}

// countFlap notes whether the stay that has ended was a short one.
func (c *place) countFlap(now step.Time) {
	end := now
	if c.gone {
		end = c.leftAt
	}
	switch stay := end - c.since; {
	case stay >= steadyStay:
		c.flaps = 0
	case stay < flapStay:
		c.flaps++
	}
}

// eligible tells whether an agent may have children.
func (c *place) eligible() bool {
	return c.Relay && !c.confined && c.accuser == 0 && c.flaps < maxFlaps
}

func (c *place) zone() string { return c.Labels[wire.ZoneLabel] }

func (p *Planner) attach(agent, parent *place) {
	agent.parent, agent.gone = parent, false
	parent.children++
	p.placed++
	p.offer(agent) // it may have room, and is now at some depth
}

// detach gives an agent's place back.
func (p *Planner) detach(agent *place) {
	parent := agent.parent
	if parent == nil {
		return
	}
	if !agent.gone {
		p.placed--
	}
	agent.parent, agent.gone = nil, false
	parent.children--
	p.offer(parent)
}

// Leave tells that an agent is gone from under a parent, the root being
// parentIsRoot. It is ignored if the agent has since been placed elsewhere. The
// place is kept for the grace time.
func (p *Planner) Leave(now step.Time, index uint32, parentIsRoot bool, parent uint32) {
	agent := p.places[index]
	if agent == nil || agent.parent == nil || agent.gone {
		return
	}
	if parentIsRoot != (agent.parent == &p.root) || !parentIsRoot && agent.parent.index != parent {
		return
	}
	agent.gone, agent.leftAt = true, now
	p.placed--
	p.leavers = append(p.leavers, agent)
	p.expire(now)
}

// expire gives back the places whose grace has ended.
func (p *Planner) expire(now step.Time) {
	for len(p.leavers) > 0 && now >= p.leavers[0].leftAt.Add(p.cfg.Grace) {
		agent := p.leavers[0]
		p.leavers = p.leavers[1:]
		if agent.gone && now >= agent.leftAt.Add(p.cfg.Grace) {
			p.detach(agent)
		}
	}
}

// doubt notes agents that another could not reach, or left.
func (p *Planner) doubt(now step.Time, names []string) {
	p.now = now
	for _, name := range names {
		if index, ok := p.byName[name]; ok {
			p.places[index].doubted = now + doubtFor
		}
	}
}

// Adopt tells that an agent has come under a parent without asking here: it went
// to a backup, or it was there before this planner was. parentIsRoot as in Leave.
func (p *Planner) Adopt(now step.Time, m wire.Member, parentIsRoot bool, parentIndex uint32) {
	parent := &p.root
	if !parentIsRoot {
		if parent = p.places[parentIndex]; parent == nil {
			return // it is to be told of first; the next roll call finds both
		}
	}
	agent := p.places[m.Index]
	if agent == nil {
		if _, other := p.byName[m.Name]; other || len(p.places) >= p.cfg.MaxAgents || m.Name == "" {
			return
		}
		agent = &place{index: m.Index, name: m.Name, since: now}
		p.places[m.Index] = agent
		p.byName[m.Name] = m.Index
		if m.Index >= p.next && m.Index-p.cfg.FirstIndex < uint32(p.cfg.MaxAgents) {
			p.next = m.Index + 1
		}
	}
	if agent.name != m.Name || p.isBelow(parent, agent) {
		return
	}
	p.describe(agent, m.Description)
	if agent.parent == parent && !agent.gone {
		return
	}
	p.detach(agent)
	p.attach(agent, parent)
}

// Accuse tells that an agent left the parent of that name because it withheld.
func (p *Planner) Accuse(index uint32, name string) {
	if accuser := p.places[index]; accuser != nil {
		p.suspect(accuser, name)
	}
}

// gossips tells whether an agent belongs in the region's gossip pool: the first
// relays near the root do, up to a number, and stay in it.
func (p *Planner) gossips(index uint32) bool {
	c := p.places[index]
	if depth, _ := p.depth(c); !c.gossips && c.eligible() && depth <= gossipDepth && p.gossip < MaxGossip {
		c.gossips = true
		p.gossip++
	}
	return c.gossips
}

// Children is how many agents the planner knows under an agent.
func (p *Planner) Children(index uint32) int {
	if agent := p.places[index]; agent != nil {
		return agent.children
	}
	return 0
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
	Attached bool              `json:"attached"` // false: it left and has not come back
	Confined bool              `json:"quarantined,omitempty"`
	Accuser  string            `json:"accuser,omitempty"` // who left it because it withheld
	// Subscriptions are the scopes of what it applies; absent: everything.
	Subscriptions []string `json:"subscriptions,omitzero"`
}

// Agents lists every agent the planner knows, in no particular order.
func (p *Planner) Agents() []AgentPlace {
	agents := make([]AgentPlace, 0, len(p.places))
	for _, a := range p.places {
		depth, attached := p.depth(a)
		out := AgentPlace{Index: a.index, Name: a.name, Addr: a.Addr, Relay: a.Relay, Labels: a.Labels,
			Depth: depth, Children: a.children, Attached: attached && !a.gone, Confined: a.confined, Subscriptions: a.Subscriptions.Scopes()}
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
