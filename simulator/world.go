package simulator

import (
	"fmt"
	"math/rand/v2"
	"time"

	"banyan/mesh"
	"banyan/record"
)

// Config shapes a simulated region. Its zero value of a field means the default.
type Config struct {
	Agents int
	Fanout int           // default mesh.DefaultFanout
	Delay  time.Duration // one way, between any two hosts; default 1 ms
	Jitter time.Duration // added uniformly; default 0
	Verify time.Duration // CPU of one signature check; default 40 µs
	Fetch  time.Duration // to fetch a body from a parent that holds it; default 2 ms
	Apply  time.Duration // to apply durably; default 1 ms
	Seed   uint64
}

func (c *Config) setDefaults() {
	if c.Fanout == 0 {
		c.Fanout = mesh.DefaultFanout
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.Delay, time.Millisecond}, {&c.Verify, 40 * time.Microsecond}, {&c.Fetch, 2 * time.Millisecond}, {&c.Apply, time.Millisecond}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
}

// Applied is one effect on a simulated agent.
type Applied struct {
	Agent   int
	At      mesh.Time
	Config  string
	Epoch   uint64
	Version uint64
}

// World is one region: a root, node 0, and its agents, nodes 1 to Agents.
type World struct {
	cfg    Config
	now    mesh.Time
	rand   *rand.Rand
	seq    uint64
	queue  eventQueue
	hosts  []host
	links  map[mesh.PeerID]link
	nextID mesh.PeerID
	reqs   map[uint64]request
	out    []mesh.Output
	signer *signer

	revision uint64
	// OnApplied, if set, is called at every effect.
	OnApplied func(Applied)
	// Acked counts, by config, the agents whose acknowledgement of the newest
	// epoch reached the root.
	Acked  map[string]*mesh.AckEntry
	events uint64
}

// host is one simulated machine.
type host struct {
	node   *mesh.Node
	wakeAt mesh.Time // earliest tick already in the queue
	down   bool
	ident  mesh.Identity
	lastTo map[int32]mesh.Time // arrival of the last message to each peer: links keep order
}

// link is one end of a connection: the peer it leads to and that peer's end.
type link struct {
	owner, remote int32
	other         mesh.PeerID
}

type request struct {
	asker int32
	want  mesh.VersionKey
}

const region = "sim"

// New makes a world and lets every agent join.
func New(cfg Config) *World {
	cfg.setDefaults()
	w := &World{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 1)), links: map[mesh.PeerID]link{},
		reqs: map[uint64]request{}, signer: newSigner(), Acked: map[string]*mesh.AckEntry{}}
	w.hosts = make([]host, cfg.Agents+1)
	for i := range w.hosts {
		w.hosts[i] = host{wakeAt: mesh.Never, lastTo: map[int32]mesh.Time{}}
		w.boot(int32(i))
	}
	return w
}

func addr(i int32) string { return fmt.Sprintf("sim:%d", i) }

// boot makes host i's node, empty, and starts it.
func (w *World) boot(i int32) {
	h := &w.hosts[i]
	h.down = false
	cfg := mesh.Config{Addr: addr(i), Relay: true, Verifier: w.signer, Seed: w.cfg.Seed<<20 + uint64(i)}
	if i == 0 {
		cfg.Self = mesh.Identity{Role: mesh.RoleCoordinator, Region: region, Name: "root"}
		cfg.Planner = mesh.NewPlanner(mesh.PlannerConfig{Fanout: w.cfg.Fanout, MaxAgents: w.cfg.Agents + 1})
		cfg.HoldsAll = true
	} else {
		cfg.Self = mesh.Identity{Role: mesh.RoleAgent, Region: region, Name: fmt.Sprintf("agent-%d", i)}
		cfg.Seeds = []string{addr(0)}
	}
	h.ident = cfg.Self
	h.node = mesh.NewNode(cfg)
	w.after(0, i, mesh.Input{Kind: mesh.InStart})
}

// Now is the virtual time.
func (w *World) Now() mesh.Time { return w.now }

