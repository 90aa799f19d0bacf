package agent

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"banyan/mesh"
	"banyan/mesh/step"
	meshtree "banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/shardstore"
	"banyan/transport"
	"banyan/transport/gossip"
)

// EventKind says what an Event tells.
type EventKind string

// The events of an agent.
const (
	EventVerified EventKind = "verified" // Pointer is new and its signature good
	EventApplied  EventKind = "applied"  // Pointer is durable and its version shows
	EventFailed   EventKind = "failed"   // Pointer could not be applied: Reason
	EventRefused  EventKind = "refused"  // something was refused: Reason
)

// Event is a thing that happened on an agent.
type Event struct {
	Kind    EventKind
	Agent   string
	Pointer record.Pointer
	Version uint64
	Reason  string
	Peer    string // whom it came from, if that is known
	At      time.Time
}

// Agent is the daemon on a host.
type Agent struct {
	advertise string
	pool      atomic.Pointer[gossip.Pool] // nil: this agent is in none
	known     atomic.Uint64               // newest revision that gossip told of
	ctx       context.Context             // of Run
	group     sync.WaitGroup              // goroutines of Run

	cfg     Config
	log     *slog.Logger
	tree    *tree
	shards  *shardstore.Store
	cache   *shardstore.Store
	state   *state
	ep      *transport.Endpoint
	node    *mesh.Node
	driver  *transport.Driver
	metrics *agentMetrics
	applier *applier
	hooks   *hooked
	local   net.Listener

	children atomic.Int64
	attached atomic.Bool
	headTime atomic.Int64 // microseconds since the Unix epoch of the newest head

	quota sync.Mutex // held while room is made on disk

	mu      sync.Mutex
	configs map[string]Applied // guarded by mu
	named   map[string]named   // versions that pointers name, by config; guarded by mu
	changed chan struct{}      // closed and replaced at each change; guarded by mu
}

// Applied is what an agent runs of a config.
type Applied struct {
	Config    string    `json:"config"`
	Region    string    `json:"region"`
	Epoch     uint64    `json:"epoch"`
	Version   uint64    `json:"version"`
	AppliedAt time.Time `json:"applied_at"`
	SHA256    string    `json:"sha256,omitempty"`
	Size      int64     `json:"size"`
	Type      string    `json:"content_type,omitempty"`
	Staleness float64   `json:"staleness_s"` // -1: no head seen yet
	// Pending: its reload hook has not ended well yet.
	Pending bool `json:"reload_pending,omitempty"`
	// Drift says how the file differs from what was applied; "": it did not when last looked at.
	Drift string `json:"drift,omitempty"`
}

// Open reads what the agent remembers, finishes a swap that a crash cut short,
// and binds its sockets. Run starts it; if Run is not called, Close must be.
func Open(cfg Config) (_ *Agent, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, log: cfg.Log, configs: map[string]Applied{}, named: map[string]named{}, changed: make(chan struct{})}
	a.metrics = newMetrics(a)
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	if a.tree, err = openTree(cfg.OutputDir, cfg.DiskReserve); err != nil {
		return nil, err
	}
	if a.state, err = openState(cfg.StateDir, cfg.DiskReserve); err != nil {
		return nil, err
	}
	if a.shards, err = shardstore.Open(a.tree.partialDir(), cfg.DiskReserve, a.tree.openForm); err != nil {
		return nil, err
	}
	if a.cache, err = openCache(a.tree.cacheDir(), cfg.DiskReserve); err != nil {
		return nil, err
	}
	a.ep, err = transport.Open(transport.Config{Listen: cfg.Listen, Identity: cfg.Identity, PacketConn: cfg.PacketConn,
		KeepAlive: cfg.KeepAlive, IdleTimeout: cfg.IdleTimeout, Limits: transport.NewLimits(cfg.MaxUpload, cfg.MaxDownload)})
	if err != nil {
		return nil, err
	}
	if a.local, err = listenLocal(cfg.LocalAPI); err != nil {
		return nil, err
	}
	if err := a.recover(); err != nil {
		return nil, err
	}
	a.driver = transport.NewDriver(a.node, a.ep, transport.Handlers{
		Bodies:   a,
		Receiver: a,
		Cache:    a,
		Pointers: a,
		Bases:    a.tree.held,
		Observe:  a.observe,
	}, a.log)
	a.applier = newApplier(a)
	a.hooks = newHooked(a)
	return a, nil
}

// partialAge is how long what has come of a body is kept that did not go on coming.
const partialAge = 24 * time.Hour

