package agent

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"banyan/internal/usage"
	"banyan/mesh/swarm"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport/identity"
)

// Config says how an agent runs. Identity, Coordinators, OutputDir and StateDir are required;
// the zero value of every other field means the default.
type Config struct {
	// Identity is the agent's certificate and trust policy.
	Identity *identity.Bundle
	// Coordinators are the addresses, host:port, of the region's coordinators.
	Coordinators []string
	// Listen is the UDP address to bind; default ":0".
	Listen string
	// Advertise is the address for children. The default is the bound address; if the bound
	// address names no host, the host is the address from which the coordinator is reached.
	Advertise string
	// OutputDir is the directory in which configs appear as files.
	OutputDir string
	// StateDir is the directory of the agent's database.
	StateDir string
	// LocalAPI is the address for local readers, "unix:PATH" or a loopback
	// "host:port"; default none.
	LocalAPI string
	// Leaf is set if this host must not have children.
	Leaf bool
	// MaxChildren is the maximum number of children; default as many as the coordinator
	// gives.
	MaxChildren int
	// Labels are matched by the waves of rollouts; at most wire.MaxLabels.
	Labels map[string]string
	// Subscriptions are the configs to be applied on this host; default all.
	Subscriptions wire.Subscriptions
	// CacheLimit is the maximum size in bytes of the shards kept for other hosts;
	// default swarm.DefaultCacheLimit, at least MinCacheLimit.
	CacheLimit int64
	// Keep is the number of versions of a config on disk; default 3.
	Keep int
	// DiskQuota is the maximum size in bytes of versions and bodies on their way. Past it the
	// oldest versions are deleted, except versions in the newest pointers. Default no limit.
	DiskQuota int64
	// Hooks are run around an apply; default none.
	Hooks *Hooks
	// DriftInterval is the time between two looks at each file; default 1 min, negative:
	// never.
	DriftInterval time.Duration
	// DeletionMemory is the time for which the host remembers that a config was deleted; default
	// record.DeletionMemory.
	DeletionMemory time.Duration
	// MaxUpload is the rate of bodies over all links in bytes a second; default no limit.
	MaxUpload int64
	// MaxDownload is the rate of bodies over all links in bytes a second; default no limit.
	MaxDownload int64
	// DiskReserve is the number of bytes that must stay free on disk; default 32 MiB. Below
	// MinDiskReserve no room is kept for the agent's database.
	DiskReserve int64
	// KeepAlive is the time between keep-alives of a link; default as in transport.Config.
	KeepAlive time.Duration
	// IdleTimeout is the time after which a silent link ends; default as in
	// transport.Config.
	IdleTimeout time.Duration
	// PacketConn replaces the socket bound to Listen, if set. The agent closes PacketConn.
	PacketConn net.PacketConn
	// OnEvent is called for each event, from goroutines of the agent, and must not block.
	OnEvent func(Event)
	// Log takes the agent's log; default none.
	Log *slog.Logger
}

// complete checks the configuration and sets defaults. The errors are usage errors, or
// wrap identity.ErrIdentity.
func (c *Config) complete() error {
	if err := c.check(); err != nil {
		return err
	}
	if c.CacheLimit == 0 {
		c.CacheLimit = swarm.DefaultCacheLimit
	}
	if c.CacheLimit < MinCacheLimit {
		return usage.Errorf("cache limit of %d bytes: small bodies on their way through this host need at least %d bytes",
			c.CacheLimit, MinCacheLimit)
	}
	if c.Listen == "" {
		c.Listen = ":0"
	}
	if c.DriftInterval == 0 {
		c.DriftInterval = DefaultDriftInterval
	}
	if c.DeletionMemory == 0 {
		c.DeletionMemory = record.DeletionMemory
	}
	if c.Keep == 0 {
		c.Keep = defaultKeep
	}
	if c.DiskReserve == 0 {
		c.DiskReserve = defaultReserve
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	id := c.Identity.Identity
	c.Log = c.Log.With("agent", id.Name, "region", id.Region)
	return nil
}

func (c *Config) check() error {
	if c.Identity.Identity.Role != identity.RoleAgent {
		return fmt.Errorf("%w: %s is not an agent's; issue one with 'banyan cert agent'",
			identity.ErrIdentity, c.Identity.Identity)
	}
	if len(c.Coordinators) == 0 {
		return usage.Errorf("the address of a coordinator is required, host:7400")
	}
	if c.OutputDir == "" {
		return usage.Errorf("an output directory is required")
	}
	if c.StateDir == "" {
		return usage.Errorf("a state directory is required")
	}
	if len(c.Labels) > wire.MaxLabels {
		return usage.Errorf("%d labels, the limit is %d", len(c.Labels), wire.MaxLabels)
	}
	if err := c.Subscriptions.Validate(); err != nil {
		return usage.Errorf("subscriptions: %w", err)
	}
	if c.Leaf && c.Subscriptions == wire.SubscribeNothing {
		return usage.Errorf("a host that has no children and subscribes to nothing has nothing to do")
	}
	return nil
}
