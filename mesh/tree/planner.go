package tree

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// PlannerConfig configures a Planner. The zero value is usable.
type PlannerConfig struct {
	// Fanout is the number of children of each node; 0 means DefaultFanout. An agent whose
	// description states a capacity gets that many children instead.
	Fanout int
	// MaxDepth is the largest number of hops between the root and an agent; 0 means no
	// limit. The root takes an agent that would be deeper, beyond the root's fan-out.
	MaxDepth int
	// FirstIndex is the first agent index to give out. Lower indices belong to agents
	// that joined an earlier incarnation of this coordinator.
	FirstIndex uint32
	// MaxAgents is the largest number of agents in the tree; 0 means DefaultMaxAgents.
	MaxAgents int
	// Grace is the time for which the place of a gone agent is kept; 0 means DefaultGrace.
	Grace time.Duration
}

// Planner gives agents their places in a k-ary tree: as near to the root as there is
// room, in the agent's own zone if that costs at most one hop, and below the oldest
// agents first. The planner moves no agent that has a place: a join moves the joining
// agent, and a leave moves the children of the agent that left.
type Planner struct {
	cfg    PlannerConfig
	next   uint32 // next index to give out
	places map[uint32]*place
	byName map[string]uint32
	root   place
	placed int       // agents that have a parent and have not left
	gossip int       // agents in the gossip pool
	now    step.Time // of the present Join
	rooms  rooms
	// leavers are the gone agents with a kept place, the earliest first.
	leavers []*place
	// relays are considered as backups in turn. Some of them may not relay any more.
	relays []*place
	turn   int
	clones []Clone // noticed since the last TakeClones
	// suspects are the accused relays, the earliest first. A suspect gets no children.
	// The list is short, so that lying agents can't take relay duty from every agent.
	suspects []*place
}

// ErrFull is wrapped by the error of a Join when the tree takes no more agents.
var ErrFull = errors.New("the tree is full")

// NewPlanner returns a planner of an empty tree.
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
	p := &Planner{
		cfg:    cfg,
		next:   cfg.FirstIndex,
		places: map[uint32]*place{},
		byName: map[string]uint32{},
	}
	p.root.Relay = true
	p.root.slots = cfg.Fanout
	p.offer(&p.root)
	return p
}

// Join gives the agent called name a place. An agent joining again keeps its index
// and its children and, within the grace time, its parent, unless the agent asks to
// avoid that parent. The error wraps ErrFull.
func (p *Planner) Join(now step.Time, name string, join *wire.Join) (wire.Placement, error) {
	p.now = now
	p.expire(now)
	agent, err := p.admit(now, name, join)
	if err != nil {
		return wire.Placement{}, err
	}
	p.suspect(agent, join.Accuse)
	p.Doubt(now, join.Avoid...)
	parent := agent.parent
	p.detach(agent)
	if parent == nil || slices.Contains(join.Avoid, parent.name) || !p.mayHaveChild(parent, agent) {
		parent = p.findParent(agent, join.Avoid)
	}
	p.attach(agent, parent)
	agent.since = now
	placement := wire.Placement{Index: agent.index, Parent: parent.location()}
	for _, b := range p.chooseBackups(agent, join.Avoid) {
		placement.Backups = append(placement.Backups, b.location())
	}
	return placement, nil
}