// Events is how many events have been handled.
func (w *World) Events() uint64 { return w.events }

// Node returns the node of agent i (0: the root).
func (w *World) Node(i int) *mesh.Node { return w.hosts[i].node }

// Run handles events until none is left or the virtual time is until.
func (w *World) Run(until mesh.Time) {
	for w.queue.len() > 0 && w.queue.heap[0].at <= until {
		e := w.queue.pop()
		w.now = e.at
		w.step(e.node, e.in)
	}
	w.now = max(w.now, until)
}

// step feeds one input to a host and carries out what its node wants.
func (w *World) step(i int32, in mesh.Input) {
	h := &w.hosts[i]
	if h.down {
		return
	}
	if in.Kind == mesh.InTick {
		if h.wakeAt > w.now {
			return // an earlier tick moved the deadline; another is in the queue
		}
		h.wakeAt = mesh.Never
		if h.node.Deadline() > w.now {
			w.schedule(i)
			return
		}
	}
	if !w.linkAlive(in) {
		return
	}
	w.events++
	w.out = h.node.Step(w.now, in, w.out[:0])
	verified := w.now
	for j := range w.out {
		o := &w.out[j]
		if o.Op == mesh.OpAccepted || o.Op == mesh.OpHead {
			verified += mesh.Time(w.cfg.Verify)
		}
		w.carryOut(i, o, verified)
	}
	w.schedule(i)
}

// linkAlive tells whether an input may still reach its node: messages of a lost
// link don't.
func (w *World) linkAlive(in mesh.Input) bool {
	_, alive := w.links[in.Peer]
	switch in.Kind {
	case mesh.InDisconnected:
		delete(w.links, in.Peer)
	case mesh.InReceived, mesh.InPeer, mesh.InRequest:
		return alive
	}
	return true
}

// schedule makes sure that a tick comes at the node's deadline.
func (w *World) schedule(i int32) {
	h := &w.hosts[i]
	if d := h.node.Deadline(); d < h.wakeAt {
		h.wakeAt = d
		w.push(max(d, w.now), i, mesh.Input{Kind: mesh.InTick})
	}
}

func (w *World) push(at mesh.Time, node int32, in mesh.Input) {
	w.seq++
	w.queue.push(event{at: at, seq: w.seq, node: node, in: in})
}

func (w *World) after(d time.Duration, node int32, in mesh.Input) {
	w.push(w.now.Add(d), node, in)
}

func (w *World) delay() time.Duration {
	if w.cfg.Jitter == 0 {
		return w.cfg.Delay
	}
	return w.cfg.Delay + time.Duration(w.rand.Int64N(int64(w.cfg.Jitter)))
}

// carryOut does what a node asked for; at is when its CPU got to it.
func (w *World) carryOut(i int32, o *mesh.Output, at mesh.Time) {
	switch o.Op {
	case mesh.OpSend:
		if l, ok := w.links[o.Peer]; ok {
			w.deliver(i, l, at, mesh.Input{Kind: mesh.InReceived, Peer: l.other, Message: o.Message})
		}
	case mesh.OpConnect:
		w.connect(i, o.Addr)
	case mesh.OpDrop:
		if l, ok := w.links[o.Peer]; ok {
			delete(w.links, o.Peer)
			w.deliver(i, l, at, mesh.Input{Kind: mesh.InDisconnected, Peer: l.other})
		}
	case mesh.OpFetch:
		w.fetch(i, o)
	case mesh.OpServe, mesh.OpDeny:
		if r, ok := w.reqs[o.Request]; ok {
			delete(w.reqs, o.Request)
			w.after(w.cfg.Fetch, r.asker, mesh.Input{Kind: mesh.InFetched, Want: r.want, Reason: o.Reason})
		}
	case mesh.OpActivate:
		latency := int64(w.now)/1000 - o.Announcement.Pointer.TimeMicros
		w.after(w.cfg.Apply, i, mesh.Input{Kind: mesh.InActivated, Announcement: o.Announcement, Version: o.Version, LatencyMicros: latency})
		if w.OnApplied != nil {
			p := o.Announcement.Pointer
			w.OnApplied(Applied{int(i), w.now.Add(w.cfg.Apply), p.Config, p.Epoch, o.Version})
		}
	case mesh.OpAcked:
		w.countAcks(o.Message.(*mesh.Ack))
	}
}