// recover makes the node and gives it what was held before; what is committed is
// made to show, and what is damaged is left to be fetched again.
func (a *Agent) recover() error {
	rows, watermark, index, err := a.state.load()
	if err != nil {
		return err
	}
	advertise, err := transport.Advertised(a.cfg.Advertise, a.ep.Addr().String(), a.cfg.Coordinators[0])
	if err != nil {
		return err
	}
	a.advertise = advertise
	a.node = mesh.NewNode(mesh.Config{
		Self: a.cfg.Identity.Identity.Mesh(),
		Description: wire.Description{
			Addr:          advertise,
			Relay:         !a.cfg.Leaf,
			Capacity:      uint32(a.cfg.MaxChildren),
			Labels:        a.cfg.Labels,
			Subscriptions: a.cfg.Subscriptions,
		},
		CacheLimit: a.cfg.CacheLimit,
		Seeds:      meshtree.Rendezvous(a.Name(), a.cfg.Coordinators),
		Verifier:   a.cfg.Identity.Policy,
		Index:      index,
		Seed:       rand.Uint64(),
	})
	if err := a.shards.Prune(partialAge); err != nil {
		return err
	}
	versions, err := a.tree.scan()
	if err != nil {
		return err
	}
	damaged := map[record.VersionKey]bool{}
	for _, c := range rows {
		a.name(&c.pointer)
		v := record.VersionKey{Config: c.pointer.Config, Version: c.Version}
		if !a.subscribes(v.Config) {
			a.node.Step(0, step.Input{Kind: step.InRestore, Announcement: c.announcement(), Version: c.Version}, nil)
			continue
		}
		if err := a.restore(c, v); err != nil {
			a.log.Error("committed version is damaged and will be fetched again", "config", v.Config, "version", v.Version, "error", err)
			damaged[v] = true
			watermark = min(watermark, c.Revision-1)
			a.node.Step(0, step.Input{Kind: step.InRestore, Announcement: c.announcement(), Unapplied: true}, nil)
			continue
		}
		// A reload that was cut short is done again: the config settles anew.
		a.node.Step(0, step.Input{Kind: step.InRestore, Announcement: c.announcement(), Version: c.Version, Unapplied: c.Pending}, nil)
	}
	for _, v := range versions {
		if !a.subscribes(v.Config) {
			if err := a.unsubscribe(v); err != nil {
				return err
			}
			continue
		}
		if !damaged[v] {
			a.node.Step(0, step.Input{Kind: step.InHold, Want: v, Forms: a.tree.forms(v)}, nil)
		}
	}
	a.node.Step(0, step.Input{Kind: step.InResume, Revision: watermark}, nil)
	return nil
}

// subscribes tells whether this host applies a config.
func (a *Agent) subscribes(config string) bool { return a.cfg.Subscriptions.Include(config) }

// unsubscribe removes a version of a config that this host does not subscribe to any
// more, and what shows of it: a file that nobody keeps up to date is worse than none.
func (a *Agent) unsubscribe(v record.VersionKey) error {
	a.log.Warn("no longer subscribed: removed", "config", v.Config, "version", v.Version)
	if err := a.tree.hide(v.Config); err != nil {
		return err
	}
	return a.tree.remove(v)
}

func (c committed) announcement() *wire.Announcement {
	return &wire.Announcement{Revision: c.Revision, Raw: c.Raw, Pointer: c.pointer}
}

// restore makes a committed version show, if it is whole on disk.
func (a *Agent) restore(c committed, v record.VersionKey) error {
	applied := Applied{Config: c.pointer.Config, Region: c.pointer.Region, Epoch: c.pointer.Epoch, Version: c.Version, Pending: c.Pending,
		AppliedAt: time.UnixMicro(c.AtMicros)}
	if c.Version == 0 {
		a.remember(applied)
		return a.tree.hide(v.Config)
	}
	if err := a.tree.check(v); err != nil {
		return err
	}
	if err := a.tree.show(v); err != nil {
		return err
	}
	a.describe(&applied, v)
	a.remember(applied)
	return nil
}

func (a *Agent) describe(applied *Applied, v record.VersionKey) {
	if m, err := a.tree.meta(v); err == nil {
		applied.SHA256, applied.Size, applied.Type = m.SHA256.String(), m.Size, m.ContentType
	}
}

// remember publishes what is applied to local readers and watchers.
func (a *Agent) remember(applied Applied) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.configs[applied.Config] = applied
	close(a.changed)
	a.changed = make(chan struct{})
}

