package world

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// World is a simulated fleet. Hosts are numbered: first one coordinator per region, of
// which host 0 is the leader, and then the agents, region by region.
type World struct {
	cfg Config
	now step.Time
	// ready is when the processor of the current host is done with the current event.
	ready step.Time
	rand  *rand.Rand

	queue    eventQueue
	inputs   slab[step.Input]
	messages slab[delivery]
	shards   slab[shard]
	calls    slab[func()]
	events   uint64 // handled so far
	stopped  bool   // Config.Done was closed

	hosts      []Host
	links      []link
	requests   map[uint64]request
	lastReq    uint64
	partitions []*partition
	zones      []map[string]string // labels of the agents of each zone
	audience   []int               // subscribing agents, by region
	up         int                 // agents that are up
	attached   int                 // agents that have a parent

	// machine schedules the work of all hosts on the machine that they share; nil if
	// each host is a machine of its own.
	machine *scheduler
	// shared is the machine that all hosts share; its zero value if there is none.
	shared Machine

	signer *signer
	// histories and terms count the histories of stores, and their terms.
	histories uint32
	terms     uint64
	owners    map[indexKey][]int32
	sizes     map[record.VersionKey]int64 // of bodies whose size is not Config.BodyBytes
	bodies    BodyTraffic
	acked     map[record.PointerKey]*wire.AckEntry

	// out is reused for the outputs of each step.
	out      []step.Output
	watchers []*Watcher
	trace    func(format string, args ...any)
}

// request is a body that a host has asked a peer for.
type request struct {
	asker int32
	peer  step.PeerID
	want  record.VersionKey

	choice wire.FormChoice
	// until is when the asker gives up, unless the peer has begun to answer by then.
	until step.Time
	// cached is true if the asker only relays and keeps the body in its cache.
	cached bool
}

// New makes the hosts of a fleet. Boot starts them.
func New(cfg Config) (*World, error) {
	if err := cfg.Complete(); err != nil {
		return nil, err
	}
	s := newSigner()
	w := &World{
		cfg:      cfg,
		audience: make([]int, len(cfg.Agents)),
		rand:     rand.New(rand.NewPCG(cfg.Seed, 0x776f726c64)),
		signer:   s,
		terms:    1,
		owners:   map[indexKey][]int32{},
		sizes:    map[record.VersionKey]int64{},
		requests: map[uint64]request{},
		acked:    map[record.PointerKey]*wire.AckEntry{},
	}
	if cfg.Machine != nil {
		w.shared = *cfg.Machine
		w.machine = newScheduler(w, w.shared)
	}
	for z := range cfg.Zones {
		w.zones = append(w.zones, map[string]string{wire.ZoneLabel: strconv.Itoa(z)})
	}
	total := len(cfg.Agents) + cfg.Clones
	for _, n := range cfg.Agents {
		total += n
	}
	w.reserve(total)
	for region, name := range cfg.Network.Matrix.Regions {
		w.addHost(region, 0, wire.Identity{Role: wire.RoleCoordinator, Region: name, Name: "coordinator-" + name})
	}
	for region, n := range cfg.Agents {
		for i := range n {
			name := cfg.Network.Matrix.Regions[region]
			id := wire.Identity{Role: wire.RoleAgent, Region: name, Name: name + "-" + strconv.Itoa(i)}
			w.addHost(region, i%cfg.Zones, id)
		}
	}
	for range cfg.Clones {
		w.hosts = append(w.hosts, Host{wakeAt: step.Never, down: true})
	}
	w.hosts[0].store = newStore(s)
	return w, nil
}

// reserve allocates memory for a fleet of total hosts. An agent has a link to its parent,
// a link to its backup, and a link to the coordinator while it joins. Each link has two
// ends.
func (w *World) reserve(total int) {
	w.hosts = make([]Host, 0, total)
	w.links = append(make([]link, 0, 7*total), link{}) // link 0 is no link
	w.queue.heap = make([]event, 0, 2*total)
	w.calls.values = make([]func(), 0, total+1024)
}

// addHost adds a host that is down. Whether an agent only relays follows from its name, so
// that the choice is the same for every seed.
func (w *World) addHost(region, zone int, id wire.Identity) {
	h := Host{ident: id, region: int16(region), zone: int16(zone), wakeAt: step.Never, down: true}
	if id.Role == wire.RoleAgent && w.cfg.SlowShare > 0 && w.rand.Float64() < w.cfg.SlowShare {
		h.slow = w.cfg.SlowFactor
	}
	if w.cfg.ClockSkew > 0 {
		h.skew = time.Duration(w.rand.NormFloat64() * float64(w.cfg.ClockSkew))
	}
	if id.Role == wire.RoleAgent {
		h.relays = float64(xxhash.Sum64String(id.Name)%1e6) < 1e6*w.cfg.RelayShare
		w.audience[region] += one(!h.relays)
	}
	w.hosts = append(w.hosts, h)
}

