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
	// FirstIndex is the first of Indices agent indices to give out; see Planner.Reserved.
	// Lower indices of the cell belong to agents that joined an earlier incarnation of this
	// coordinator.
	FirstIndex uint32
	// Indices is the number of indices to give out; 0 means DefaultMaxAgents.
	Indices int
	// MaxAgents is the largest number of agents in the tree, with those that left within
	// forgetAfter; 0 means DefaultMaxAgents.
	MaxAgents int
	// Grace is the time for which the place of a gone agent is kept; 0 means DefaultGrace.
	Grace time.Duration
}

// Planner gives agents their places in a k-ary tree: as near to the root as there is
// room, in the agent's own zone if that costs at most one hop, and below the oldest
// agents first. The planner moves no agent that has a place: a join moves the joining
// agent, and a leave moves the children of the agent that left.
type Planner struct {
	cfg     PlannerConfig
	indices indices
	places  map[uint32]*place
	byName  map[string]uint32
	root    place
	gossip  int       // agents in the gossip pool
	now     step.Time // of the last Join or Reconcile; decides which agents are flappy or doubted
	rooms   rooms
	tally   tally
	// lapsing holds the places without a path to the root, in the order in which they lost it, or were
	// made. A place that is not attached within the grace time moves to forgetting.
	lapsing    queue
	forgetting queue
	// unconfirmed holds the places of agents that joined within confirmTime, in the order of the joins.
	unconfirmed queue
	// relays are the attached relays. They are considered as backups in turn.
	relays  []*place
	turn    int
	flaps   flaps
	clones  []Clone  // noticed since the last TakeClones
	doubles []*place // agents with clones
	// displaced are the indices that agents must give up, since the last TakeDisplaced.
	displaced []uint32
	// suspects are the accused relays, the earliest first. A suspect gets no children.
	// The list is short, so that lying agents can't take relay duty from every agent.
	suspects []*place
}

var (
	// ErrFull is wrapped by the error of a Join when the tree takes no more agents.
	ErrFull = errors.New("the tree is full")
	// ErrBusy is wrapped by the error of a Join that may succeed some moments later.
	ErrBusy = errors.New("there is no place at the moment")
)

// NewPlanner returns a planner of an empty tree.
func NewPlanner(cfg PlannerConfig) *Planner {
	if cfg.Fanout <= 0 {
		cfg.Fanout = DefaultFanout
	}
	if cfg.MaxAgents <= 0 {
		cfg.MaxAgents = DefaultMaxAgents
	}
	if cfg.Indices <= 0 {
		cfg.Indices = DefaultMaxAgents
	}
	if cfg.Grace <= 0 {
		cfg.Grace = DefaultGrace
	}
	p := &Planner{
		cfg:    cfg,
		places: map[uint32]*place{},
		byName: map[string]uint32{},
		tally:  newTally(),
	}
	p.Reserved(cfg.FirstIndex, cfg.Indices)
	p.root.Relay = true
	p.root.branch = &p.root
	p.root.slots = cfg.Fanout
	p.offer(&p.root)
	return p
}

// Join gives the agent called name a place. An agent joining again keeps its index
// and, if the same process joins, its children. Within the grace time the agent keeps its
// parent too, unless the agent asks to avoid that parent. The error wraps ErrFull or ErrBusy.
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
	p.detach(now, agent)
	if parent == nil || slices.Contains(join.Avoid, parent.name) || !p.mayHaveChild(parent, agent) {
		parent = p.findParent(agent, join.Avoid)
	}
	if parent == &p.root && parent.children >= parent.slots && p.putOff(now, agent) {
		return wire.Placement{}, fmt.Errorf("%w: the relays with room have just joined themselves", ErrBusy)
	}
	if parent == &p.root && parent.children >= wire.MaxChildren {
		return wire.Placement{}, fmt.Errorf("%w: no relay has room, and the root has %d children", ErrBusy, parent.children)
	}
	agent.since = now
	agent.waitsSince = 0
	agent.confirmed = false
	p.unconfirmed.push(agent)
	p.attach(now, agent, parent)
	placement := wire.Placement{Index: agent.index, Parent: parent.location()}
	for _, b := range p.chooseBackups(agent, join.Avoid) {
		placement.Backups = append(placement.Backups, b.location())
	}
	return placement, nil
}

// putOff reports whether an agent should ask again, because relays have just joined and will have
// room when their parents have reported them. An agent waits at most maxPutOff.
func (p *Planner) putOff(now step.Time, agent *place) bool {
	if agent.waitsSince == 0 {
		agent.waitsSince = max(now, 1)
	}
	return now-agent.waitsSince < maxPutOff && p.relaysArrive(now)
}

