// Package fleet runs a whole fleet in one process: a coordinator in each region
// and agents under them, each with its own socket, store and directory. It is
// what `banyan dev`, the demo, the benchmarks and many tests stand on.
//
// Entry point: [Start]. Every part is the production one; they share a process,
// and nothing else.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"banyan/agent"
	"banyan/coordinator"
	"banyan/coordinator/api"
	"banyan/record"
	"banyan/transport/emulated"
	"banyan/transport/identity"
)

// Config shapes a fleet. A zero value means the default where one is named.
type Config struct {
	Dir     string   // where everything is kept
	Regions []string // the first one's coordinator leads; default eu, us
	Agents  int      // shared out between the regions
	Fanout  int      // default tree.DefaultFanout
	// Publisher is the name of the first publisher; default "dev".
	Publisher string
	// LocalAPI gives each agent a local API on a Unix socket in its directory.
	LocalAPI bool
	// HeadInterval, KeepAlive, IdleTimeout and Keep as in coordinator and agent.
	HeadInterval, KeepAlive, IdleTimeout time.Duration
	Keep                                 int
	DiskQuota                            int64 // as in agent
	// Listen is the host to bind to; default 127.0.0.1.
	Listen string
	// API and Mesh, if set, are the leader's ports; default chosen by the system.
	API, Mesh, Metrics string
	OnEvent            func(agent.Event)
	// Gossip gives every coordinator and upper relay its pools.
	Gossip bool
	// Link, if set, is what every socket's packets go through; Kill needs it.
	Link *emulated.Link
	// InMemory carries packets behind the Link in memory instead of over loopback.
	InMemory bool
	// Tamper, if set, returns what the agent with the given number does to each shard before
	// it sends the shard; nil for an honest agent.
	Tamper func(agent int) func(shard []byte)
	// OnAgent and OnCoordinator, if set, change how an agent or coordinator runs.
	OnAgent       func(agent int, c *agent.Config)
	OnCoordinator func(region string, c *coordinator.Config)
	Log           *slog.Logger
}

// Fleet is a running fleet.
type Fleet struct {
	Config       Config
	Home         *identity.Home
	Coordinators []*coordinator.Coordinator
	Agents       []*agent.Agent
	Client       *api.Client
	Key          record.Key // of the publisher
	// Join, if set, is where agents started from now on find coordinators.
	Join []string

	ctx    context.Context
	cancel context.CancelFunc
	conns  map[string]emulated.Socket // by name of coordinator or agent, if there is a Link
	net    *emulated.Network          // if InMemory
	stops  map[string]context.CancelFunc
	at     map[string]*addresses    // by region
	gone   map[string]chan struct{} // closed when that coordinator has ended
	group  sync.WaitGroup
	mu     sync.Mutex
	errs   []error // guarded by mu, like ended
	ended  map[*agent.Agent]bool
}

// Start makes keys and certificates in cfg.Dir, unless they are there, and starts
// everything. It returns when every coordinator listens; agents may still be joining.
func Start(ctx context.Context, cfg Config) (_ *Fleet, err error) {
	cfg.setDefaults()
	f := &Fleet{Config: cfg, conns: map[string]emulated.Socket{}, stops: map[string]context.CancelFunc{}, gone: map[string]chan struct{}{}, at: map[string]*addresses{}, ended: map[*agent.Agent]bool{}}
	if cfg.InMemory {
		f.net = emulated.NewNetwork()
	}
	f.ctx, f.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			f.Stop()
		}
	}()
	if err := f.makeHome(); err != nil {
		return nil, err
	}
	for i := range cfg.Regions {
		if err := f.startCoordinator(i, nil); err != nil {
			return nil, err
		}
	}
	for i := range cfg.Agents {
		if _, err := f.StartAgent(i); err != nil {
			return nil, err
		}
	}
	client, err := identity.Load(f.Home.ClientDir())
	if err != nil {
		return nil, err
	}
	f.Client = api.NewClient(f.Coordinators[0].APIAddr(), client)
	return f, nil
}

