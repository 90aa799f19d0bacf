package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/internal/episode"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/shardstore"
	"banyan/transport"
	"banyan/versionstore"
)

// Coordinator is the root of a region's tree. It owns the stores, the sockets and the
// goroutines; the work is done by the parts below.
type Coordinator struct {
	cfg    Config
	log    *slog.Logger
	region string

	store   versionstore.Store
	mirror  versionstore.Replica // the store of a follower; nil if this coordinator leads
	blobs   *versionstore.FileBlobs
	shards  *shardstore.Store
	library *library

	ledger    *ledger.Ledger
	tracker   *tracker
	surveys   *surveys
	lineage   *lineage
	deletions *deletions
	recovery  *recovery

	inventory *inventory
	roster    *roster
	muster    *muster

	rollouts *rollouts
	server   *server
	metrics  *coordinatorMetrics

	lead    *versionstore.Lead // nil if this coordinator follows
	replica *replica           // nil if this coordinator leads
	leader  *api.Client        // nil if this coordinator leads

	ep              *transport.Endpoint
	node            *mesh.Node
	driver          *transport.Driver
	pools           pools
	apiListener     net.Listener
	metricsListener net.Listener // nil if metrics are not served

	ctx       context.Context // of Run; set before running
	running   atomic.Bool
	hearing   atomic.Bool // a host's record is being compared with the store
	censusDue atomic.Bool // a census will be sent within censusDelay

	// Values of the node for other goroutines.
	children atomic.Int64
	attached atomic.Bool
	agents   atomic.Int64
	// apart keeps the log short while a follower does not reach its leader.
	apart    *episode.Set[string]
	loaded   atomic.Bool  // the node has the pointers of the store
	headTime atomic.Int64 // of the newest head, in microseconds since the Unix epoch
}

// errLeadLost ends a coordinator whose lead has passed to another one, or may have.
var errLeadLost = errors.New("another coordinator may lead the store now; this one stops, and may be started again")

// Open opens the stores and binds the sockets. If another coordinator leads the same store, Open waits
// until that one does no longer, or ctx ends. The caller must call Run or Close.
func Open(ctx context.Context, cfg Config) (_ *Coordinator, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	c := &Coordinator{
		cfg:     cfg,
		log:     cfg.Log,
		region:  cfg.Identity.Identity.Region,
		tracker: newTracker(),
		metrics: newMetrics(),
		apart:   &episode.Set[string]{},
	}
	c.surveys = newSurveys(c.tracker)
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if err := c.openStores(ctx); err != nil {
		return nil, err
	}
	if !c.Leads() {
		c.follow()
	}
	c.assemble()
	if c.Leads() {
		if err := c.inventory.load(context.Background()); err != nil {
			return nil, err
		}
		c.rollouts.drifts.load(context.Background())
		c.muster.begin(c.inventory.everHeard(), c.cfg.HostWait)
	}
	if err := c.openSockets(); err != nil {
		return nil, err
	}
	if err := c.makeNode(); err != nil {
		return nil, err
	}
	c.driver = transport.NewDriver(c.node, c.ep, c.handlers(), c.log)
	c.surveys.driver = c.driver
	c.recovery.driver = c.driver
	c.server.fleet.driver = c.driver
	c.server.versions.driver = c.driver
	c.roster.driver = c.driver
	c.muster.driver = c.driver
	c.deletions.driver = c.driver
	return c, nil
}

// openStores opens the version store, the blobs and the partial bodies.
func (c *Coordinator) openStores(ctx context.Context) (err error) {
	keys, err := activationKeys(c.cfg)
	if err != nil {
		return err
	}
	limits := c.cfg.limits
	limits.DeletionMemory = c.cfg.DeletionMemory
	term, err := c.openStore(ctx, filepath.Join(c.cfg.DataDir, "store"))
	if err != nil {
		return err
	}
	c.ledger, err = ledger.New(context.Background(), ledger.Config{
		Store:   c.store,
		Term:    term,
		Keys:    keys,
		Ran:     c.tracker.ran,
		Limits:  limits,
		Metrics: c.metrics.set,
		Log:     c.log,
	})
	if err != nil {
		return err
	}
	c.blobs, err = versionstore.OpenFileBlobs(filepath.Join(c.cfg.DataDir, "blobs"), c.cfg.DiskReserve)
	if err != nil {
		return err
	}
	c.library = &library{store: c.ledger, blobs: c.blobs}
	c.shards, err = shardstore.Open(filepath.Join(c.cfg.DataDir, "partial"), c.cfg.DiskReserve, c.library.load)
	if err != nil {
		return err
	}
	return c.shards.Prune(partialAge)
}

