package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
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
	"banyan/record"
	"banyan/shardstore"
	"banyan/transport"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// Defaults of Config.
const (
	// DefaultHeadInterval is the time between two heads.
	DefaultHeadInterval = 3 * time.Second
	// DefaultPushLimit is the largest body that is pushed behind its announcement, in bytes.
	DefaultPushLimit = 16 << 10
	// DefaultMaxBody is the largest body a coordinator takes, in bytes.
	DefaultMaxBody = record.MaxBody
	// partialAge is how long what has come of a body is kept that did not go on coming.
	partialAge = 24 * time.Hour
	// indexBlock is how many agent indices a coordinator reserves when it starts.
	indexBlock = mesh.DefaultMaxAgents
	// censusDelay gathers changes in the number of agents before the leader is told.
	censusDelay = 50 * time.Millisecond
)

// Config says how a coordinator runs. A zero value means the default where one is named.
type Config struct {
	// Identity is the coordinator's certificate and trust policy.
	Identity *identity.Bundle
	// ActivationKeys sign pointers and heads. A leader needs one for each region
	// that it moves pointers of; a follower needs none.
	ActivationKeys []record.Key
	// DataDir holds the store and the blobs.
	DataDir string
	// Listen is the UDP address of the mesh; default ":7400".
	Listen string
	// Advertise is the address that other coordinators dial; default the bound one, with
	// the host the leader is reached from if Listen names none.
	Advertise string
	// API is the TCP address of the control API; default ":7401".
	API string
	// Metrics is the TCP address of /metrics and /healthz, without TLS; "" for nowhere.
	Metrics string
	// Leader, on a follower, is the mesh address of the coordinator it follows.
	Leader string
	// LeaderAPI, on a follower, is where the leader's control API is, host:port.
	LeaderAPI string
	// Cell tells coordinators of one region apart, 0 to mesh.MaxCells-1.
	Cell int
	// Gossip and GossipWAN are the addresses, TCP and UDP, of the region's gossip pool and
	// of the coordinators'; "" for none. GossipJoin are other coordinators' of the latter.
	Gossip, GossipWAN string
	GossipJoin        []string
	// GossipAdvertise is the host at which others reach both; default the bound one.
	GossipAdvertise string
	// Fanout of the region's tree; default mesh.DefaultFanout.
	Fanout int
	// MaxDepth is how many hops the deepest agent may be from the coordinator; 0: no limit.
	MaxDepth int
	// HeadInterval is the time between two heads; default 3 s.
	HeadInterval time.Duration
	// PushLimit is the largest body that is pushed behind its announcement instead of
	// being asked for, in bytes; default 16 KiB, at most mesh.MaxPush, negative for none.
	PushLimit int64
	// MaxBody is the largest body taken, in bytes; default 1 GiB.
	MaxBody int64
	// MaxUpload and MaxDownload are rates of bodies, in bytes a second, over all links;
	// 0: no limit.
	MaxUpload, MaxDownload int64
	// DiskReserve is how many bytes must stay free on disk; default 32 MiB.
	DiskReserve int64
	// KeepAlive and IdleTimeout of links; defaults of transport.Config.
	KeepAlive, IdleTimeout time.Duration
	// PacketConn, if set, is the socket to use instead of binding Listen.
	PacketConn net.PacketConn
	// Version of the program, for status.
	Version string
	// Log takes what the coordinator has to say; default none.
	Log *slog.Logger
}

