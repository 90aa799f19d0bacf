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
	"banyan/internal/embeddb"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/shardstore"
	"banyan/transport"
	"banyan/versionstore"
)

// Coordinator is the root of a region's tree.
type Coordinator struct {
	cfg      Config
	log      *slog.Logger
	region   string
	keys     map[string]record.Key // by region
	store    *versionstore.Badger
	blobs    *versionstore.FileBlobs
	shards   *shardstore.Store
	library  *library
	replica  *replica    // nil: this coordinator leads
	leader   *api.Client // of a follower
	ep       *transport.Endpoint
	node     *mesh.Node
	driver   *transport.Driver
	tracker  *tracker
	surveys  *surveys
	rollouts *rollouts
	metrics  *coordinatorMetrics
	api      net.Listener
	metric   net.Listener

	pools   pools
	running atomic.Bool // ctx is set

	children atomic.Int64
	attached atomic.Bool
	agents   atomic.Int64
	headTime atomic.Int64
	// censusDue: a census is about to be sent.
	censusDue atomic.Bool
	ctx       context.Context // of Run
	writes    sync.Mutex      // pointers are moved one at a time; the store's CAS guards against others
}

// Open opens the stores and binds the sockets. If Run is not called, Close must be.
func Open(cfg Config) (_ *Coordinator, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	c := &Coordinator{cfg: cfg, log: cfg.Log, region: cfg.Identity.Identity.Region, tracker: newTracker(), surveys: newSurveys()}
	c.rollouts = newRollouts(c)
	c.metrics = newMetrics(c)
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if c.keys, err = activationKeys(cfg); err != nil {
		return nil, err
	}
	if c.store, err = versionstore.OpenBadger(filepath.Join(cfg.DataDir, "store"), embeddb.Options{Reserve: cfg.DiskReserve}); err != nil {
		return nil, err
	}
	if c.blobs, err = versionstore.OpenFileBlobs(filepath.Join(cfg.DataDir, "blobs"), cfg.DiskReserve); err != nil {
		return nil, err
	}
	c.library = &library{store: c.store, blobs: c.blobs}
	if c.shards, err = shardstore.Open(filepath.Join(cfg.DataDir, "partial"), cfg.DiskReserve, c.library.load); err != nil {
		return nil, err
	}
	if err := c.shards.Prune(partialAge); err != nil {
		return nil, err
	}
	if !c.Leads() {
		c.leader = api.NewClient(cfg.LeaderAPI, cfg.Identity)
		c.replica = &replica{
			policy:  cfg.Identity.Policy,
			library: c.library,
			store:   c.store,
			shards:  c.shards,
			leader:  c.leader,
			tracker: c.tracker,
			log:     c.log,
		}
	}
	c.ep, err = transport.Open(transport.Config{Listen: cfg.Listen, Identity: cfg.Identity, PacketConn: cfg.PacketConn,
		KeepAlive: cfg.KeepAlive, IdleTimeout: cfg.IdleTimeout, Limits: transport.NewLimits(cfg.MaxUpload, cfg.MaxDownload)})
	if err != nil {
		return nil, err
	}
	if c.api, err = listenTCP("control API", cfg.API); err != nil {
		return nil, err
	}
	if cfg.Metrics != "" {
		if c.metric, err = listenTCP("metrics", cfg.Metrics); err != nil {
			return nil, err
		}
	}
	if err := c.openGossip(); err != nil {
		return nil, err
	}
	if err := c.makeNode(); err != nil {
		return nil, err
	}
	c.driver = transport.NewDriver(c.node, c.ep, c.handlers(), c.log)
	return c, nil
}

func listenTCP(what, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s on tcp %s: %w; stop the other process or choose another port", what, address, transport.ErrPortInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return l, nil
}

// Leads tells whether this coordinator owns the store.
func (c *Coordinator) Leads() bool { return c.cfg.Leader == "" }

// Policy is the trust policy that the coordinator verifies with.
func (c *Coordinator) Policy() *record.Policy { return c.cfg.Identity.Policy }

// MeshAddr is where agents and followers dial.
func (c *Coordinator) MeshAddr() string { return c.ep.Addr().String() }

