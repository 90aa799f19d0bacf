package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"banyan/mesh"
	"banyan/record"
	"banyan/shardstore"
	"banyan/transport"
)

// Agent is the daemon on a host. Each part of the agent has a file; Agent connects the parts.
type Agent struct {
	cfg     Config
	log     *slog.Logger
	metrics *agentMetrics

	output    *outputDir
	state     *state
	shards    *shardstore.Store // forms on their way, and forms in the output directory
	cache     *shardstore.Store // forms of configs without a subscription
	applied   *appliedSet
	retention *retention
	bodies    *bodies
	applier   *applier
	keeper    *keeper
	hooks     *hookRunner
	drift     *driftWatch
	deletions *deletions
	gossip    *gossipMember
	local     net.Listener // nil: no local API

	ep     *transport.Endpoint
	node   *mesh.Node
	driver *transport.Driver

	ctx      context.Context // of Run
	group    sync.WaitGroup  // goroutines of Run
	children atomic.Int64
	attached atomic.Bool
	trouble  *trouble
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
	a.trouble = &trouble{log: a.log, metrics: a.metrics}
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
	if a.output, err = openOutputDir(a.cfg.OutputDir, reserve); err != nil {
		return err
	}
	a.output.keepsDeleted = a.cfg.Hooks.keepsDeleted
	if a.state, err = openState(a.cfg.StateDir, reserve); err != nil {
		return err
	}
	a.shards, err = shardstore.Open(a.output.partialDir(), reserve, library{a.output}.load)
	if err != nil {
		return err
	}
	a.cache, err = openCache(a.output.cacheDir(), reserve)
	return err
}

// makeParts makes the parts, after the stores and the node are open.
func (a *Agent) makeParts(advertise string) {
	a.makeBodies()
	a.makeApplier()
	a.keeper = newKeeper(a.state, a.log)
	a.deletions = &deletions{
		memory:  a.cfg.DeletionMemory,
		state:   a.state,
		applied: a.applied,
		tell:    a.tell,
		log:     a.log,
	}
	a.gossip = &gossipMember{
		identity:  a.cfg.Identity,
		listen:    a.cfg.Listen,
		advertise: advertise,
		log:       a.log,
		tell:      a.tell,
	}
}

// makeBodies makes the parts that keep the bodies of versions.
func (a *Agent) makeBodies() {
	a.retention = &retention{
		output:  a.output,
		shards:  a.shards,
		applied: a.applied,
		proven:  a.state.proven,
		keep:    a.cfg.Keep,
		quota:   a.cfg.DiskQuota,
		log:     a.log,
		deleted: a.deleted,
	}
	a.bodies = &bodies{
		policy:        a.cfg.Identity.Policy,
		subscriptions: a.cfg.Subscriptions,
		output:        a.output,
		shards:        a.shards,
		cache:         a.cache,
		retention:     a.retention,
		metrics:       a.metrics,
		log:           a.log,
		lost:          a.lost,
		hold:          a.hold,
	}
}

// makeApplier makes the parts that show versions to readers, run hooks, and watch what is shown.
func (a *Agent) makeApplier() {
	reports := &driftReports{
		applied: a.applied,
		metrics: a.metrics,
		log:     a.log,
		tell:    a.tell,
		drifted: map[string]driftCase{},
	}
	a.output.onReplace = func(v record.VersionKey) func() { return reports.overwriting(a.ctx, a.output, v) }
	a.applier = &applier{
		state:     a.state,
		output:    a.output,
		applied:   a.applied,
		retention: a.retention,
		reports:   reports,
		metrics:   a.metrics,
		log:       a.log,
		emit:      a.emit,
		rebuild:   a.bodies.rebuild,
		lost:      a.lost,
		wake:      make(chan struct{}, 1),
		stopped:   make(chan struct{}),
	}
	a.hooks = &hookRunner{
		rules:   a.cfg.Hooks,
		agent:   a.Name(),
		labels:  a.cfg.Labels,
		output:  a.output,
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
		output:   a.output,
		applied:  a.applied,
		hooks:    a.hooks,
		reports:  reports,
		tell:     a.tell,
		lost:     a.lost,
	}
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
	a.group.Go(func() { a.keeper.run(ctx) })
	a.group.Go(func() { a.drift.run(ctx) })
	a.group.Go(func() { a.deletions.run(ctx) })
	if a.local != nil {
		api := &localAPI{
			listener: a.local,
			applied:  a.applied,
			output:   a.output,
			metrics:  a.metrics,
			log:      a.log,
			trouble:  a.trouble,
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
		Alone:         a.trouble.String(),
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