// deliver schedules an input at the far end of a link, behind what was sent over it before.
func (w *World) deliver(from int32, l link, at mesh.Time, in mesh.Input) {
	arrival := max(at.Add(w.delay()), w.hosts[from].lastTo[l.remote])
	w.hosts[from].lastTo[l.remote] = arrival
	w.push(arrival, l.remote, in)
}

func (w *World) connect(i int32, address string) {
	var to int32
	if _, err := fmt.Sscanf(address, "sim:%d", &to); err != nil || w.hosts[to].down {
		w.after(2*w.cfg.Delay, i, mesh.Input{Kind: mesh.InConnectFailed, Addr: address})
		return
	}
	here, there := w.nextID+1, w.nextID+2
	w.nextID += 2
	w.links[here] = link{owner: i, remote: to, other: there}
	w.links[there] = link{owner: to, remote: i, other: here}
	w.after(w.cfg.Delay, to, mesh.Input{Kind: mesh.InPeer, Peer: there, Identity: w.hosts[i].ident})
	w.after(2*w.cfg.Delay, i, mesh.Input{Kind: mesh.InConnected, Peer: here, Identity: w.hosts[to].ident, Addr: address})
}

func (w *World) fetch(i int32, o *mesh.Output) {
	l, ok := w.links[o.Peer]
	if !ok {
		w.after(0, i, mesh.Input{Kind: mesh.InFetched, Want: o.Want, Reason: mesh.ReasonLinkLost})
		return
	}
	w.seq++
	w.reqs[w.seq] = request{i, o.Want}
	w.after(w.cfg.Delay, l.remote, mesh.Input{Kind: mesh.InRequest, Peer: l.other, Request: w.seq, Want: o.Want})
}

func (w *World) countAcks(m *mesh.Ack) {
	for i := range m.Entries {
		e := &m.Entries[i]
		held := w.Acked[e.Config]
		if held == nil || held.Epoch < e.Epoch {
			fresh := mesh.NewAckEntry(e.Config, e.Region, e.Epoch)
			fresh.Merge(e)
			w.Acked[e.Config] = fresh
		} else if held.Epoch == e.Epoch {
			held.Merge(e)
		}
	}
}

// Publish moves the pointer of config to a version under the next epoch.
func (w *World) Publish(config string, epoch, version uint64) {
	w.revision++
	p := record.Pointer{Config: config, Region: region, Epoch: epoch, Baseline: version, Phase: record.PhaseActive, TimeMicros: int64(w.now) / 1000}
	w.after(0, 0, mesh.Input{Kind: mesh.InPublish, Announcement: &mesh.Announcement{Revision: w.revision, Raw: w.signer.pointer(p), Pointer: p}})
}

// PublishHead lets the root sign and send a head.
func (w *World) PublishHead() {
	h := record.Head{Region: region, Revision: w.revision, TimeMicros: int64(w.now)/1000 + 1}
	w.after(0, 0, mesh.Input{Kind: mesh.InPublishHead, Head: h, HeadRaw: &mesh.SignedHead{Raw: w.signer.head(h)}})
}

// Crash stops host i at once; its peers notice after a keep-alive period.
func (w *World) Crash(i int, notice time.Duration) {
	w.hosts[i].down = true
	for id, l := range w.links {
		if l.owner == int32(i) {
			delete(w.links, id)
			w.after(notice, l.remote, mesh.Input{Kind: mesh.InDisconnected, Peer: l.other})
		}
	}
	for id, r := range w.reqs {
		if r.asker == int32(i) {
			delete(w.reqs, id)
		}
	}
}

// Restart boots host i again, with nothing remembered.
func (w *World) Restart(i int) { w.boot(int32(i)) }