// relaysArrive reports whether a relay has joined a moment ago, and was not reported yet. It looks
// at the last few joins.
func (p *Planner) relaysArrive(now step.Time) bool {
	looks := 0
	for e := p.unconfirmed.order.Back(); e != nil && looks < maxArrivals; e = e.Prev() {
		c := e.Value.(*place)
		if now-c.since >= arrivalTime {
			return false
		}
		if c.eligible() && !c.confirmed && c.attached() {
			return true
		}
		looks++
	}
	return false
}

// admit finds the place of a joining agent, or creates one.
func (p *Planner) admit(now step.Time, name string, join *wire.Join) (*place, error) {
	if index, ok := p.byName[name]; ok {
		agent := p.places[index]
		if join.Index != index+1 {
			// Another process has the identity now. What the process before has acknowledged, this one
			// may not have.
			next, err := p.indexFor(join)
			if err != nil {
				return nil, err
			}
			p.renumber(agent, next)
		}
		p.countFlap(now, agent)
		p.replace(now, agent, join.Description)
		p.describe(agent, join.Description)
		return agent, nil
	}
	if len(p.places) >= p.cfg.MaxAgents {
		return nil, fmt.Errorf("%w: it has %d agents", ErrFull, len(p.places))
	}
	index, err := p.indexFor(join)
	if err != nil {
		return nil, err
	}
	agent := &place{index: index, name: name, since: now, lostAt: now}
	p.places[agent.index] = agent
	p.byName[name] = agent.index
	p.lapsing.push(agent) // an agent that is put off may not come back
	p.describe(agent, join.Description)
	return agent, nil
}

// indexFor returns the index for an agent that joins: the index that the agent has, or a new one.
func (p *Planner) indexFor(join *wire.Join) (uint32, error) {
	if join.Index > 0 && p.mayKeepIndex(join.Index-1) {
		return join.Index - 1, nil
	}
	return p.indices.take()
}

// renumber gives a known agent another index.
func (p *Planner) renumber(agent *place, index uint32) {
	attached := agent.attached()
	if attached {
		p.tally.remove(agent)
	}
	delete(p.places, agent.index)
	agent.index = index
	p.places[index] = agent
	p.byName[agent.name] = index
	if attached {
		p.tally.add(agent)
	}
}

// knows reports whether an agent has a place. An agent that was forgotten has none.
func (p *Planner) knows(agent *place) bool { return p.places[agent.index] == agent }

// mayKeepIndex reports whether a joining agent may keep an index that the agent already
// has: no other agent has the index, and this planner will give the index to no other.
func (p *Planner) mayKeepIndex(index uint32) bool {
	return p.places[index] == nil && p.indices.given(index)
}

// replace notes the instance that a description of an agent comes from. If the instance took the
// place of a process that ended, the agent loses the children of that process.
func (p *Planner) replace(now step.Time, agent *place, d wire.Description) {
	replaced := agent.Instance != 0 && d.Instance != 0 && agent.Instance != d.Instance
	p.meet(now, agent, d)
	if replaced && !agent.cloned(now) {
		p.orphan(now, agent)
	}
}

// describe stores the description of an agent.
func (p *Planner) describe(agent *place, d wire.Description) {
	attached := agent.attached()
	if attached {
		p.tally.remove(agent)
		p.unlistRelay(agent)
	}
	agent.Description = d
	agent.slots = p.cfg.Fanout
	if d.Capacity > 0 {
		agent.slots = min(int(d.Capacity), wire.MaxChildren)
	}
	if attached {
		p.tally.add(agent)
		p.listRelay(agent)
		p.offer(agent)
	}
}

// attach makes an agent without a parent a child of parent.
func (p *Planner) attach(now step.Time, agent, parent *place) {
	if parent.children == 0 {
		parent.listBy = now + listSoon
	}
	agent.link(parent)
	agent.gone = false
	agent.changed = now
	if parent.attached() {
		p.connect(now, agent)
	}
}

// detach takes an agent off its parent, if the agent has one.
func (p *Planner) detach(now step.Time, agent *place) {
	parent := agent.parent
	if parent == nil {
		return
	}
	p.disconnect(now, agent)
	agent.unlink()
	agent.gone = false
	p.offer(parent)
}

// LeaveRoot reports that an agent is no longer a child of the root. The report is
// ignored if the agent has another parent by now. The agent's place is kept for the
// grace time.
func (p *Planner) LeaveRoot(now step.Time, index uint32) { p.leave(now, index, &p.root) }