func (c *Config) setDefaults() {
	if len(c.Regions) == 0 {
		c.Regions = []string{"eu", "us"}
	}
	if c.Publisher == "" {
		c.Publisher = "dev"
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1"
	}
	if c.API == "" {
		c.API = c.Listen + ":0"
	}
	if c.Mesh == "" {
		c.Mesh = c.Listen + ":0"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func (f *Fleet) makeHome() (err error) {
	dir := filepath.Join(f.Config.Dir, "home")
	f.Home, err = identity.InitHome(dir, f.Config.Regions, f.Config.Publisher)
	if errors.Is(err, identity.ErrExists) {
		f.Home, err = &identity.Home{Dir: dir}, nil
	}
	if err != nil {
		return err
	}
	f.Key, err = record.LoadKey(f.Home.PublisherKey(f.Config.Publisher))
	return err
}

// startCoordinator starts region i's coordinator, at the addresses of one that was there
// before, if any.
func (f *Fleet) startCoordinator(i int, again *addresses) error {
	region := f.Config.Regions[i]
	bundle, err := identity.Load(f.Home.CoordinatorDir(region))
	if err != nil {
		return err
	}
	cfg := coordinator.Config{Identity: bundle, DataDir: filepath.Join(f.Config.Dir, "coordinator-"+region),
		Listen: f.Config.Listen + ":0", API: f.Config.Listen + ":0", Fanout: f.Config.Fanout, HeadInterval: f.Config.HeadInterval,
		KeepAlive: f.Config.KeepAlive, IdleTimeout: f.Config.IdleTimeout, Version: "fleet", Log: f.Config.Log}
	if f.Config.Gossip {
		cfg.Gossip, cfg.GossipWAN = f.Config.Listen+":0", f.Config.Listen+":0"
		if i > 0 {
			cfg.GossipJoin = []string{f.Coordinators[0].GossipWANAddr()}
		}
	}
	if i == 0 {
		cfg.Listen, cfg.API, cfg.Metrics = f.Config.Mesh, f.Config.API, f.Config.Metrics
		for _, r := range f.Config.Regions {
			key, err := record.LoadKey(f.Home.ActivationKey(r))
			if err != nil {
				return err
			}
			cfg.ActivationKeys = append(cfg.ActivationKeys, key)
		}
	} else {
		cfg.Leader, cfg.LeaderAPI = f.Coordinators[0].MeshAddr(), f.Coordinators[0].APIAddr()
	}
	if again != nil {
		cfg.Listen, cfg.API = again.mesh, again.api
	}
	if f.Config.OnCoordinator != nil {
		f.Config.OnCoordinator(region, &cfg)
	}
	if cfg.PacketConn, err = f.socket(bundle.Identity.Name, cfg.Listen); err != nil {
		return err
	}
	c, err := coordinator.Open(cfg)
	if err != nil {
		return fmt.Errorf("coordinator of region %s: %w", region, err)
	}
	if i < len(f.Coordinators) {
		f.Coordinators[i] = c
	} else {
		f.Coordinators = append(f.Coordinators, c)
	}
	ctx, stop := context.WithCancel(f.ctx)
	gone := make(chan struct{})
	f.stops[region], f.gone[region] = stop, gone
	f.at[region] = &addresses{c.MeshAddr(), c.APIAddr()}
	f.group.Go(func() {
		defer close(gone)
		f.note(c.Run(ctx))
	})
	return nil
}

// StopCoordinator ends the coordinator of a region without waiting for it.
func (f *Fleet) StopCoordinator(region string) { f.stops[region]() }

// RestartCoordinator waits for the end of region i's coordinator and starts it anew, on
// the same data and at the same addresses.
func (f *Fleet) RestartCoordinator(i int) error {
	region := f.Config.Regions[i]
	f.stops[region]()
	<-f.gone[region]
	return f.startCoordinator(i, f.at[region])
}

// addresses are where a coordinator listens.
type addresses struct{ mesh, api string }

// AgentConfig is how agent i runs.
func (f *Fleet) AgentConfig(i int) (agent.Config, error) {
	r := i % len(f.Config.Regions)
	region := f.Config.Regions[r]
	name := fmt.Sprintf("%s-agent-%04d", region, i)
	dir := f.AgentDir(i)
	bundleDir := filepath.Join(dir, "identity")
	err := f.Home.Issue(bundleDir, identity.Identity{Role: identity.RoleAgent, Region: region, Name: name})
	if err != nil && !errors.Is(err, identity.ErrExists) {
		return agent.Config{}, err
	}
	bundle, err := identity.Load(bundleDir)
	if err != nil {
		return agent.Config{}, err
	}
	cfg := agent.Config{Identity: bundle, Coordinators: []string{f.Coordinators[r].MeshAddr()}, Listen: f.Config.Listen + ":0",
		OutputDir: filepath.Join(dir, "configs"), StateDir: filepath.Join(dir, "state"), Keep: f.Config.Keep, DiskQuota: f.Config.DiskQuota,
		KeepAlive: f.Config.KeepAlive, IdleTimeout: f.Config.IdleTimeout, OnEvent: f.Config.OnEvent, Log: f.Config.Log}
	if f.Join != nil {
		cfg.Coordinators = f.Join
	}
	if f.Config.OnAgent != nil {
		f.Config.OnAgent(i, &cfg)
	}
	if f.Config.LocalAPI {
		cfg.LocalAPI = "unix:" + filepath.Join(dir, "banyan.sock")
	}
	return cfg, nil
}

// AgentDir is the directory of agent i.
func (f *Fleet) AgentDir(i int) string {
	return filepath.Join(f.Config.Dir, fmt.Sprintf("agent-%04d", i))
}

// StartAgent starts agent i.
func (f *Fleet) StartAgent(i int) (*agent.Agent, error) {
	cfg, err := f.AgentConfig(i)
	if err != nil {
		return nil, err
	}
	if cfg.PacketConn, err = f.socket(cfg.Identity.Identity.Name, cfg.Listen); err != nil {
		return nil, err
	}
	a, err := agent.Open(cfg, f.wrappers(i)...)
	if err != nil {
		return nil, fmt.Errorf("agent %d: %w", i, err)
	}
	f.Agents = append(f.Agents, a)
	ctx, stop := context.WithCancel(f.ctx)
	f.stops[a.Name()] = stop
	f.group.Go(func() {
		f.note(a.Run(ctx))
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ended[a] = true
	})
	return a, nil
}

// policy is what everyone verifies with.
func (f *Fleet) policy() *record.Policy { return f.Coordinators[0].Policy() }

// Ended tells whether an agent has stopped.
func (f *Fleet) Ended(a *agent.Agent) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended[a]
}

func (f *Fleet) note(err error) {
	if err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.errs = append(f.errs, err)
	}
}

