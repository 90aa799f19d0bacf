package fleet

import (
	"log/slog"
	"path/filepath"
	"time"

	"banyan/agent"
	"banyan/coordinator"
	"banyan/transport/emulated"
	"banyan/transport/identity"
)

// Config is the shape of a fleet. Only Dir is required.
type Config struct {
	// Dir is the directory of all files of the fleet. A fleet that starts in the directory of
	// an earlier fleet has the keys, versions and configs of the earlier fleet.
	Dir string
	// Regions are the names of the regions; default eu and us. The coordinator of the first
	// region leads.
	Regions []string
	// Agents is the number of agents. Agent i belongs to region i modulo the number of regions.
	Agents int
	// Fanout is the number of children of a node; default tree.DefaultFanout.
	Fanout int
	// Publisher is the name of the first publisher; default "dev".
	Publisher string

	// Listen is the host that every socket binds to; default 127.0.0.1.
	Listen string
	// API is the address of the leader's control API; default a port chosen by the system.
	API string
	// Mesh is the address of the leader in the mesh; default a port chosen by the system.
	Mesh string
	// Metrics is the address of the leader's metrics; empty means no metrics are served.
	Metrics string
	// LocalAPI gives each agent a local API on a Unix socket in the directory of the agent.
	LocalAPI bool
	// Gossip makes the coordinators form gossip pools.
	Gossip bool

	// HeadInterval is the time between two heads of a coordinator; default as in package
	// coordinator.
	HeadInterval time.Duration
	// KeepAlive is the time between two keep-alives on a link; default as in package transport.
	KeepAlive time.Duration
	// IdleTimeout is the silence after which a link ends; default as in package transport.
	IdleTimeout time.Duration
	// Keep is the number of versions of a config on the disk of an agent; default as in
	// package agent.
	Keep int
	// DiskQuota is the maximum size in bytes of the versions on the disk of an agent; zero
	// means no quota.
	DiskQuota int64

	// Link, if set, is the emulated link before the socket of each coordinator and agent.
	Link *emulated.Link
	// InMemory carries packets behind the Link in memory instead of over loopback.
	InMemory bool

	// Tamper, if set, returns the change that agent i makes to each shard before sending the
	// shard; nil for an honest agent.
	Tamper func(i int) func(shard []byte)
	// OnEvent, if set, is called with each event of each agent, by many goroutines.
	OnEvent func(agent.Event)
	// OnAgent, if set, may change the configuration of agent i before the agent starts.
	OnAgent func(i int, c *agent.Config)
	// OnCoordinator, if set, may change the configuration of a region's coordinator before the
	// coordinator starts.
	OnCoordinator func(region string, c *coordinator.Config)
	// Log takes the log of every coordinator and agent; default nowhere.
	Log *slog.Logger
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
		c.API = c.anyPort()
	}
	if c.Mesh == "" {
		c.Mesh = c.anyPort()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// anyPort returns an address whose port the system chooses.
func (c *Config) anyPort() string { return c.Listen + ":0" }

// coordinator returns the settings that every coordinator has.
func (c *Config) coordinator(region string, bundle *identity.Bundle) coordinator.Config {
	cfg := coordinator.Config{
		Identity:     bundle,
		DataDir:      filepath.Join(c.Dir, "coordinator-"+region),
		Listen:       c.anyPort(),
		API:          c.anyPort(),
		Fanout:       c.Fanout,
		HeadInterval: c.HeadInterval,
		KeepAlive:    c.KeepAlive,
		IdleTimeout:  c.IdleTimeout,
		Version:      "fleet",
		Log:          c.Log,
	}
	if c.Gossip {
		cfg.Gossip = c.anyPort()
		cfg.GossipWAN = c.anyPort()
	}
	return cfg
}

// agent returns the settings that every agent has. dir is the directory of the agent.
func (c *Config) agent(dir string, bundle *identity.Bundle) agent.Config {
	cfg := agent.Config{
		Identity:    bundle,
		Listen:      c.anyPort(),
		OutputDir:   filepath.Join(dir, "configs"),
		StateDir:    filepath.Join(dir, "state"),
		Keep:        c.Keep,
		DiskQuota:   c.DiskQuota,
		KeepAlive:   c.KeepAlive,
		IdleTimeout: c.IdleTimeout,
		OnEvent:     c.OnEvent,
		Log:         c.Log,
	}
	if c.LocalAPI {
		cfg.LocalAPI = "unix:" + filepath.Join(dir, "banyan.sock")
	}
	return cfg
}

// wrappers returns the wrappers of agent i: a tamperer, or none for an honest agent.
func (c *Config) wrappers(i int) []agent.Wrapper {
	if c.Tamper == nil {
		return nil
	}
	change := c.Tamper(i)
	if change == nil {
		return nil
	}
	return []agent.Wrapper{tamperWith(change)}
}
