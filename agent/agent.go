package agent

import (
	"context"
	"errors"
	"log/slog"
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
)

// Agent is the daemon on a host. Each part of the agent has a file; Agent connects the parts.
type Agent struct {
	cfg     Config
	log     *slog.Logger
	metrics *agentMetrics

	tree      *tree
	state     *state
	shards    *shardstore.Store // forms on their way, and forms in the tree
	cache     *shardstore.Store // forms of configs without a subscription
	applied   *appliedSet
	retention *retention
	bodies    *bodies
	applier   *applier
	hooks     *hookRunner
	drift     *driftWatch
	gossip    *gossipMember
	local     net.Listener // nil: no local API

	ep     *transport.Endpoint
	node   *mesh.Node
	driver *transport.Driver

	ctx      context.Context // of Run
	group    sync.WaitGroup  // goroutines of Run
	children atomic.Int64
	attached atomic.Bool
}

// A Wrapper replaces handlers of the driver, and calls the original handlers. A test
// wraps the handlers to see what the agent does about a fault, or what other hosts do about a
// faulty agent.
type Wrapper func(transport.Handlers) transport.Handlers

// Open reads the agent's database, finishes a swap that a crash cut short, and binds the
// sockets. Run starts the agent. If Run is not called, Close must be.
func Open(cfg Config, wrappers ...Wrapper) (_ *Agent, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, log: cfg.Log, metrics: newMetrics(), applied: newAppliedSet()}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	if err := a.openStores(); err != nil {
		return nil, err
	}
	a.ep, err = transport.Open(transport.Config{
		Listen:      cfg.Listen,
		Identity:    cfg.Identity,
		PacketConn:  cfg.PacketConn,
		KeepAlive:   cfg.KeepAlive,
		IdleTimeout: cfg.IdleTimeout,
		Limits:      transport.NewLimits(cfg.MaxUpload, cfg.MaxDownload),
	})
	if err != nil {
		return nil, err
	}
	if a.local, err = listenLocal(cfg.LocalAPI); err != nil {
		return nil, err
	}
	advertise, err := transport.Advertised(cfg.Advertise, a.ep.Addr().String(), cfg.Coordinators[0])
	if err != nil {
		return nil, err
	}
	if err := a.recover(advertise); err != nil {
		return nil, err
	}
	a.makeParts(advertise)
	handlers := a.handlers()
	for _, wrap := range wrappers {
		handlers = wrap(handlers)
	}
	a.driver = transport.NewDriver(a.node, a.ep, handlers, a.log)
	a.metrics.gauges(a)
	return a, nil
}

func (a *Agent) openStores() (err error) {
	reserve := a.cfg.DiskReserve
	if a.tree, err = openTree(a.cfg.OutputDir, reserve); err != nil {
		return err
	}
	if a.state, err = openState(a.cfg.StateDir, reserve); err != nil {
		return err
	}
	a.shards, err = shardstore.Open(a.tree.partialDir(), reserve, library{a.tree}.load)
	if err != nil {
		return err
	}
	a.cache, err = openCache(a.tree.cacheDir(), reserve)
	return err
}

// makeParts makes the parts, after the stores and the node are open.
func (a *Agent) makeParts(advertise string) {
	a.retention = &retention{
		tree:    a.tree,
		shards:  a.shards,
		applied: a.applied,
		keep:    a.cfg.Keep,
		quota:   a.cfg.DiskQuota,
		log:     a.log,
		deleted: a.deleted,
	}
	a.bodies = &bodies{
		policy:        a.cfg.Identity.Policy,
		subscriptions: a.cfg.Subscriptions,
		tree:          a.tree,
		shards:        a.shards,
		cache:         a.cache,
		retention:     a.retention,
		metrics:       a.metrics,
		log:           a.log,
	}
	a.applier = &applier{
		state:         a.state,
		tree:          a.tree,
		applied:       a.applied,
		subscriptions: a.cfg.Subscriptions,
		retention:     a.retention,
		metrics:       a.metrics,
		log:           a.log,
		emit:          a.emit,
		wake:          make(chan struct{}, 1),
		stopped:       make(chan struct{}),
	}
	a.hooks = &hookRunner{
		rules:   a.cfg.Hooks,
		agent:   a.Name(),
		labels:  a.cfg.Labels,
		tree:    a.tree,
		applied: a.applied,
		applier: a.applier,
		metrics: a.metrics,
		log:     a.log,
		slots:   make(chan struct{}, hooksAtOnce),
		running: map[string]*hookRun{},
		again:   map[string]bool{},
	}
	a.drift = &driftWatch{
		interval: a.cfg.DriftInterval,
		tree:     a.tree,
		applied:  a.applied,
		hooks:    a.hooks,
		metrics:  a.metrics,
		log:      a.log,
		tell:     a.tell,
		abandon:  a.bodies.Abandon,
		good:     map[string]fingerprint{},
		drifted:  map[string]bool{},
	}
	a.gossip = &gossipMember{
		identity:  a.cfg.Identity,
		listen:    a.cfg.Listen,
		advertise: advertise,
		log:       a.log,
		tell:      a.tell,
	}
}