// openStore opens the version store. It returns the term in which a leader writes; 0 for a follower.
func (c *Coordinator) openStore(ctx context.Context, dir string) (term uint64, err error) {
	if !c.Leads() {
		c.mirror, err = OpenEmbedded(dir, c.cfg.DiskReserve)
		if err != nil {
			return 0, err
		}
		c.store = c.mirror
		return 0, nil
	}
	c.store, err = c.cfg.OpenStore(ctx, dir, c.cfg.DiskReserve)
	if err != nil {
		return 0, err
	}
	c.lead, err = c.store.Lead(ctx, c.cfg.Identity.Identity.Name)
	if err != nil {
		return 0, err
	}
	return c.lead.Term, nil
}

// follow makes the parts that only a follower has.
func (c *Coordinator) follow() {
	c.leader = api.NewClient(c.cfg.LeaderAPI, c.cfg.Identity)
	c.replica = &replica{
		policy:  c.cfg.Identity.Policy,
		library: c.library,
		store:   c.mirror,
		shards:  c.shards,
		leader:  c.leader,
		tracker: c.tracker,
		log:     c.log,
	}
}

// assemble makes the rollout controller and the control API over the ledger.
func (c *Coordinator) assemble() {
	policy := c.Policy()
	self := c.cfg.Identity.Identity
	started := time.Now()
	c.inventory = newInventory(c.ledger, self.Name, c.Leads(), c.log)
	c.roster = &roster{
		self:      self,
		inventory: c.inventory,
		leader:    c.leader,
		wake:      make(chan struct{}, 1),
		log:       c.log,
	}
	c.muster = newMuster(c.ledger, c.log)
	holds := &holds{ledger: c.ledger, log: c.log}
	plans := &plans{ledger: c.ledger, tracker: c.tracker, policy: policy}
	sizes := &sizes{ledger: c.ledger, tracker: c.tracker, name: self.Name, log: c.log, started: started}
	c.rollouts = &rollouts{
		ledger:    c.ledger,
		tracker:   c.tracker,
		inventory: c.inventory,
		holds:     holds,
		sizes:     sizes,
		drifts:    &driftMemory{ledger: c.ledger, tracker: c.tracker, name: self.Name, log: c.log},
		runs:      newRuns(c.ledger, c.tracker, c.log),
		metrics:   c.metrics,
		log:       c.log,
		censusAge: max(minCensusAge, censusIntervals*c.cfg.HeadInterval),
		fresh:     max(minFresh, freshIntervals*c.cfg.HeadInterval),
		started:   started,
		wake:      make(chan struct{}, 1),
		news:      newNews(),
		active:    map[string]*active{},
	}
	c.inventory.changed = c.rollouts.news.ofRegion
	requests := &requests{
		ledger:   c.ledger,
		rollouts: c.rollouts,
		holds:    holds,
		plans:    plans,
		sizes:    sizes,
		tracker:  c.tracker,
		policy:   policy,

		twoPersons: &twoPersons{ledger: c.ledger},
	}
	c.deletions = &deletions{ledger: c.ledger, memory: c.cfg.DeletionMemory, log: c.log}
	c.lineage = &lineage{ledger: c.ledger, metrics: c.metrics, log: c.log, announce: c.deletions.announce}
	c.recovery = &recovery{
		ledger:  c.ledger,
		blobs:   c.blobs,
		policy:  policy,
		lineage: c.lineage,
		region:  c.region,
		log:     c.log,
	}
	c.lineage.adopt = c.recovery.adopt
	c.server = c.newServer(requests, holds, plans)
	c.addGauges()
}

// newServer returns the control API. The driver of the node is set later.
func (c *Coordinator) newServer(requests *requests, holds *holds, plans *plans) *server {
	policy := c.Policy()
	return &server{
		versions: versionHandlers{
			ledger:   c.ledger,
			requests: requests,
			uploads:  &uploads{store: c.ledger, blobs: c.blobs, library: c.library, maxBody: c.cfg.MaxBody},
			library:  c.library,
			blobs:    c.blobs,
			surveys:  c.surveys,
			policy:   policy,
			log:      c.log,
		},
		pointers: pointerHandlers{
			ledger:   c.ledger,
			requests: requests,
			holds:    holds,
			tracker:  c.tracker,
			policy:   policy,

			inventory: c.inventory,
			leads:     c.Leads(),
			fresh:     c.rollouts.fresh,
		},
		rollouts: rolloutHandlers{
			ledger:   c.ledger,
			requests: requests,
			rollouts: c.rollouts,
		},
		policies: policyHandlers{twoPersons: requests.twoPersons},
		journal:  journalHandlers{ledger: c.ledger},
		store:    storeHandlers{recovery: c.recovery},
		collector: &collector{
			ledger: c.ledger,
			store:  c.store,
			blobs:  c.blobs,
			policy: policy,
			leads:  c.Leads(),
			log:    c.log,
		},
		plans: planHandlers{plans: plans},
		holds: holdHandlers{holds: holds, policy: policy, changed: c.rollouts.changed, log: c.log},
		fleet: fleetHandlers{
			ledger:  c.ledger,
			tracker: c.tracker,

			inventory: c.inventory,
			policy:    policy,

			self:    c.cfg.Identity.Identity,
			leads:   c.Leads(),
			version: c.cfg.Version,
			log:     c.log,
		},
		bundle:    c.cfg.Identity,
		leaderAPI: c.cfg.LeaderAPI,
		attached:  c.attached.Load,
		seconds:   c.metrics.request,
		log:       c.log,
	}
}