// Audience returns how many agents of a region subscribe to configs.
func (w *World) Audience(region string) int { return w.audience[w.cfg.Network.Matrix.Index(region)] }

// Regions returns the number of regions.
func (w *World) Regions() int { return len(w.cfg.Network.Matrix.Regions) }

// IsCoordinator reports whether host i is a coordinator.
func (w *World) IsCoordinator(i int32) bool { return int(i) < w.Regions() }

// IsLeader reports whether host i is a coordinator that holds a store. Host 0 always does.
func (w *World) IsLeader(i int32) bool { return w.hosts[i].store != nil }

// Leaders yields the numbers of the coordinators that hold a store.
func (w *World) Leaders() func(yield func(int32) bool) {
	return func(yield func(int32) bool) {
		for i := range w.Regions() {
			if w.IsLeader(int32(i)) && !yield(int32(i)) {
				return
			}
		}
	}
}

// store returns the store of host 0.
func (w *World) store() *store { return w.hosts[0].store }

// Agents yields the numbers of the agents. Clones are not among them.
func (w *World) Agents() func(yield func(int32) bool) {
	return func(yield func(int32) bool) {
		for i := w.Regions(); i < len(w.hosts)-w.cfg.Clones; i++ {
			if !yield(int32(i)) {
				return
			}
		}
	}
}

// Now returns the virtual time.
func (w *World) Now() step.Time { return w.now }

// Events returns the number of events that have been handled.
func (w *World) Events() uint64 { return w.events }

// Stopped reports whether Config.Done was closed and the run ended early.
func (w *World) Stopped() bool { return w.stopped }

// Config returns the configuration with its defaults filled in. The caller must not
// change it.
func (w *World) Config() *Config { return &w.cfg }

// Rand returns the world's source of randomness. Each draw changes the history that
// follows.
func (w *World) Rand() *rand.Rand { return w.rand }

// PowerOn marks every host as up without starting a mesh node, for strategies that only
// use the network and the machines of the world.
func (w *World) PowerOn() {
	for i := range w.hosts {
		w.hosts[i].down = false
	}
}

// Members returns the number of the first agent of a coordinator's region, and how many
// agents the region has. The agents of a region have consecutive numbers.
func (w *World) Members(coordinator int32) (first, n int32) {
	first = int32(w.Regions())
	for i := range coordinator {
		first += int32(w.cfg.Agents[i])
	}
	return first, int32(w.cfg.Agents[coordinator])
}

// BodyTraffic counts the shards that have arrived since the world began.
func (w *World) BodyTraffic() BodyTraffic { return w.bodies }

// Misbehave makes host i misbehave from now on: FaultWithhold, FaultForge, FaultReplay or
// FaultPoison.
func (w *World) Misbehave(i int32, lie FaultKind) { w.hosts[i].lie = lie }

// Hosts returns the number of hosts, coordinators among them.
func (w *World) Hosts() int { return len(w.hosts) }

func address(i int32) string { return "sim:" + strconv.Itoa(int(i)) }

func (w *World) hostAt(address string) (int32, bool) {
	number, ok := strings.CutPrefix(address, "sim:")
	i, err := strconv.Atoi(number)
	if !ok || err != nil || i < 0 || i >= len(w.hosts) {
		return 0, false
	}
	return int32(i), true
}

// Run handles events until the virtual time is until, or until Config.Done is closed.
func (w *World) Run(until step.Time) {
	for w.queue.len() > 0 && w.queue.heap[0].at <= until && !w.interrupted() {
		w.handle(w.queue.pop())
	}
	w.now = max(w.now, until)
}

// interrupted reports whether Config.Done is closed. It looks at the channel once in 4,096
// events.
func (w *World) interrupted() bool {
	if w.events&0xfff == 0 && w.cfg.Done != nil {
		select {
		case <-w.cfg.Done:
			w.stopped = true
		default:
		}
	}
	return w.stopped
}

// RunUntil handles events until done returns true or the virtual time is limit. It calls
// done once per interval of virtual time, and reports whether done returned true.
func (w *World) RunUntil(limit step.Time, interval time.Duration, done func() bool) bool {
	for w.now < limit && !w.stopped {
		w.Run(min(w.now.Add(interval), limit))
		if done() {
			return true
		}
	}
	return false
}