// handlers returns what the driver calls.
func (a *Agent) handlers() transport.Handlers {
	return transport.Handlers{
		Bodies:   a.bodies,
		Receiver: a.bodies,
		Cache:    a.bodies,
		Pointers: a,
		Bases:    a.tree.held,
		Observe:  a.observe,
	}
}

// partialAge is the age at which the shards of an incomplete body are deleted, if no further
// shard has come.
const partialAge = 24 * time.Hour

// recover makes the node, shows the committed versions, and tells the node which versions are
// on disk. The node fetches a damaged version again.
func (a *Agent) recover(advertise string) error {
	remembered, err := a.state.load()
	if err != nil {
		return err
	}
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
		Index:      remembered.index,
		Seed:       rand.Uint64(),
	})
	if err := a.shards.Prune(partialAge); err != nil {
		return err
	}
	if err := a.tree.clean(); err != nil {
		return err
	}
	watermark := remembered.watermark
	damaged := map[record.VersionKey]bool{}
	for _, c := range remembered.rows {
		if ok := a.restore(c); !ok {
			damaged[c.key()] = true
			watermark = min(watermark, c.Revision-1)
		}
	}
	if err := a.restoreVersions(damaged); err != nil {
		return err
	}
	a.node.Step(0, step.Input{Kind: step.InResume, Revision: watermark}, nil)
	return nil
}

// restore shows a committed version and gives the node the pointer. It reports whether the
// version is undamaged.
func (a *Agent) restore(c committed) bool {
	a.applied.setNamed(&c.pointer)
	input := step.Input{
		Kind:    step.InRestore,
		Pointer: step.Pointer{Announcement: c.announcement(), Version: c.Version},
	}
	if a.cfg.Subscriptions.Include(c.pointer.Config) {
		if err := a.restoreFiles(c); err != nil {
			a.log.Error("committed version is damaged and will be fetched again",
				"config", c.pointer.Config, "version", c.Version, "error", err)
			input.Pointer.Version = 0
			input.Pointer.Unapplied = true
			a.node.Step(0, input, nil)
			return false
		}
		// The node activates a version again whose reload a crash has cut short.
		input.Pointer.Unapplied = c.Pending
	}
	a.node.Step(0, input, nil)
	return true
}

// restoreFiles shows a committed version if it is complete on disk.
func (a *Agent) restoreFiles(c committed) error {
	dir := a.tree.config(c.pointer.Config)
	if c.Version == 0 {
		a.applied.put(c.describe(a.tree))
		return dir.hide()
	}
	version := a.tree.version(c.key())
	if err := version.check(); err != nil {
		return err
	}
	if err := dir.show(version); err != nil {
		return err
	}
	a.applied.put(c.describe(a.tree))
	return nil
}

// restoreVersions tells the node which undamaged versions are on disk. It deletes the
// versions of configs that the host no longer subscribes to, and the files of these configs:
// a file without updates is worse than no file.
func (a *Agent) restoreVersions(damaged map[record.VersionKey]bool) error {
	versions, err := a.tree.all()
	if err != nil {
		return err
	}
	for _, v := range versions {
		switch {
		case !a.cfg.Subscriptions.Include(v.key.Config):
			a.log.Warn("no longer subscribed: version deleted",
				"config", v.key.Config, "version", v.key.Version)
			if err := a.tree.config(v.key.Config).hide(); err != nil {
				return err
			}
			if err := a.tree.removeWithParents(v.key); err != nil {
				return err
			}
		case !damaged[v.key]:
			forms := a.tree.version(v.key).formsOnDisk()
			a.node.Step(0, step.Input{Kind: step.InHold, Body: step.Body{Version: v.key, Forms: forms}}, nil)
		}
	}
	return nil
}

