package agent

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"banyan/mesh"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport/identity"
)

// Config says how an agent runs. A zero value means the default where one is named.
type Config struct {
	// Identity is the agent's certificate and trust policy.
	Identity *identity.Bundle
	// Coordinators are addresses, host:port, of the region's coordinators.
	Coordinators []string
	// Listen is the UDP address to bind; default ":0".
	Listen string
	// Advertise is the address that children dial; default the bound one, with
	// the host the coordinator is reached from if Listen names none.
	Advertise string
	// OutputDir is where configs appear as files.
	OutputDir string
	// StateDir is where the agent remembers what it applied.
	StateDir string
	// LocalAPI is where readers on this host are served: "unix:PATH" or a
	// loopback "host:port"; "" for nowhere.
	LocalAPI string
	// Leaf says that this host must not have children.
	Leaf bool
	// MaxChildren is how many it takes; 0: as many as the coordinator gives it.
	MaxChildren int
	// Labels are matched by waves.
	Labels map[string]string
	// Subscriptions are the configs that this host applies; default all.
	Subscriptions wire.Subscriptions
	// CacheLimit is how many bytes of shards of other configs are kept for other hosts;
	// default mesh.DefaultCacheLimit, at least MinCacheLimit.
	CacheLimit int64
	// Keep is how many versions of a config stay on disk; default 3.
	Keep int
	// DiskQuota is how many bytes versions and bodies on their way may take together;
	// past it the oldest versions go, but never one that a pointer names. 0: no quota.
	DiskQuota int64
	// Hooks are run around an apply; nil for none. ParseHooks reads them from a file.
	Hooks *Hooks
	// DriftInterval is the time between two looks at each file; default 1 min, negative: never.
	DriftInterval time.Duration
	// MaxUpload and MaxDownload are rates of bodies, in bytes a second, over all links;
	// 0: no limit.
	MaxUpload, MaxDownload int64
	// DiskReserve is how many bytes must stay free on disk; default 32 MiB.
	DiskReserve int64
	// KeepAlive and IdleTimeout of links; defaults of transport.Config.
	KeepAlive, IdleTimeout time.Duration
	// PacketConn, if set, is the socket to use instead of binding Listen.
	PacketConn net.PacketConn
	// OnEvent, if set, is called, from the agent's own goroutines, for each
	// pointer verified, applied or refused. It must not block.
	OnEvent func(Event)
	// TamperShard, if set, changes every shard before it is sent: for tests of others'
	// defences.
	TamperShard func(shard []byte)
	// Log takes what the agent has to say; default none.
	Log *slog.Logger
}

// MinCacheLimit is the smallest cache that an agent may have for other hosts.
const MinCacheLimit = 16 << 20

func (c *Config) complete() error {
	if c.Identity.Identity.Role != identity.RoleAgent {
		return fmt.Errorf("%w: identity %s is not an agent's; issue one with 'banyan cert agent'", record.ErrInvalid, c.Identity.Identity)
	}
	if len(c.Coordinators) == 0 {
		return fmt.Errorf("%w: no coordinator address given", record.ErrInvalid)
	}
	if c.OutputDir == "" || c.StateDir == "" {
		return fmt.Errorf("%w: an output and a state directory are needed", record.ErrInvalid)
	}
	if len(c.Labels) > wire.MaxLabels {
		return fmt.Errorf("%w: %d labels, the limit is %d", record.ErrInvalid, len(c.Labels), wire.MaxLabels)
	}
	if err := c.Subscriptions.Validate(); err != nil {
		return fmt.Errorf("subscriptions: %w", err)
	}
	if c.Leaf && c.Subscriptions == wire.SubscribeNothing {
		return fmt.Errorf("%w: a host that has no children and subscribes to nothing has nothing to do", record.ErrInvalid)
	}
	if c.CacheLimit == 0 {
		c.CacheLimit = mesh.DefaultCacheLimit
	}
	if c.CacheLimit < MinCacheLimit {
		return fmt.Errorf("%w: a cache of %d bytes, the least is %d: what small bodies and indices need on their way through", record.ErrInvalid, c.CacheLimit, MinCacheLimit)
	}
	if c.Listen == "" {
		c.Listen = ":0"
	}
	if c.DriftInterval == 0 {
		c.DriftInterval = DefaultDriftInterval
	}
	if c.Keep == 0 {
		c.Keep = defaultKeep
	}
	if c.DiskReserve == 0 {
		c.DiskReserve = 32 << 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("agent", c.Identity.Identity.Name, "region", c.Identity.Identity.Region)
	return nil
}
