package fleet

import (
	"context"
	"errors"
	"fmt"
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

// Fleet is a fleet that runs.
type Fleet struct {
	Config Config
	// Home holds the keys and certificates.
	Home *identity.Home
	// Coordinators are in the order of Config.Regions.
	Coordinators []*coordinator.Coordinator
	// Agents are in the order of their starts. A caller may remove agents.
	Agents []*agent.Agent
	// Client talks to the leader, as a person with the right to do everything.
	Client *api.Client
	// Key is the key of the publisher.
	Key record.Key
	// Join, if set, are the addresses at which agents that start from now on join. Default the
	// coordinator of the agent's region.
	Join []string

	ctx       context.Context
	cancel    context.CancelFunc
	sockets   *sockets
	processes []coordinatorProcess // in the order of Coordinators
	agents    map[*agent.Agent]*process
	group     sync.WaitGroup

	mu   sync.Mutex
	errs []error // errors of coordinators and agents that have ended; guarded by mu
}

// Start starts a fleet, which runs until ctx ends or Stop is called. Start makes keys and
// certificates in cfg.Dir if the directory has none. When Start returns, every coordinator
// listens, and agents may still be joining.
func Start(ctx context.Context, cfg Config) (*Fleet, error) {
	cfg.setDefaults()
	f := &Fleet{
		Config:  cfg,
		sockets: newSockets(cfg.Link, cfg.InMemory),
		agents:  map[*agent.Agent]*process{},
	}
	f.ctx, f.cancel = context.WithCancel(ctx)
	if err := f.start(); err != nil {
		f.Stop()
		return nil, err
	}
	return f, nil
}

func (f *Fleet) start() error {
	if err := f.makeHome(); err != nil {
		return err
	}
	for i := range f.Config.Regions {
		if err := f.startCoordinator(i); err != nil {
			return err
		}
	}
	for i := range f.Config.Agents {
		if _, err := f.StartAgent(i); err != nil {
			return err
		}
	}
	bundle, err := identity.Load(f.Home.ClientDir())
	if err != nil {
		return err
	}
	f.Client = api.NewClient(f.Coordinators[0].APIAddr(), bundle)
	return nil
}

// Stop ends every coordinator and agent, and waits for the end of each. It returns their errors.
func (f *Fleet) Stop() error {
	f.cancel()
	if f.Client != nil {
		f.Client.Close()
	}
	f.group.Wait()
	f.sockets.close()
	return errors.Join(f.errs...)
}

// RemoveAll stops the fleet and deletes its directory.
func (f *Fleet) RemoveAll() error {
	err := f.Stop()
	return errors.Join(err, os.RemoveAll(f.Config.Dir))
}

// makeHome makes the keys and certificates, or reads those of an earlier fleet.
func (f *Fleet) makeHome() error {
	dir := filepath.Join(f.Config.Dir, "home")
	home, err := identity.InitHome(dir, f.Config.Regions, f.Config.Publisher)
	if errors.Is(err, identity.ErrExists) {
		home = &identity.Home{Dir: dir}
	} else if err != nil {
		return err
	}
	f.Home = home
	f.Key, err = record.LoadKey(home.PublisherKey(f.Config.Publisher))
	return err
}

// run starts a coordinator or an agent.
func (f *Fleet) run(run func(context.Context) error) *process {
	ctx, cancel := context.WithCancel(f.ctx)
	p := &process{cancel: cancel, ended: make(chan struct{})}
	f.group.Go(func() {
		defer close(p.ended)
		err := run(ctx)
		if err != nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.errs = append(f.errs, err)
		}
	})
	return p
}

// startCoordinator starts the coordinator of region i for the first time.
func (f *Fleet) startCoordinator(i int) error {
	cfg, err := f.coordinatorConfig(i)
	if err != nil {
		return err
	}
	c, err := f.openCoordinator(cfg)
	if err != nil {
		return err
	}
	f.Coordinators = append(f.Coordinators, c)
	f.processes = append(f.processes, coordinatorProcess{f.run(c.Run), c.MeshAddr(), c.APIAddr()})
	return nil
}

// StopCoordinator ends the coordinator of region i. It does not wait for the end, so that the
// coordinator itself may call StopCoordinator.
func (f *Fleet) StopCoordinator(i int) { f.processes[i].cancel() }

// RestartCoordinator ends the coordinator of region i, waits for the end, and starts a new
// coordinator on the same data and at the same addresses.
func (f *Fleet) RestartCoordinator(i int) error { return f.RestartCoordinatorAfter(i, func() {}) }

// RestartCoordinatorAfter is RestartCoordinator, and calls fn while the coordinator is down.
func (f *Fleet) RestartCoordinatorAfter(i int, fn func()) error {
	old := f.processes[i]
	old.end()
	fn()
	cfg, err := f.coordinatorConfig(i)
	if err != nil {
		return err
	}
	cfg.Listen = old.mesh
	cfg.API = old.api
	c, err := f.openCoordinator(cfg)
	if err != nil {
		return err
	}
	f.Coordinators[i] = c
	f.processes[i] = coordinatorProcess{f.run(c.Run), old.mesh, old.api}
	return nil
}

func (f *Fleet) openCoordinator(cfg coordinator.Config) (*coordinator.Coordinator, error) {
	id := cfg.Identity.Identity
	if f.Config.OnCoordinator != nil {
		f.Config.OnCoordinator(id.Region, &cfg)
	}
	var err error
	cfg.PacketConn, err = f.sockets.open(id.Name, cfg.Listen)
	if err != nil {
		return nil, err
	}
	c, err := coordinator.Open(context.Background(), cfg)
	if err != nil {
		return nil, fmt.Errorf("coordinator of region %s: %w", id.Region, err)
	}
	return c, nil
}