// Run joins the tree and serves until ctx ends. At the end, Run closes the agent.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	a.ctx = ctx
	a.gossip.ctx = ctx
	defer a.Close()
	defer a.group.Wait()
	defer a.hooks.wait()
	defer cancel()
	a.group.Go(func() { a.applier.run(ctx) })
	a.group.Go(func() { a.drift.run(ctx) })
	if a.local != nil {
		api := &localAPI{
			listener: a.local,
			applied:  a.applied,
			tree:     a.tree,
			metrics:  a.metrics,
			log:      a.log,
			status:   a.Status,
		}
		a.group.Go(func() { api.serve(ctx) })
	}
	a.log.Info("agent runs", "addr", a.ep.Addr().String())
	a.driver.Run(ctx)
	return nil
}

// Close closes the stores and the sockets. Run calls Close.
func (a *Agent) Close() error {
	var errs []error
	if a.local != nil {
		a.local.Close()
	}
	if a.gossip != nil {
		errs = append(errs, a.gossip.close())
	}
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

// LocalAddr is the address of the local API; nil without a local API.
func (a *Agent) LocalAddr() net.Addr {
	if a.local == nil {
		return nil
	}
	return a.local.Addr()
}

// Applied returns the state of config on this host.
func (a *Agent) Applied(config string) (Applied, bool) { return a.applied.get(config) }

// Shards returns the number of stored shards, and the number of shards
// received twice.
func (a *Agent) Shards() (stored, duplicates uint64) {
	return a.metrics.shards.Get(), a.metrics.duplicates.Get()
}

// Status describes the agent. ok is false if the agent is stopping.
func (a *Agent) Status(ctx context.Context) (s Status, ok bool) {
	s = Status{
		Agent:         a.Name(),
		Region:        a.cfg.Identity.Identity.Region,
		Staleness:     seconds(a.applied.staleness()),
		Configs:       a.applied.count(),
		Subscriptions: a.cfg.Subscriptions.Scopes(),
		Gossip:        a.gossip.members(),
		Known:         a.gossip.known.Load(),
	}
	ok = a.driver.Do(ctx, func(n *mesh.Node) {
		s.Attached = n.Attached()
		s.Children = n.Children()
		s.Revision = n.Revision(s.Region)
		parent, _ := n.Parent()
		s.Parent = parent.Name
	})
	return s, ok
}

// Activate implements transport.PointerOwner.
func (a *Agent) Activate(
	ann *wire.Announcement, version uint64, done func(reason string, latencyMicros int64),
) {
	act := activation{announcement: ann, version: version, watermark: a.node.Watermark(), done: done}
	rule := a.hooks.ruleFor(act)
	if rule != nil && a.cfg.Subscriptions.Include(ann.Pointer.Config) {
		a.hooks.start(a.ctx, act, rule)
	} else {
		a.applier.add(act)
	}
}

// observe counts and logs the reports of the node. It runs in the driver's goroutine.
func (a *Agent) observe(o step.Output) {
	a.children.Store(int64(a.node.Children()))
	a.attached.Store(a.node.Attached())
	switch o.Op {
	case step.OpAccepted:
		pointer := &o.Pointer.Announcement.Pointer
		a.applied.setNamed(pointer)
		a.hooks.supersede(pointer)
		a.metrics.verified.Update(float64(time.Now().UnixMicro()-pointer.TimeMicros) / 1e6)
		a.emit(Event{Kind: EventVerified, Pointer: *pointer})
	case step.OpRefused:
		a.metrics.refused(o.Reason)
		a.log.Warn("refused", "reason", o.Reason, "from", o.Name)
		a.emit(Event{Kind: EventRefused, Reason: o.Reason, Peer: o.Name})
	case step.OpHead:
		a.applied.sawHead(o.Head.TimeMicros)
	case step.OpGap:
		a.metrics.gaps.Inc()
		a.log.Warn("the parent has sent fewer pointers than the head names", "head_revision", o.Revision)
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
		a.log.Debug("a source of shards is silent", "source", o.Name, "config", o.Body.Version.Config, "version", o.Body.Version.Version)
	case step.OpSlow:
		a.metrics.slow.Inc()
	case step.OpGossip:
		a.group.Go(func() { a.gossip.join(o.Addrs) })
	case step.OpDrop:
		a.metrics.parentLost.Inc()
	}
}

// deleted makes the shard store and the node forget a deleted version.
func (a *Agent) deleted(v record.VersionKey) {
	a.bodies.Abandon(v)
	a.driver.Evicted(v)
}

// tell gives the node an input.
func (a *Agent) tell(ctx context.Context, in step.Input) { a.driver.Input(ctx, in) }

func (a *Agent) emit(e Event) {
	if a.cfg.OnEvent != nil {
		e.Agent = a.Name()
		e.At = time.Now()
		a.cfg.OnEvent(e)
	}
}