// handle makes one event happen. A node decides at the moment at which a message arrives.
// The outputs of the node begin when the processor is done with the message.
func (w *World) handle(e event) {
	w.now, w.ready = e.at, e.at
	switch e.kind {
	case evCall:
		w.calls.take(e.ref)()
	case evTick:
		w.tick(e.host)
	case evInput:
		in := w.inputs.take(e.ref)
		if w.hosts[e.host].down || !w.reaches(&in) {
			return
		}
		w.step(e.host, in)
	case evMessage:
		d := w.messages.take(e.ref)
		if w.hosts[e.host].down || !w.links[d.peer].alive {
			return
		}
		w.receive(e.host, d)
	case evShard:
		s := w.shards.take(e.ref)
		if w.hosts[e.host].down || !w.links[s.peer].alive {
			return
		}
		w.shardArrives(e.host, s)
	}
	w.events++
}

func (w *World) receiveCost(m wire.Message) time.Duration {
	switch m := m.(type) {
	case *wire.Batch:
		return w.cfg.Costs.Receive + w.cfg.Costs.Verify + time.Duration(len(m.Pointers))*w.cfg.Costs.Hash
	case *wire.Announcement, *wire.SignedHead, *wire.Push:
		return w.cfg.Costs.Receive + w.cfg.Costs.Verify
	}
	return w.cfg.Costs.Receive
}

// reaches reports whether the link of an input is still alive. Inputs without a link reach
// their node.
func (w *World) reaches(in *step.Input) bool {
	switch in.Kind {
	case step.InAccepted, step.InRequest, step.InConnected, step.InDrained, step.InShard:
		return w.links[in.Peer].alive
	case step.InDisconnected:
		w.bury(in.Peer)
	}
	return true
}

func (w *World) tick(i int32) {
	h := &w.hosts[i]
	if h.down || h.wakeAt > w.now {
		return // an earlier tick moved the deadline; another is in the queue
	}
	h.wakeAt = step.Never
	if h.node.Deadline() > w.now {
		w.schedule(i)
		return
	}
	w.step(i, step.Input{Kind: step.InTick})
}

// step feeds one input to the node of host i and carries out the outputs.
func (w *World) step(i int32, in step.Input) {
	out := w.hosts[i].node.Step(w.now, in, w.out[:0])
	w.out = nil // carryOut may step another
	for j := range out {
		w.carryOut(i, &out[j])
	}
	clear(out)
	w.out = out[:0]
	if h := &w.hosts[i]; !h.down {
		w.observe(i, true, h.node.Attached())
		w.own(i)
		w.schedule(i)
	}
}

// schedule queues a tick at the deadline of the node of host i.
func (w *World) schedule(i int32) {
	h := &w.hosts[i]
	if d := h.node.Deadline(); d < h.wakeAt {
		h.wakeAt = d
		w.queue.push(event{at: max(d, w.now), host: i, kind: evTick})
	}
}

func (w *World) input(at step.Time, i int32, in step.Input) {
	w.queue.push(event{at: max(at, w.now), host: i, kind: evInput, ref: w.inputs.put(in)})
}

// At calls fn at virtual time at, or now if at has passed. Calls for one time run in the
// order in which they were requested.
func (w *World) At(at step.Time, fn func()) {
	w.queue.push(event{at: max(at, w.now), kind: evCall, ref: w.calls.put(fn)})
}

// Attached returns the number of agents that are up, and the number of agents that have a
// parent.
func (w *World) Attached() (up, attached int) { return w.up, w.attached }

// observe updates the counts that Attached returns after host i has changed.
func (w *World) observe(i int32, up, attached bool) {
	h := &w.hosts[i]
	if w.IsCoordinator(i) || h.attached == attached && h.counted == up {
		return
	}
	w.up += one(up) - one(h.counted)
	w.attached += one(attached) - one(h.attached)
	h.counted, h.attached = up, attached
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Settle runs until every agent is up and has a parent, at most for limit.
func (w *World) Settle(limit time.Duration) error {
	done := w.RunUntil(w.now.Add(limit), 200*time.Millisecond, func() bool {
		up, attached := w.Attached()
		return up == attached && up == len(w.hosts)-w.Regions()-w.cfg.Clones
	})
	if !done {
		up, attached := w.Attached()
		return fmt.Errorf("%d of %d agents have a parent after %s of virtual time", attached, up, limit)
	}
	return nil
}