// openSockets binds the sockets of the mesh, the control API, the metrics and the gossip
// pools.
func (c *Coordinator) openSockets() (err error) {
	c.ep, err = transport.Open(transport.Config{
		Listen:      c.cfg.Listen,
		Identity:    c.cfg.Identity,
		PacketConn:  c.cfg.PacketConn,
		KeepAlive:   c.cfg.KeepAlive,
		IdleTimeout: c.cfg.IdleTimeout,
		Limits:      transport.NewLimits(c.cfg.MaxUpload, c.cfg.MaxDownload),
	})
	if err != nil {
		return err
	}
	c.apiListener, err = listenTCP("control API", c.cfg.API)
	if err != nil {
		return err
	}
	if c.cfg.Metrics != "" {
		c.metricsListener, err = listenTCP("metrics", c.cfg.Metrics)
		if err != nil {
			return err
		}
	}
	c.pools, err = openPools(&c.cfg, c.hint, c.doubt)
	return err
}

func listenTCP(what, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s on tcp %s: %w; stop the other process or choose another port",
			what, address, transport.ErrPortInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return l, nil
}

// Leads reports whether this coordinator leads.
func (c *Coordinator) Leads() bool { return c.cfg.Leader == "" }

// Policy returns the trust policy that the coordinator verifies with.
func (c *Coordinator) Policy() *record.Policy { return c.cfg.Identity.Policy }

// MeshAddr returns the UDP address that agents and followers dial.
func (c *Coordinator) MeshAddr() string { return c.ep.Addr().String() }

// APIAddr returns the TCP address of the control API.
func (c *Coordinator) APIAddr() string { return c.apiListener.Addr().String() }

// GossipWANAddr returns the address of the wide-area gossip pool; "" if there is none.
func (c *Coordinator) GossipWANAddr() string { return c.pools.wanAddr() }

// MetricsAddr returns the TCP address of /metrics; "" if metrics are not served.
func (c *Coordinator) MetricsAddr() string {
	if c.metricsListener == nil {
		return ""
	}
	return c.metricsListener.Addr().String()
}

// makeNode makes the root of the tree. A follower's node starts from the replica; a leader's
// node gets everything from the watch of the store.
func (c *Coordinator) makeNode() error {
	ctx := context.Background()
	indices, err := c.takeIndices(ctx)
	if err != nil {
		return err
	}
	bound := c.ep.Addr().String()
	advertise := cmp.Or(c.cfg.Advertise, bound)
	if !c.Leads() {
		advertise, err = transport.Advertised(c.cfg.Advertise, bound, c.cfg.Leader)
		if err != nil {
			return err
		}
	}
	cfg := mesh.Config{
		Self:        c.cfg.Identity.Identity.Mesh(),
		Description: wire.Description{Addr: advertise, Relay: true},
		Root: &mesh.RootConfig{
			Planner: tree.PlannerConfig{
				Fanout:     c.cfg.Fanout,
				MaxDepth:   c.cfg.MaxDepth,
				FirstIndex: indices.First,
				Indices:    indices.Count,
			},
			SignBatch: c.ledger.SignBatch,
			Gossip:    c.pools.regionAddrs(),
		},
		HoldsAll: c.Leads(),
		Verifier: c.Policy(),
		Seed:     rand.Uint64(),
	}
	if !c.Leads() {
		cfg.Seeds = []string{c.cfg.Leader}
	}
	c.node = mesh.NewNode(cfg)
	if c.Leads() {
		return nil
	}
	return c.replica.restore(ctx, c.node, c.cfg.Identity.Identity.Name, c.region)
}