// coordinatorConfig returns the configuration of the coordinator of region i.
func (f *Fleet) coordinatorConfig(i int) (coordinator.Config, error) {
	region := f.Config.Regions[i]
	bundle, err := identity.Load(f.Home.CoordinatorDir(region))
	if err != nil {
		return coordinator.Config{}, err
	}
	cfg := f.Config.coordinator(region, bundle)
	if i == 0 {
		cfg.Listen = f.Config.Mesh
		cfg.API = f.Config.API
		cfg.Metrics = f.Config.Metrics
		cfg.ActivationKeys, err = f.activationKeys()
		return cfg, err
	}
	leader := f.Coordinators[0]
	cfg.Leader = leader.MeshAddr()
	cfg.LeaderAPI = leader.APIAddr()
	if f.Config.Gossip {
		cfg.GossipJoin = []string{leader.GossipWANAddr()}
	}
	return cfg, nil
}

// activationKeys returns the activation key of each region.
func (f *Fleet) activationKeys() ([]record.Key, error) {
	var keys []record.Key
	for _, region := range f.Config.Regions {
		key, err := record.LoadKey(f.Home.ActivationKey(region))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// AgentDir returns the directory of agent i.
func (f *Fleet) AgentDir(i int) string {
	return filepath.Join(f.Config.Dir, fmt.Sprintf("agent-%04d", i))
}

// AgentConfig returns the configuration of agent i. It issues the identity of the agent if
// the directory of the agent has none.
func (f *Fleet) AgentConfig(i int) (agent.Config, error) {
	r := i % len(f.Config.Regions)
	id := identity.Identity{
		Role:   identity.RoleAgent,
		Region: f.Config.Regions[r],
		Name:   fmt.Sprintf("%s-agent-%04d", f.Config.Regions[r], i),
	}
	bundleDir := filepath.Join(f.AgentDir(i), "identity")
	err := f.Home.Issue(bundleDir, id)
	if err != nil && !errors.Is(err, identity.ErrExists) {
		return agent.Config{}, err
	}
	bundle, err := identity.Load(bundleDir)
	if err != nil {
		return agent.Config{}, err
	}
	cfg := f.Config.agent(f.AgentDir(i), bundle)
	cfg.Coordinators = []string{f.Coordinators[r].MeshAddr()}
	if f.Join != nil {
		cfg.Coordinators = f.Join
	}
	if f.Config.OnAgent != nil {
		f.Config.OnAgent(i, &cfg)
	}
	return cfg, nil
}

// StartAgent starts agent i and appends the agent to Agents.
func (f *Fleet) StartAgent(i int) (*agent.Agent, error) {
	cfg, err := f.AgentConfig(i)
	if err != nil {
		return nil, err
	}
	cfg.PacketConn, err = f.sockets.open(cfg.Identity.Identity.Name, cfg.Listen)
	if err != nil {
		return nil, err
	}
	a, err := agent.Open(cfg, f.Config.wrappers(i)...)
	if err != nil {
		return nil, fmt.Errorf("agent %d: %w", i, err)
	}
	f.Agents = append(f.Agents, a)
	f.agents[a] = f.run(a.Run)
	return a, nil
}

// StopAgent ends an agent and waits for the end. The agent stays in Agents.
func (f *Fleet) StopAgent(a *agent.Agent) { f.agents[a].end() }

// Kill ends an agent like a power cut: the peers of the agent receive nothing more. Kill
// does not wait for the end. The fleet must have a Link.
func (f *Fleet) Kill(a *agent.Agent) {
	f.Socket(a).Cut(true)
	f.agents[a].cancel()
}

// Socket returns the emulated socket of an agent; nil if the fleet has no Link.
func (f *Fleet) Socket(a *agent.Agent) emulated.Socket { return f.sockets.byName[a.Name()] }

// Sent returns the number of packets that all emulated sockets have sent, and the bytes of these
// packets without the headers of UDP and below.
func (f *Fleet) Sent() (packets, bytes uint64) { return f.sockets.sent() }

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

// WaitApplied waits until every agent runs config at the epoch of the agent's region, or at a
// newer epoch.
func (f *Fleet) WaitApplied(ctx context.Context, config string, epochs map[string]uint64) error {
	return Poll(ctx, 5*time.Millisecond, func() (bool, error) {
		for _, a := range f.Agents {
			applied, ok := a.Applied(config)
			if !ok || applied.Epoch < epochs[applied.Region] {
				return false, nil
			}
		}
		return true, nil
	})
}

// Publish validates, signs and stores a draft, and activates the new version in every region. It
// returns the new epoch of each region.
func (f *Fleet) Publish(ctx context.Context, d api.Draft) (api.Version, map[string]uint64, error) {
	v, err := f.Client.Publish(ctx, d, f.Key)
	if err != nil {
		return v, nil, err
	}
	epochs, err := f.Activate(ctx, d.Config, v.Manifest.Version)
	return v, epochs, err
}

// Activate moves the pointer of config in every region to version. It returns the new epoch of
// each region.
func (f *Fleet) Activate(ctx context.Context, config string, version uint64) (map[string]uint64, error) {
	pointers, err := f.Client.Activate(ctx, config, api.Activate{Version: version})
	epochs := map[string]uint64{}
	for _, p := range pointers {
		epochs[p.Region] = p.Epoch
	}
	return epochs, err
}