// APIAddr is where the control API listens.
func (c *Coordinator) APIAddr() string { return c.api.Addr().String() }

// MetricsAddr is where /metrics listens; "" if nowhere.
func (c *Coordinator) MetricsAddr() string {
	if c.metric == nil {
		return ""
	}
	return c.metric.Addr().String()
}

func (c *Coordinator) makeNode() error {
	ctx := context.Background()
	first, err := c.store.ReserveIndices(ctx, c.region, indexBlock)
	if err != nil {
		return err
	}
	advertise := cmp.Or(c.cfg.Advertise, c.ep.Addr().String())
	if !c.Leads() {
		if advertise, err = transport.Advertised(c.cfg.Advertise, c.ep.Addr().String(), c.cfg.Leader); err != nil {
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
				FirstIndex: first + uint32(c.cfg.Cell)<<tree.CellBits,
				MaxAgents:  indexBlock,
			},
			Gossip: c.gossipAddrs(),
		},
		HoldsAll: c.Leads(),
		Verifier: c.cfg.Identity.Policy,
		Seed:     rand.Uint64(),
	}
	if !c.Leads() {
		cfg.Seeds = []string{c.cfg.Leader}
	}
	c.node = mesh.NewNode(cfg)
	if c.Leads() {
		return nil // the watch tells the node everything
	}
	return c.replica.restore(ctx, c.node, c.cfg.Identity.Identity.Name, c.region)
}

// Run serves until ctx ends.
func (c *Coordinator) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	c.ctx = ctx
	c.running.Store(true)
	defer c.Close()
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel(nil)
	group.Go(func() { c.serveAPI(ctx) })
	if c.metric != nil {
		group.Go(func() { c.serveMetrics(ctx) })
	}
	if c.Leads() {
		group.Go(func() {
			if err := c.feed(ctx); err != nil {
				cancel(err)
			}
		})
	}
	if c.Leads() {
		group.Go(func() {
			if err := c.rollouts.run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	group.Go(func() { c.beat(ctx) })
	if c.pools.region != nil || c.pools.wan != nil {
		group.Go(func() { c.spread(ctx) })
	}
	c.log.Info("coordinator runs", "mesh", c.MeshAddr(), "api", c.APIAddr(), "leads", c.Leads())
	c.driver.Run(ctx)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// beat sends heads, or a follower's census, at the head interval.
func (c *Coordinator) beat(ctx context.Context) {
	ticker := time.NewTicker(c.cfg.HeadInterval)
	defer ticker.Stop()
	for {
		c.driver.Decide(ctx, c.headsOrCensus)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// headsOrCensus runs in the driver's goroutine, so that a head and the pointers
// it vouches for leave in the right order.
func (c *Coordinator) headsOrCensus(n *mesh.Node) []step.Input {
	c.children.Store(int64(n.Children()))
	if !c.Leads() {
		return []step.Input{{Kind: step.InCensus}}
	}
	inputs := []step.Input{{Kind: step.InCensus}}
	now := time.Now().UnixMicro()
	for region, key := range c.keys {
		head := record.Head{Region: region, Revision: n.Revision(region), TimeMicros: now, State: n.State(region)}
		raw, err := record.SignHead(head, key)
		if err != nil {
			c.log.Error("head not signed", "of", region, "error", err)
			continue
		}
		inputs = append(inputs, step.Input{Kind: step.InPublishHead, Head: head, HeadRaw: &wire.SignedHead{Raw: raw}})
	}
	return inputs
}

// Close releases what Open took. Run does so itself.
func (c *Coordinator) Close() error {
	var errs []error
	for _, l := range []net.Listener{c.api, c.metric} {
		if l != nil {
			l.Close()
		}
	}
	errs = append(errs, c.closeGossip())
	if c.ep != nil {
		errs = append(errs, c.ep.Close())
		c.ep = nil
	}
	if c.shards != nil {
		errs = append(errs, c.shards.Close())
	}
	if c.store != nil {
		errs = append(errs, c.store.Close())
	}
	return errors.Join(errs...)
}
