package simulator

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"banyan/mesh"
	"banyan/record"
)

// Applied is one effect on a simulated agent.
type Applied struct {
	Host    int32
	At      mesh.Time
	Config  string
	Epoch   uint64
	Version uint64
}

// World is a simulated fleet: coordinators first, one a region, the first of
// which leads; then the agents, region by region.
type World struct {
	cfg        Config
	now        mesh.Time
	rand       *rand.Rand
	queue      eventQueue
	inputs     slab[mesh.Input]
	calls      slab[func()]
	hosts      []host
	links      []link
	requests   map[uint64]request
	lastReq    uint64
	partitions []*partition
	signer     *signer
	out        []mesh.Output
	events     uint64

	store  store
	acked  map[ackKey]*mesh.AckEntry
	watch  []func(Applied)
	refuse func(host int32, reason string)
	trace  func(format string, args ...any)
}

// store is the leader's: the pointers it has committed.
type store struct {
	revision uint64
	epochs   map[string]uint64 // by config; the regions of a config move together
	versions map[string]uint64
	pointers []*mesh.Announcement // the newest of each config and region, by revision
}

type ackKey struct{ config, region string }

type request struct {
	asker int32
	peer  mesh.PeerID
	want  mesh.VersionKey
}

// NewWorld makes the hosts of a fleet. None runs yet: Boot starts them.
func NewWorld(cfg Config) (*World, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	w := &World{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0x776f726c64)), links: make([]link, 1), signer: newSigner(),
		requests: map[uint64]request{}, acked: map[ackKey]*mesh.AckEntry{}, store: store{epochs: map[string]uint64{}, versions: map[string]uint64{}}}
	total := len(cfg.Agents)
	for _, n := range cfg.Agents {
		total += n
	}
	w.hosts = make([]host, 0, total)
	for region, name := range cfg.Network.Matrix.Regions {
		w.addHost(region, 0, mesh.Identity{Role: mesh.RoleCoordinator, Region: name, Name: "coordinator-" + name})
	}
	for region, n := range cfg.Agents {
		for i := range n {
			w.addHost(region, i%cfg.Zones, mesh.Identity{Role: mesh.RoleAgent, Region: cfg.Network.Matrix.Regions[region], Name: "agent-" + strconv.Itoa(len(w.hosts))})
		}
	}
	return w, nil
}

func (w *World) addHost(region, zone int, id mesh.Identity) {
	h := host{ident: id, region: int16(region), zone: int16(zone), wakeAt: mesh.Never, down: true}
	if id.Role == mesh.RoleAgent && w.cfg.SlowShare > 0 && w.rand.Float64() < w.cfg.SlowShare {
		h.slow = w.cfg.SlowFactor
	}
	if w.cfg.ClockSkew > 0 {
		h.skew = time.Duration(w.rand.NormFloat64() * float64(w.cfg.ClockSkew))
	}
	w.hosts = append(w.hosts, h)
}

func (w *World) regions() int          { return len(w.cfg.Network.Matrix.Regions) }
func (w *World) isRoot(i int32) bool   { return int(i) < w.regions() }
func (w *World) isLeader(i int32) bool { return i == 0 }

// Now is the virtual time.
func (w *World) Now() mesh.Time { return w.now }

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

// Boot starts every host: coordinators at once, agents spread over cfg.Join.
func (w *World) Boot() {
	for i := range w.hosts {
		at := w.now
		if !w.isRoot(int32(i)) {
			at = at.Add(time.Duration(w.rand.Int64N(int64(w.cfg.Join)) + int64(time.Second)))
		}
		w.call(at, func() { w.Start(int32(i)) })
	}
	if w.cfg.Heads > 0 {
		w.call(w.now.Add(w.cfg.Heads), w.beat)
	}
}

// Start starts a host that is down, with what is on its disk.
func (w *World) Start(i int32) {
	h := &w.hosts[i]
	if !h.down {
		return
	}
	h.down = false
	h.boots++
	h.wakeAt, h.cpuFree, h.upFree, h.downFree = mesh.Never, w.now, w.now, w.now
	region := int(h.region)
	cfg := mesh.Config{Self: h.ident, Addr: address(i), Relay: true, Verifier: w.signer, Index: h.disk.index,
		Seed: w.cfg.Seed<<24 ^ uint64(i)<<8 ^ uint64(h.boots)}
	switch {
	case w.isRoot(i):
		const block = mesh.DefaultMaxAgents
		cfg.Planner = mesh.NewPlanner(mesh.PlannerConfig{Fanout: w.cfg.Fanout, MaxAgents: max(w.cfg.Agents[region]+1, block), FirstIndex: h.disk.index})
		h.disk.index += uint32(max(w.cfg.Agents[region]+1, block))
		cfg.HoldsAll = w.isLeader(i)
		if !w.isLeader(i) {
			cfg.Seeds = []string{address(0)}
		}
	default:
		cfg.Seeds = []string{address(int32(region))}
	}
	h.node = mesh.NewNode(cfg)
	w.restore(i)
	w.input(w.now, i, mesh.Input{Kind: mesh.InStart})
}