// Leave reports that an agent is no longer a child of the agent with the index parent. top is as in
// Reconcile. Leave is otherwise like LeaveRoot.
func (p *Planner) Leave(now step.Time, top, index, parent uint32) {
	if c := p.below(top, parent); c != nil {
		p.leave(now, index, c)
	}
}

func (p *Planner) leave(now step.Time, index uint32, parent *place) {
	p.now = now
	agent := p.places[index]
	if agent == nil {
		return
	}
	if agent.gone || agent.parent != parent {
		agent.parted(parent)
		return
	}
	agent.changed = now
	p.lose(now, agent)
	p.expire(now)
}

// lose notes that an agent has left its parent. The place is kept for the grace time.
func (p *Planner) lose(now step.Time, agent *place) {
	p.disconnect(now, agent)
	agent.gone = true
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
// a Join. top is as in Reconcile. If the planner does not know the parent below top, Adopt ignores the
// report and returns false: a roll call about the parent reports both.
func (p *Planner) Adopt(now step.Time, top uint32, m wire.Member, parent uint32) (known bool) {
	c := p.below(top, parent)
	if c != nil {
		p.adopt(now, m, c)
	}
	return c != nil
}

func (p *Planner) adopt(now step.Time, m wire.Member, parent *place) {
	p.now = now
	agent := p.places[m.Index]
	if agent != nil && agent.name != m.Name {
		p.displace(now, m.Index)
		return
	}
	other, known := p.byName[m.Name]
	switch {
	case known && agent == nil: // another process has the identity, or the report is old and is corrected
		agent = p.places[other]
		p.renumber(agent, m.Index)
		p.indices.discard(m.Index)
	case agent == nil:
		if len(p.places) >= p.cfg.MaxAgents || m.Name == "" {
			return
		}
		agent = &place{index: m.Index, name: m.Name, since: now}
		p.places[m.Index] = agent
		p.byName[m.Name] = m.Index
		p.indices.discard(m.Index)
	}
	if parent.isBelow(agent) {
		return
	}
	p.replace(now, agent, m.Description)
	p.describe(agent, m.Description)
	agent.parted(parent) // a parent has one child of a name
	agent.confirmed = true
	if agent.parent == parent && !agent.gone {
		p.offer(agent)
		return
	}
	p.detach(now, agent)
	p.attach(now, agent, parent)
}

// displace takes an index from both agents that have it, because each of them acknowledges for the
// other. They get new indices when they join again.
func (p *Planner) displace(now step.Time, index uint32) {
	if len(p.displaced) >= maxDisplaced || slices.Contains(p.displaced, index) {
		return
	}
	p.displaced = append(p.displaced, index)
	if agent := p.places[index]; agent != nil {
		p.forget(now, agent)
	}
}

// TakeDisplaced returns the indices that agents must give up, of those noticed since the last call.
func (p *Planner) TakeDisplaced() []uint32 {
	displaced := p.displaced
	p.displaced = nil
	return displaced
}

// AdmitToGossip reports whether the agent with the given index, which must have a place,
// belongs in the region's gossip pool. The first MaxGossip relays near the root take a place
// in the pool, and keep it.
func (p *Planner) AdmitToGossip(index uint32) bool {
	c := p.places[index]
	if !c.gossips && c.eligible() && c.attached() && c.hops <= gossipDepth && p.gossip < MaxGossip {
		c.gossips = true
		p.gossip++
	}
	return c.gossips
}

// retireFromGossip frees the place in the pool of an agent that is gone.
func (p *Planner) retireFromGossip(c *place) {
	if c.gossips {
		c.gossips = false
		p.gossip--
	}
}

// Children returns the number of children that the planner knows of an agent.
func (p *Planner) Children(index uint32) int {
	if agent := p.places[index]; agent != nil {
		return agent.children
	}
	return 0
}

// Changes returns the number of times that an agent became attached, or ceased to be.
func (p *Planner) Changes() uint64 { return p.tally.changes }

// Placed returns the number of agents that have a path to the root.
func (p *Planner) Placed() int { return p.tally.agents }

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
	// Depth is the number of hops from the coordinator, or was when the agent was attached last.
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
		out := AgentPlace{
			Index:         a.index,
			Name:          a.name,
			Addr:          a.Addr,
			Relay:         a.Relay,
			Labels:        a.Labels,
			Depth:         a.hops,
			Children:      a.children,
			Attached:      a.attached(),
			Confined:      a.confined,
			Subscriptions: a.Subscriptions.Scopes(),
			Clones:        a.addrs(),
		}
		if a.parent != nil {
			out.Parent = a.parent.name
		}
		if a.accuser != nil {
			out.Accuser = a.accuser.name
		}
		agents = append(agents, out)
	}
	return agents
}