// Coordinator is the root of a region's tree.
type Coordinator struct {
	cfg     Config
	log     *slog.Logger
	region  string
	keys    map[string]record.Key // by region
	store   *versionstore.Badger
	blobs   *versionstore.FileBlobs
	shards  *shardstore.Store
	leader  *api.Client // of a follower
	ep      *transport.Endpoint
	node    *mesh.Node
	driver  *transport.Driver
	tracker *tracker
	metrics *coordinatorMetrics
	api     net.Listener
	metric  net.Listener

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
	c := &Coordinator{cfg: cfg, log: cfg.Log, region: cfg.Identity.Identity.Region, tracker: newTracker()}
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
	if c.shards, err = shardstore.Open(filepath.Join(cfg.DataDir, "partial"), cfg.DiskReserve, c.openForm); err != nil {
		return nil, err
	}
	if err := c.shards.Prune(partialAge); err != nil {
		return nil, err
	}
	if !c.Leads() {
		c.leader = api.NewClient(cfg.LeaderAPI, cfg.Identity)
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
	c.driver = transport.NewDriver(c.node, c.ep, c, c.log)
	return c, nil
}

func (c *Config) complete() error {
	if c.Identity.Identity.Role != identity.RoleCoordinator {
		return fmt.Errorf("%w: identity %s is not a coordinator's; issue one with 'banyan cert coordinator'", record.ErrInvalid, c.Identity.Identity)
	}
	if c.DataDir == "" {
		return fmt.Errorf("%w: a data directory is needed", record.ErrInvalid)
	}
	if (c.Leader == "") != (c.LeaderAPI == "") {
		return fmt.Errorf("%w: a follower needs both the leader's mesh address and its API address", record.ErrInvalid)
	}
	setDefault(&c.Listen, ":7400")
	setDefault(&c.API, ":7401")
	setDefault(&c.Fanout, mesh.DefaultFanout)
	setDefault(&c.HeadInterval, DefaultHeadInterval)
	setDefault(&c.PushLimit, DefaultPushLimit)
	if c.Cell < 0 || c.Cell >= mesh.MaxCells {
		return fmt.Errorf("%w: cell %d; 0 to %d are possible", record.ErrInvalid, c.Cell, mesh.MaxCells-1)
	}
	if c.PushLimit > mesh.MaxPush {
		return fmt.Errorf("%w: a push limit of %d bytes, at most %d are possible", record.ErrInvalid, c.PushLimit, mesh.MaxPush)
	}
	setDefault(&c.MaxBody, DefaultMaxBody)
	setDefault(&c.DiskReserve, 32<<20)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("coordinator", c.Identity.Identity.Name, "region", c.Identity.Identity.Region)
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// activationKeys finds for each region of the policy the key to sign with.
func activationKeys(cfg Config) (map[string]record.Key, error) {
	keys := map[string]record.Key{}
	if cfg.Leader != "" {
		return keys, nil
	}
	for _, key := range cfg.ActivationKeys {
		used := false
		for _, region := range cfg.Identity.Policy.Regions() {
			if cfg.Identity.Policy.MayActivate(key.ID, region) {
				keys[region], used = key, true
			}
		}
		if !used {
			return nil, fmt.Errorf("activation key %s: %w: the trust policy lists it for no region", key.ID, record.ErrUnknownKey)
		}
	}
	region := cfg.Identity.Identity.Region
	if _, ok := keys[region]; !ok {
		return nil, fmt.Errorf("%w: no activation key for region %s; a leader needs one, a follower needs the leader's address", record.ErrInvalid, region)
	}
	return keys, nil
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
		Self: c.cfg.Identity.Identity.Mesh(), Addr: advertise, Relay: true,
		Planner:  mesh.NewPlanner(mesh.PlannerConfig{Fanout: c.cfg.Fanout, MaxDepth: c.cfg.MaxDepth, FirstIndex: first + uint32(c.cfg.Cell)<<mesh.CellBits, MaxAgents: indexBlock}),
		HoldsAll: c.Leads(), Gossip: c.gossipAddrs(), Verifier: c.cfg.Identity.Policy, Seed: rand.Uint64(),
	}
	if !c.Leads() {
		cfg.Seeds = []string{c.cfg.Leader}
	}
	c.node = mesh.NewNode(cfg)
	if c.Leads() {
		return nil // the watch tells the node everything
	}
	return c.restoreReplica(ctx)
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

// feed passes every pointer in the store, old and new, to the node.
func (c *Coordinator) feed(ctx context.Context) error {
	pushed := map[regionKey]uint64{}
	err := c.store.Watch(ctx, 0, func(e versionstore.Event) error {
		if e.Pointer == nil {
			return nil
		}
		c.tracker.moved(e.Pointer.Pointer)
		a := &mesh.Announcement{Revision: e.Revision, Raw: e.Pointer.Raw, Pointer: e.Pointer.Pointer}
		c.driver.Input(ctx, mesh.Input{Kind: mesh.InPublish, Announcement: a, Push: c.pushFor(ctx, a.Pointer, pushed)})
		return ctx.Err()
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch the store: %w", err)
}

// regionKey names a config's pointer in a region.
type regionKey struct{ config, region string }

// pushFor returns the version that a pointer names for the first time, if it is
// small; pushed holds the newest named so far. Older ones are on the hosts, but
// for a few, which fetch them.
func (c *Coordinator) pushFor(ctx context.Context, p record.Pointer, pushed map[regionKey]uint64) *mesh.Push {
	key := regionKey{p.Config, p.Region}
	version := max(p.Baseline, p.Candidate)
	if version <= pushed[key] {
		return nil
	}
	pushed[key] = version
	if c.children.Load() == 0 && c.agents.Load() == 0 {
		return nil // at the start the watch tells of all there is
	}
	push, err := c.loadPush(ctx, p.Config, version)
	if err != nil {
		c.log.Warn("version not pushed; agents will fetch it", "config", p.Config, "version", version, "error", err)
		return nil
	}
	return push
}

func (c *Coordinator) loadPush(ctx context.Context, config string, version uint64) (*mesh.Push, error) {
	v, err := c.store.Version(ctx, config, version)
	if err != nil {
		return nil, err
	}
	if v.Manifest.BodySize > c.cfg.PushLimit {
		return nil, nil
	}
	r, err := c.openBody(ctx, v.Manifest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	body, err := io.ReadAll(io.LimitReader(r, v.Manifest.BodySize))
	return &mesh.Push{Config: config, Version: version, Manifest: v.Raw, Body: body}, err
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
func (c *Coordinator) headsOrCensus(n *mesh.Node) []mesh.Input {
	c.children.Store(int64(n.Children()))
	if !c.Leads() {
		return []mesh.Input{{Kind: mesh.InCensus}}
	}
	var inputs []mesh.Input
	now := time.Now().UnixMicro()
	for region, key := range c.keys {
		head := record.Head{Region: region, Revision: n.Revision(region), TimeMicros: now, State: n.State(region)}
		raw, err := record.SignHead(head, key)
		if err != nil {
			c.log.Error("head not signed", "of", region, "error", err)
			continue
		}
		inputs = append(inputs, mesh.Input{Kind: mesh.InPublishHead, Head: head, HeadRaw: &mesh.SignedHead{Raw: raw}})
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