// restore gives a node what its host's disk holds; to the leader, what its store holds.
func (w *World) restore(i int32) {
	h := &w.hosts[i]
	if w.isLeader(i) {
		for _, a := range w.store.pointers {
			h.node.Step(w.now, mesh.Input{Kind: mesh.InPublish, Announcement: a}, nil)
		}
		return
	}
	for _, config := range sortedKeys(h.disk.applied) {
		d := h.disk.applied[config]
		h.node.Step(w.now, mesh.Input{Kind: mesh.InRestore, Announcement: d.announcement, Version: d.version}, nil)
	}
	for v := range h.disk.held {
		h.node.Step(w.now, mesh.Input{Kind: mesh.InHold, Want: v}, nil)
	}
	h.node.Step(w.now, mesh.Input{Kind: mesh.InResume, Revision: h.disk.watermark}, nil)
}

// Crash stops a host at once, with kill -9: what is on its disk stays. If it told
// nobody, its peers find out after the idle timeout.
func (w *World) Crash(i int32) {
	h := &w.hosts[i]
	if h.down {
		return
	}
	h.down = true
	h.node = nil
	for id := range w.links {
		l := &w.links[id]
		if l.owner == i && l.alive {
			l.alive = false
			w.expire(l.other)
		}
	}
}

// Run handles events until the virtual time is until.
func (w *World) Run(until mesh.Time) {
	for w.queue.len() > 0 && w.queue.heap[0].at <= until {
		w.handle(w.queue.pop())
	}
	w.now = max(w.now, until)
}

// RunUntil handles events until done reports true, asked every interval, or the
// virtual time is limit; it reports whether done did.
func (w *World) RunUntil(limit mesh.Time, interval time.Duration, done func() bool) bool {
	for w.now < limit {
		w.Run(min(w.now.Add(interval), limit))
		if done() {
			return true
		}
	}
	return false
}

func (w *World) handle(e event) {
	w.now = e.at
	switch e.kind {
	case evCall:
		w.calls.take(e.ref)()
	case evTick:
		w.tick(e.host)
	case evInput:
		if !e.settled && w.defers(&e) {
			return
		}
		in := w.inputs.take(e.ref)
		if w.hosts[e.host].down || !w.reaches(&in) {
			return
		}
		w.step(e.host, in)
	}
	w.events++
}

// defers puts an input off until its host's processor is free, and takes the
// processor for it.
func (w *World) defers(e *event) bool {
	h := &w.hosts[e.host]
	in := &w.inputs.values[e.ref]
	if in.Kind != mesh.InReceived || h.down {
		return false
	}
	at := h.spend(e.at, w.receiveCost(in.Message))
	if at == e.at {
		return false
	}
	e.settled, e.at = true, at
	w.queue.push(*e)
	return true
}

func (w *World) receiveCost(m mesh.Message) time.Duration {
	switch m.(type) {
	case *mesh.Announcement, *mesh.SignedHead:
		return w.cfg.Costs.Receive + w.cfg.Costs.Verify
	}
	return w.cfg.Costs.Receive
}

// reaches tells whether an input still has a link to come over.
func (w *World) reaches(in *mesh.Input) bool {
	switch in.Kind {
	case mesh.InReceived, mesh.InPeer, mesh.InRequest, mesh.InConnected:
		return w.links[in.Peer].alive
	case mesh.InDisconnected:
		l := &w.links[in.Peer]
		l.alive, l.dying, l.held = false, false, nil
	}
	return true
}

func (w *World) tick(i int32) {
	h := &w.hosts[i]
	if h.down || h.wakeAt > w.now {
		return // an earlier tick moved the deadline; another is in the queue
	}
	h.wakeAt = mesh.Never
	if h.node.Deadline() > w.now {
		w.schedule(i)
		return
	}
	w.step(i, mesh.Input{Kind: mesh.InTick})
}