// admit finds the place of a joining agent, or creates one.
func (p *Planner) admit(now step.Time, name string, join *wire.Join) (*place, error) {
	if index, ok := p.byName[name]; ok {
		agent := p.places[index]
		agent.countFlap(now)
		p.meet(now, agent, join.Description)
		p.describe(agent, join.Description)
		return agent, nil
	}
	if len(p.places) >= p.cfg.MaxAgents {
		return nil, fmt.Errorf("%w: it has %d agents", ErrFull, len(p.places))
	}
	agent := &place{index: p.next, name: name, since: now}
	if held := join.Index; held > 0 && p.mayKeepIndex(held-1) {
		agent.index = held - 1
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

// mayKeepIndex reports whether a joining agent may keep an index that the agent already
// has. Such an index was given out by an earlier incarnation of this coordinator, or by
// another cell, so this planner gives the index to no other agent.
func (p *Planner) mayKeepIndex(index uint32) bool {
	if p.places[index] != nil {
		return false
	}
	return index < p.cfg.FirstIndex || cellOf(index) != cellOf(p.cfg.FirstIndex)
}

// describe stores the description of an agent.
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

func (p *Planner) attach(agent, parent *place) {
	agent.parent = parent
	agent.gone = false
	parent.children++
	p.placed++
	p.offer(agent)
}

// detach takes an agent off its parent.
func (p *Planner) detach(agent *place) {
	parent := agent.parent
	if parent == nil {
		return
	}
	if !agent.gone {
		p.placed--
	}
	agent.parent = nil
	agent.gone = false
	parent.children--
	p.offer(parent)
}

// LeaveRoot reports that an agent is no longer a child of the root. The report is
// ignored if the agent has another parent by now. The agent's place is kept for the
// grace time.
func (p *Planner) LeaveRoot(now step.Time, index uint32) { p.leave(now, index, &p.root) }

// Leave reports that an agent is no longer a child of the agent with the index parent.
// Leave is otherwise like LeaveRoot.
func (p *Planner) Leave(now step.Time, index, parent uint32) {
	if c := p.places[parent]; c != nil {
		p.leave(now, index, c)
	}
}

func (p *Planner) leave(now step.Time, index uint32, parent *place) {
	agent := p.places[index]
	if agent == nil {
		return
	}
	if agent.gone || agent.parent != parent {
		agent.parted(parent)
		return
	}
	agent.gone = true
	agent.leftAt = now
	p.placed--
	p.leavers = append(p.leavers, agent)
	p.expire(now)
}

// expire gives back the places whose grace time has ended.
func (p *Planner) expire(now step.Time) {
	for len(p.leavers) > 0 && now >= p.leavers[0].leftAt.Add(p.cfg.Grace) {
		agent := p.leavers[0]
		p.leavers = p.leavers[1:]
		if agent.gone && now >= agent.leftAt.Add(p.cfg.Grace) {
			p.detach(agent)
		}
	}
}

// Doubt reports agents that another node could not reach, or left. A doubted agent gets
// no children for some seconds.
func (p *Planner) Doubt(now step.Time, names ...string) {
	for _, name := range names {
		if index, ok := p.byName[name]; ok {
			p.places[index].doubted = now + doubtTime
		}
	}
}

// AdoptRoot reports that an agent became a child of the root without a Join: the agent
// went to a backup, or the tree is older than the planner.
func (p *Planner) AdoptRoot(now step.Time, m wire.Member) { p.adopt(now, m, &p.root) }

// Adopt reports that an agent became a child of the agent with the index parent without
// a Join. A report about an unknown parent is ignored: the next roll call reports both.
func (p *Planner) Adopt(now step.Time, m wire.Member, parent uint32) {
	if c := p.places[parent]; c != nil {
		p.adopt(now, m, c)
	}
}

func (p *Planner) adopt(now step.Time, m wire.Member, parent *place) {
	agent := p.places[m.Index]
	if agent == nil {
		if _, taken := p.byName[m.Name]; taken || len(p.places) >= p.cfg.MaxAgents || m.Name == "" {
			return
		}
		agent = &place{index: m.Index, name: m.Name, since: now}
		p.places[m.Index] = agent
		p.byName[m.Name] = m.Index
		if m.Index >= p.next && m.Index-p.cfg.FirstIndex < uint32(p.cfg.MaxAgents) {
			p.next = m.Index + 1
		}
	}
	if agent.name != m.Name || parent.isBelow(agent) {
		return
	}
	p.meet(now, agent, m.Description)
	p.describe(agent, m.Description)
	agent.parted(parent) // a parent has one child of a name
	if agent.parent == parent && !agent.gone {
		return
	}
	p.detach(agent)
	p.attach(agent, parent)
}

// AdmitToGossip reports whether the agent with the given index, which must have a place,
// belongs in the region's gossip pool. The first MaxGossip relays near the root take a place
// in the pool, and keep it.
func (p *Planner) AdmitToGossip(index uint32) bool {
	c := p.places[index]
	depth, _ := p.depth(c)
	if !c.gossips && c.eligible() && depth <= gossipDepth && p.gossip < MaxGossip {
		c.gossips = true
		p.gossip++
	}
	return c.gossips
}

// Children returns the number of children that the planner knows of an agent.
func (p *Planner) Children(index uint32) int {
	if agent := p.places[index]; agent != nil {
		return agent.children
	}
	return 0
}

// Placed returns the number of agents that have a parent and have not left.
func (p *Planner) Placed() int { return p.placed }

// Name returns the name of the agent with the given index; "" if unknown.
func (p *Planner) Name(index uint32) string {
	if agent := p.places[index]; agent != nil {
		return agent.name
	}
	return ""
}

// AgentPlace describes an agent's place, for status pages.
type AgentPlace struct {
	Index  uint32
	Name   string
	Addr   string
	Relay  bool
	Labels map[string]string
	// Parent is the name of the parent; "" for the coordinator.
	Parent string
	// Depth is the number of hops from the coordinator.
	Depth    int
	Children int
	// Attached is false for an agent that left and has not come back.
	Attached bool
	Confined bool
	// Accuser is the name of the agent that left this agent for a fault; empty for none.
	Accuser string
	// Subscriptions are the scopes that the agent applies; absent for every config.
	Subscriptions []string
	// Clones are the addresses of the processes that run with the agent's identity, if several
	// do; empty otherwise.
	Clones []string
}

// Agents lists every agent that the planner knows, in no particular order.
func (p *Planner) Agents() []AgentPlace {
	agents := make([]AgentPlace, 0, len(p.places))
	for _, a := range p.places {
		depth, attached := p.depth(a)
		out := AgentPlace{
			Index:         a.index,
			Name:          a.name,
			Addr:          a.Addr,
			Relay:         a.Relay,
			Labels:        a.Labels,
			Depth:         depth,
			Children:      a.children,
			Attached:      attached && !a.gone,
			Confined:      a.confined,
			Subscriptions: a.Subscriptions.Scopes(),
			Clones:        a.addrs(),
		}
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
