package simulator

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// Applied is one effect on a simulated agent: it is on the agent's disk.
type Applied struct {
	Host    int32
	At      step.Time
	Config  string
	Epoch   uint64
	Version uint64
}

// World is a simulated fleet: coordinators first, one a region, the first of
// which leads; then the agents, region by region.
type World struct {
	cfg        Config
	now        step.Time
	ready      step.Time // when the host whose event it is has got through it
	rand       *rand.Rand
	queue      eventQueue
	inputs     slab[step.Input]
	messages   slab[delivery]
	shards     slab[shard]
	calls      slab[func()]
	hosts      []host
	links      []link
	requests   map[uint64]request
	lastReq    uint64
	partitions []*partition
	disk       step.Time           // when a shared machine's disk is free
	zones      []map[string]string // labels of the agents of each zone
	machine    *scheduler          // of a shared machine; nil: each host is its own
	signer     *signer
	out        []step.Output
	events     uint64
	stopped    bool // from outside
	up         int  // agents
	attached   int  // those that have a parent

	audience []int // agents that subscribe, by region

	store  store
	bodies BodyTraffic
	acked  map[ackKey]*wire.AckEntry
	watch  watchers
	// accepts tells whether an agent's own check lets a version in; nil: always.
	accepts func(host int32, v record.VersionKey) bool
	trace   func(format string, args ...any)
}

// watchers are told of what happens, as it happens.
type watchers struct {
	verified []func(Applied) // a pointer's signature was checked; Version is 0
	starts   []func(Applied) // an apply begins
	applied  []func(Applied)
	acked    []func(ackKey)
	commits  []func(*wire.Announcement)
	leader   []func(*step.Output) // what its node tells of acknowledgements and censuses
}

func notify[T any](watchers []func(T), v T) {
	for _, fn := range watchers {
		fn(v)
	}
}

type ackKey struct{ config, region string }

type request struct {
	asker int32
	peer  step.PeerID
	want  record.VersionKey

	choice wire.FormChoice
	cached bool // it is for others
}

// NewWorld makes the hosts of a fleet. None runs yet: Boot starts them.
func NewWorld(cfg Config) (*World, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	w := &World{cfg: cfg, audience: make([]int, len(cfg.Agents)), rand: rand.New(rand.NewPCG(cfg.Seed, 0x776f726c64)), signer: newSigner(),
		requests: map[uint64]request{}, acked: map[ackKey]*wire.AckEntry{}, store: newStore()}
	if cfg.Machine != nil {
		w.machine = newScheduler(w, cfg.Machine.Cores)
	}
	for z := range cfg.Zones {
		w.zones = append(w.zones, map[string]string{wire.ZoneLabel: strconv.Itoa(z)})
	}
	total := len(cfg.Agents)
	for _, n := range cfg.Agents {
		total += n
	}
	w.hosts = make([]host, 0, total)
	// An agent has a link to its parent, one to its backup, and one to the coordinator
	// while it joins, of two ends each.
	w.links = append(make([]link, 0, 7*total), link{})
	w.queue.heap = make([]event, 0, 2*total)
	w.calls.values = make([]func(), 0, total+1024)
	for region, name := range cfg.Network.Matrix.Regions {
		w.addHost(region, 0, wire.Identity{Role: wire.RoleCoordinator, Region: name, Name: "coordinator-" + name})
	}
	for region, n := range cfg.Agents {
		for i := range n {
			name := cfg.Network.Matrix.Regions[region]
			w.addHost(region, i%cfg.Zones, wire.Identity{Role: wire.RoleAgent, Region: name, Name: name + "-" + strconv.Itoa(i)})
		}
	}
	return w, nil
}

func (w *World) addHost(region, zone int, id wire.Identity) {
	h := host{ident: id, region: int16(region), zone: int16(zone), wakeAt: step.Never, down: true}
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

// audienceOf is how many agents of a region subscribe.
func (w *World) audienceOf(region string) int { return w.audience[w.cfg.Network.Matrix.Index(region)] }

func (w *World) regions() int          { return len(w.cfg.Network.Matrix.Regions) }
func (w *World) isRoot(i int32) bool   { return int(i) < w.regions() }
func (w *World) isLeader(i int32) bool { return i == 0 }

// agents yields the numbers of the agents' hosts.
func (w *World) agents() func(yield func(int32) bool) {
	return func(yield func(int32) bool) {
		for i := w.regions(); i < len(w.hosts); i++ {
			if !yield(int32(i)) {
				return
			}
		}
	}
}

// Now is the virtual time.
func (w *World) Now() step.Time { return w.now }

// Events is how many events have been handled.
func (w *World) Events() uint64 { return w.events }

// Hosts is how many hosts there are, coordinators among them.
func (w *World) Hosts() int { return len(w.hosts) }

// Node returns the node of a host; nil while it is down.
func (w *World) Node(i int32) *mesh.Node { return w.hosts[i].node }

func address(i int32) string { return "sim:" + strconv.Itoa(int(i)) }

func (w *World) hostAt(address string) (int32, bool) {
	number, ok := strings.CutPrefix(address, "sim:")
	i, err := strconv.Atoi(number)
	if !ok || err != nil || i < 0 || i >= len(w.hosts) {
		return 0, false
	}
	return int32(i), true
}

// Run handles events until the virtual time is until.
func (w *World) Run(until step.Time) {
	for w.queue.len() > 0 && w.queue.heap[0].at <= until && !w.interrupted() {
		w.handle(w.queue.pop())
	}
	w.now = max(w.now, until)
}

// interrupted looks now and then whether the run is to end.
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

// RunUntil handles events until done reports true, asked every interval, or the
// virtual time is limit; it reports whether done did.
func (w *World) RunUntil(limit step.Time, interval time.Duration, done func() bool) bool {
	for w.now < limit && !w.stopped {
		w.Run(min(w.now.Add(interval), limit))
		if done() {
			return true
		}
	}
	return false
}

// handle lets one event happen. A node decides at the moment at which a message
// arrives; what it wants done begins when its processor has got through it.
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
	switch m.(type) {
	case *wire.Announcement, *wire.SignedHead, *wire.Push:
		return w.cfg.Costs.Receive + w.cfg.Costs.Verify
	}
	return w.cfg.Costs.Receive
}

// reaches tells whether an input still has a link to come over.
func (w *World) reaches(in *step.Input) bool {
	switch in.Kind {
	case step.InPeer, step.InRequest, step.InConnected, step.InDrained, step.InShard:
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

// step feeds one input to a node and carries out what it wants.
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
		w.schedule(i)
	}
}

// schedule makes sure that a tick comes at the node's deadline.
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

func (w *World) call(at step.Time, fn func()) {
	w.queue.push(event{at: max(at, w.now), kind: evCall, ref: w.calls.put(fn)})
}

// Attached counts the agents that are up, and those of them that have a parent.
func (w *World) Attached() (up, attached int) { return w.up, w.attached }

// observe keeps the counts of Attached after a host's node has moved.
func (w *World) observe(i int32, up, attached bool) {
	h := &w.hosts[i]
	if w.isRoot(i) || h.attached == attached && h.counted == up {
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
		return up == attached && up == len(w.hosts)-w.regions()
	})
	if !done {
		up, attached := w.Attached()
		return fmt.Errorf("%d of %d agents have a parent after %s of virtual time", attached, up, limit)
	}
	return nil
}