// Run serves until stop ends or a part fails, and then closes the coordinator. After stop ended, the
// control API finishes the requests in progress while the other parts still run.
func (c *Coordinator) Run(stop context.Context) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(stop))
	c.ctx = ctx
	c.running.Store(true)
	defer c.Close()
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel(nil)
	serving, stopServing := context.WithCancel(stop)
	defer stopServing()
	context.AfterFunc(ctx, stopServing)
	group.Go(func() {
		c.server.run(serving, c.apiListener)
		if stop.Err() != nil {
			cancel(nil)
		}
	})
	if c.metricsListener != nil {
		group.Go(func() { c.serveMetrics(ctx) })
	}
	if c.Leads() {
		group.Go(func() {
			select {
			case <-c.lead.Lost:
				cancel(errLeadLost)
			case <-ctx.Done():
			}
		})
		group.Go(func() { c.muster.run(ctx) })
		group.Go(func() {
			if err := c.newFeed().run(ctx); err != nil {
				cancel(err)
			}
		})
		group.Go(func() {
			if err := c.goOn(ctx); err != nil {
				cancel(err)
			}
		})
	}
	group.Go(func() { c.newBeat().run(ctx) })
	group.Go(func() { c.deletions.run(ctx) })
	group.Go(func() { c.roster.run(ctx) })
	group.Go(func() { c.inventory.run(ctx) })
	if c.pools.any() {
		group.Go(func() { c.newSpreader().run(ctx) })
	}
	c.log.Info("coordinator runs", "mesh", c.MeshAddr(), "api", c.APIAddr(), "leads", c.Leads())
	c.driver.Run(ctx)
	cause := context.Cause(ctx)
	if cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// goOn goes on with what the leader was at before it stopped: pointers that a new term has not
// issued yet, and rollouts.
func (c *Coordinator) goOn(ctx context.Context) error {
	if !c.muster.await(ctx) {
		return nil
	}
	if err := c.ledger.Reissue(ctx); err != nil {
		c.log.Error("pointers of an earlier term not issued anew", "error", err)
	}
	return c.rollouts.run(ctx)
}

func (c *Coordinator) newFeed() *feed {
	return &feed{
		news:      c.rollouts.news,
		store:     c.store,
		library:   c.library,
		driver:    c.driver,
		tracker:   c.tracker,
		deletions: c.deletions,
		policy:    c.Policy(),
		pushLimit: c.cfg.PushLimit,
		loaded:    &c.loaded,
		alone:     func() bool { return c.children.Load() == 0 && c.agents.Load() == 0 },
		log:       c.log,
		pushed:    map[record.PointerKey]uint64{},
	}
}

func (c *Coordinator) newBeat() *beat {
	return &beat{
		ledger:   c.ledger,
		driver:   c.driver,
		interval: c.cfg.HeadInterval,
		children: &c.children,
		loaded:   &c.loaded,
		log:      c.log,
	}
}

func (c *Coordinator) newSpreader() *spreader {
	regions := []string{c.region}
	if c.Leads() {
		regions = c.Policy().Regions()
	}
	return &spreader{
		pools:   c.pools,
		driver:  c.driver,
		join:    c.cfg.GossipJoin,
		region:  c.region,
		regions: regions,
		leads:   c.Leads(),
	}
}

// hint passes a gossiped revision of a follower's region to the node. A node without the
// revision asks the leader. The gossip pools call hint.
func (c *Coordinator) hint(region string, revision uint64) {
	if region == c.region && !c.Leads() && c.running.Load() {
		c.driver.Input(c.ctx, step.Input{Kind: step.InHint, Revision: revision})
	}
}

// doubt passes the failure of a relay to the planner. The gossip pool of the region calls
// doubt.
func (c *Coordinator) doubt(name string) {
	c.metrics.failed.Inc()
	if c.running.Load() {
		c.driver.Input(c.ctx, step.Input{Kind: step.InDoubt, Name: name})
	}
}

// Close closes the stores, the sockets and the gossip pools. Run calls Close.
func (c *Coordinator) Close() error {
	var errs []error
	for _, l := range []net.Listener{c.apiListener, c.metricsListener} {
		if l != nil {
			l.Close()
		}
	}
	errs = append(errs, c.pools.close())
	c.pools = pools{}
	if c.ep != nil {
		errs = append(errs, c.ep.Close())
		c.ep = nil
	}
	if c.shards != nil {
		errs = append(errs, c.shards.Close())
	}
	if c.lead != nil {
		errs = append(errs, c.lead.Resign(context.Background()))
		c.lead = nil
	}
	if c.store != nil {
		errs = append(errs, c.store.Close())
	}
	return errors.Join(errs...)
}