// step feeds one input to a node and carries out what it wants.
func (w *World) step(i int32, in mesh.Input) {
	out := w.hosts[i].node.Step(w.now, in, w.out[:0])
	w.out = nil // carryOut may step another
	for j := range out {
		w.carryOut(i, &out[j])
	}
	w.out = out[:0]
	if !w.hosts[i].down {
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

func (w *World) input(at mesh.Time, i int32, in mesh.Input) {
	w.queue.push(event{at: max(at, w.now), host: i, kind: evInput, ref: w.inputs.put(in)})
}

func (w *World) call(at mesh.Time, fn func()) {
	w.queue.push(event{at: max(at, w.now), kind: evCall, ref: w.calls.put(fn)})
}

// carryOut does what a node asked for.
func (w *World) carryOut(i int32, o *mesh.Output) {
	switch o.Op {
	case mesh.OpSend:
		if m := w.corrupt(i, o); m != nil {
			w.transmit(o.Peer, m, w.now)
		}
	case mesh.OpConnect:
		w.connect(i, o.Addr, w.now)
	case mesh.OpDrop:
		w.closeLink(o.Peer, w.now)
	case mesh.OpFetch:
		w.fetch(i, o)
	case mesh.OpServe, mesh.OpDeny:
		w.serve(i, o)
	case mesh.OpActivate:
		w.activate(i, o)
	case mesh.OpAcked:
		w.countAcks(o.Message.(*mesh.Ack))
	case mesh.OpAttached:
		if index, ok := w.hosts[i].node.Index(); ok && !w.isRoot(i) {
			w.hosts[i].disk.index = index + 1
		}
	case mesh.OpRefused:
		if w.refuse != nil {
			w.refuse(i, o.Reason)
		}
	}
	if w.trace != nil {
		w.traceOutput(i, o)
	}
}

// corrupt is what a host that misbehaves sends instead of a message.
func (w *World) corrupt(i int32, o *mesh.Output) mesh.Message {
	a, announcement := o.Message.(*mesh.Announcement)
	if !announcement || w.hosts[i].fault == honest {
		return o.Message
	}
	switch w.hosts[i].fault {
	case withholds:
		return nil
	case forges:
		forged := append([]byte(nil), a.Raw...)
		forged[len(forged)-1] ^= 0x80
		return &mesh.Announcement{Revision: a.Revision, Raw: forged}
	default: // replays
		for _, old := range w.signer.of(a.Pointer.Config, a.Pointer.Region) {
			return &mesh.Announcement{Revision: a.Revision, Raw: old}
		}
		return nil
	}
}

// fetch asks a peer for a body: a small message there, the body back as a flow.
func (w *World) fetch(i int32, o *mesh.Output) {
	l := &w.links[o.Peer]
	if !l.alive || w.cutOff(i, l.remote) {
		w.input(w.now, i, mesh.Input{Kind: mesh.InFetched, Want: o.Want, Reason: mesh.ReasonLinkLost})
		return
	}
	w.lastReq++
	ref := w.lastReq
	w.requests[ref] = request{i, o.Peer, o.Want}
	w.count(i, l.remote, controlSize)
	ready := w.hosts[i].spend(w.now, w.cfg.Costs.Send)
	w.input(ready.Add(w.propagation(i, l.remote)), l.remote, mesh.Input{Kind: mesh.InRequest, Peer: l.other, Request: ref, Want: o.Want})
	w.watchRequest(ref)
}

// watchRequest ends a request whose link is lost before the answer came.
func (w *World) watchRequest(ref uint64) {
	w.call(w.now.Add(w.cfg.Idle), func() {
		r, waits := w.requests[ref]
		if !waits {
			return
		}
		if w.links[r.peer].alive {
			w.watchRequest(ref)
			return
		}
		delete(w.requests, ref)
		w.input(w.now, r.asker, mesh.Input{Kind: mesh.InFetched, Want: r.want, Reason: mesh.ReasonLinkLost})
	})
}

func (w *World) serve(i int32, o *mesh.Output) {
	ref := o.Request
	r, waits := w.requests[ref]
	if !waits {
		return // given up
	}
	reason := o.Reason
	size := w.cfg.BodyBytes + manifestSize
	if o.Op == mesh.OpDeny {
		size = controlSize
	}
	w.hosts[i].spend(w.now, w.cfg.Costs.Send)
	w.startFlow(i, r.asker, size, func(at mesh.Time) {
		if _, waits := w.requests[ref]; !waits {
			return
		}
		delete(w.requests, ref)
		boots := w.hosts[r.asker].boots
		done := w.hosts[r.asker].spend(at, w.cfg.Costs.Receive+w.cfg.Costs.Verify).Add(w.cfg.Costs.Store)
		w.call(done, func() { w.stored(r, reason, boots) })
	})
}

// stored ends a fetch: the body is on the asker's disk, unless it died meanwhile.
func (w *World) stored(r request, reason string, boots uint32) {
	h := &w.hosts[r.asker]
	if h.down || h.boots != boots {
		return
	}
	if reason == "" {
		if h.disk.held == nil {
			h.disk.held = map[mesh.VersionKey]struct{}{}
		}
		h.disk.held[r.want] = struct{}{}
	}
	w.step(r.asker, mesh.Input{Kind: mesh.InFetched, Want: r.want, Reason: reason})
}

// activate applies a version durably: the disk has it when the apply is done.
func (w *World) activate(i int32, o *mesh.Output) {
	h := &w.hosts[i]
	a, version, watermark, boots := o.Announcement, o.Version, h.node.Watermark(), h.boots
	w.call(w.now.Add(w.slowed(h, w.cfg.Costs.Apply)), func() {
		h := &w.hosts[i]
		if h.down || h.boots != boots {
			return
		}
		if h.disk.applied == nil {
			h.disk.applied = map[string]onDisk{}
		}
		h.disk.applied[a.Pointer.Config] = onDisk{a, version}
		h.disk.watermark = watermark
		if !w.isRoot(i) {
			for _, fn := range w.watch {
				fn(Applied{i, w.now, a.Pointer.Config, a.Pointer.Epoch, version})
			}
		}
		latency := int64(w.now)/1000 + h.skew.Microseconds() - a.Pointer.TimeMicros
		w.step(i, mesh.Input{Kind: mesh.InActivated, Announcement: a, Version: version, LatencyMicros: latency})
	})
}

func (w *World) slowed(h *host, d time.Duration) time.Duration {
	if h.slow > 1 {
		return time.Duration(float64(d) * h.slow)
	}
	return d
}

func (w *World) countAcks(m *mesh.Ack) {
	for i := range m.Entries {
		e := &m.Entries[i]
		key := ackKey{e.Config, e.Region}
		held := w.acked[key]
		if held == nil || held.Epoch < e.Epoch {
			held = mesh.NewAckEntry(e.Config, e.Region, e.Epoch)
			w.acked[key] = held
		}
		if held.Epoch == e.Epoch {
			held.Merge(e)
		}
	}
}

// Acked is what the coordinators know of a config's newest epoch in a region.
func (w *World) Acked(config, region string) *mesh.AckEntry { return w.acked[ackKey{config, region}] }

// Publish moves every region's pointer of config to a version: it is committed by
// a quorum, then announced. It returns the epoch.
func (w *World) Publish(config string, version uint64) uint64 {
	w.store.epochs[config]++
	w.store.versions[config] = version
	epoch := w.store.epochs[config]
	began := w.now
	w.call(w.now.Add(w.cfg.commit()), func() {
		for _, region := range w.cfg.Network.Matrix.Regions {
			w.store.revision++
			p := record.Pointer{Config: config, Region: region, Epoch: epoch, Baseline: version, Phase: record.PhaseActive, TimeMicros: int64(began) / 1000}
			w.commitPointer(&mesh.Announcement{Revision: w.store.revision, Raw: w.signer.pointer(p), Pointer: p})
		}
	})
	return epoch
}

func (w *World) commitPointer(a *mesh.Announcement) {
	kept := w.store.pointers[:0]
	for _, old := range w.store.pointers {
		if old.Pointer.Config != a.Pointer.Config || old.Pointer.Region != a.Pointer.Region {
			kept = append(kept, old)
		}
	}
	w.store.pointers = append(kept, a)
	if !w.hosts[0].down {
		w.step(0, mesh.Input{Kind: mesh.InPublish, Announcement: a})
	}
}

// beat lets the leader sign and send a head for every region, and arranges the next.
func (w *World) beat() {
	w.call(w.now.Add(w.cfg.Heads), w.beat)
	if w.hosts[0].down {
		return
	}
	for _, region := range w.cfg.Network.Matrix.Regions {
		h := record.Head{Region: region, Revision: w.hosts[0].node.Revision(region), TimeMicros: int64(w.now)/1000 + 1}
		w.step(0, mesh.Input{Kind: mesh.InPublishHead, Head: h, HeadRaw: &mesh.SignedHead{Raw: w.signer.head(h)}})
	}
}

// Attached counts the agents that are up, and those of them that have a parent.
func (w *World) Attached() (up, attached int) {
	for i := w.regions(); i < len(w.hosts); i++ {
		if h := &w.hosts[i]; !h.down {
			up++
			if h.node.Attached() {
				attached++
			}
		}
	}
	return up, attached
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