// WaitAttached waits until every agent has a parent.
func (f *Fleet) WaitAttached(ctx context.Context) error {
	return Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		for _, a := range f.Agents {
			s, ok := a.Status(ctx)
			if !ok || !s.Attached {
				return false, nil
			}
		}
		return true, nil
	})
}

// WaitApplied waits until every agent runs at least the given epoch of its region.
func (f *Fleet) WaitApplied(ctx context.Context, config string, epochs map[string]uint64) error {
	return Poll(ctx, 5*time.Millisecond, func() (bool, error) {
		for _, a := range f.Agents {
			if applied, ok := a.Applied(config); !ok || applied.Epoch < epochs[applied.Region] {
				return false, nil
			}
		}
		return true, nil
	})
}

// Poll calls fn every interval until it reports true, an error, or ctx ends.
func Poll(ctx context.Context, interval time.Duration, fn func() (bool, error)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if done, err := fn(); done || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Publish validates, signs, stores and activates a draft in every region.
func (f *Fleet) Publish(ctx context.Context, d api.Draft) (api.Version, map[string]uint64, error) {
	v, err := f.Client.Publish(ctx, d, f.Key)
	if err != nil {
		return v, nil, err
	}
	epochs, err := f.Activate(ctx, d.Config, v.Manifest.Version)
	return v, epochs, err
}

// Activate moves every region's pointer and returns the new epochs.
func (f *Fleet) Activate(ctx context.Context, config string, version uint64) (map[string]uint64, error) {
	pointers, err := f.Client.Activate(ctx, config, api.Activate{Version: version})
	epochs := map[string]uint64{}
	for _, p := range pointers {
		epochs[p.Region] = p.Epoch
	}
	return epochs, err
}

// Stop ends everything and waits for it.
func (f *Fleet) Stop() error {
	f.cancel()
	if f.Client != nil {
		f.Client.Close()
	}
	f.group.Wait()
	if f.net != nil {
		f.net.Close()
	}
	return errors.Join(f.errs...)
}

// RemoveAll stops the fleet and deletes its directory.
func (f *Fleet) RemoveAll() error { return errors.Join(f.Stop(), os.RemoveAll(f.Config.Dir)) }