// setDrifted publishes how a config's file differs from what was applied.
func (a *Agent) setDrifted(config string, why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	applied, ok := a.configs[config]
	if !ok {
		return
	}
	if applied.Drift = ""; why != nil {
		applied.Drift = why.Error()
	}
	a.configs[config] = applied
}

// Run joins the tree and serves until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	a.ctx = ctx
	defer a.Close()
	group := &a.group
	defer group.Wait()
	defer cancel()
	group.Go(func() { a.applier.run(ctx) })
	group.Go(func() { a.watchDrift(ctx) })
	if a.local != nil {
		group.Go(func() { a.serveLocal(ctx) })
	}
	a.log.Info("agent runs", "addr", a.ep.Addr().String())
	a.driver.Run(ctx)
	return nil
}

// Close releases what Open took. Run does so itself.
func (a *Agent) Close() error {
	var errs []error
	if a.local != nil {
		a.local.Close()
	}
	errs = append(errs, a.closeGossip())
	if a.ep != nil {
		errs = append(errs, a.ep.Close())
		a.ep = nil
	}
	for _, s := range []*shardstore.Store{a.shards, a.cache} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	if a.state != nil {
		errs = append(errs, a.state.close())
		a.state = nil
	}
	return errors.Join(errs...)
}

// Name is the agent's name.
func (a *Agent) Name() string { return a.cfg.Identity.Identity.Name }

// Applied lists what the agent runs.
func (a *Agent) Applied(config string) (Applied, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	applied, ok := a.configs[config]
	applied.Staleness = seconds(a.staleness())
	return applied, ok
}

func (a *Agent) configCount() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.configs)
}

// staleness is the age of the newest head: how long ago this host surely knew
// all there was to know. It is the largest duration before the first head.
func (a *Agent) staleness() time.Duration {
	head := a.headTime.Load()
	if head == 0 {
		return math.MaxInt64
	}
	return max(time.Since(time.UnixMicro(head)), 0)
}

func seconds(d time.Duration) float64 {
	if d == math.MaxInt64 {
		return -1
	}
	return d.Seconds()
}

func (a *Agent) emit(e Event) {
	if a.cfg.OnEvent != nil {
		e.Agent, e.At = a.Name(), time.Now()
		a.cfg.OnEvent(e)
	}
}

// observe counts and logs what the node reports.
func (a *Agent) observe(o step.Output) {
	a.children.Store(int64(a.node.Children()))
	a.attached.Store(a.node.Attached())
	switch o.Op {
	case step.OpAccepted:
		a.name(&o.Announcement.Pointer)
		a.hooks.supersede(&o.Announcement.Pointer)
		a.metrics.verified.Update(float64(time.Now().UnixMicro()-o.Announcement.Pointer.TimeMicros) / 1e6)
		a.emit(Event{Kind: EventVerified, Pointer: o.Announcement.Pointer})
	case step.OpRefused:
		a.metrics.refused(o.Reason)
		a.log.Warn("refused", "reason", o.Reason)
		a.emit(Event{Kind: EventRefused, Reason: o.Reason, Peer: o.Name})
	case step.OpHead:
		a.headTime.Store(o.Head.TimeMicros)
	case step.OpGap:
		a.metrics.gaps.Inc()
		a.log.Warn("parent is behind the head", "head_revision", o.Revision)
	case step.OpAttached:
		parent, _ := a.node.Parent()
		a.log.Info("attached", "parent", parent.Name)
		if index, ok := a.node.Index(); ok {
			a.applier.saveIndex(index + 1)
		}
	case step.OpDuplicate:
		a.metrics.duplicates.Inc()
	case step.OpSuspect:
		a.metrics.suspects.Inc()
		a.log.Debug("a source of shards is silent", "source", o.Name, "config", o.Want.Config, "version", o.Want.Version)
	case step.OpSlow:
		a.metrics.slow.Inc()
	case step.OpGossip:
		a.group.Go(func() { a.gossip(o.Addrs) })
	case step.OpDrop:
		a.metrics.parentLost.Inc()
	}
}

// Activate implements transport.PointerOwner.
func (a *Agent) Activate(ann *wire.Announcement, version uint64, done func(string, int64)) {
	act := activation{announcement: ann, version: version, watermark: a.node.Watermark(), done: done}
	if rule := a.hooks.concerns(act); rule != nil && a.subscribes(ann.Pointer.Config) {
		a.hooks.start(act, rule)
	} else {
		a.applier.add(act)
	}
}
