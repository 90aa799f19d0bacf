package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"banyan/coordinator/ledger"
	"banyan/internal/embeddb"
	"banyan/internal/usage"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// Config is how a coordinator runs. A zero value means the default, where the field names
// a default.
type Config struct {
	// Identity is the coordinator's certificate and trust policy.
	Identity *identity.Bundle
	// ActivationKeys sign pointers and heads. A leader needs the key of each region whose
	// pointers move. A follower needs no key.
	ActivationKeys []record.Key
	// DataDir is the directory of the store and the blobs.
	DataDir string
	// OpenStore opens the version store of a leader. A store in a directory uses dir and keeps reserve
	// bytes of the disk free. The default is the embedded store; a follower always has that.
	OpenStore func(ctx context.Context, dir string, reserve int64) (versionstore.Store, error)
	// Listen is the UDP address of the mesh; default ":7400".
	Listen string
	// Advertise is the mesh address that other coordinators dial. The default is the bound
	// address; if Listen names no host, a follower advertises the local host address of
	// the connection to the leader.
	Advertise string
	// API is the TCP address of the control API; default ":7401".
	API string
	// Metrics is the TCP address of /metrics and /healthz, without TLS; empty means that
	// metrics are not served.
	Metrics string
	// Leader is the mesh address of the coordinator to follow; empty means that this
	// coordinator leads.
	Leader string
	// LeaderAPI is the control API of the coordinator to follow, host:port.
	LeaderAPI string
	// Cell distinguishes the coordinators of one region: 0 to tree.MaxCells-1.
	Cell int
	// Gossip is the address, TCP and UDP, of the region's gossip pool; empty means no pool.
	Gossip string
	// GossipWAN is the address, TCP and UDP, of the gossip pool of all coordinators; empty
	// means no pool.
	GossipWAN string
	// GossipJoin are the GossipWAN addresses of other coordinators.
	GossipJoin []string
	// GossipAdvertise is the host at which others reach both pools; default the bound
	// host.
	GossipAdvertise string
	// Fanout is the number of children of a node in the tree; default tree.DefaultFanout.
	Fanout int
	// MaxDepth is the maximum number of hops from the coordinator to an agent; zero means
	// no limit.
	MaxDepth int
	// HeadInterval is the time between two heads; default 3 s.
	HeadInterval time.Duration
	// HostWait is the maximum time after the start for which a leader does not write while it has
	// heard of no host of a region whose hosts have attached before; default 20 s. Negative means that
	// the leader does not wait.
	HostWait time.Duration
	// PushLimit is the maximum size of a body that is pushed behind its announcement, in
	// bytes; default 16 KiB, at most wire.MaxPush. Negative means that nothing is pushed.
	PushLimit int64
	// MaxBody is the maximum size of a body, in bytes; default 1 GiB.
	MaxBody int64
	// MaxUpload is the maximum rate at which bodies are sent over all links together, in
	// bytes per second; zero means no limit.
	MaxUpload int64
	// MaxDownload is the maximum rate at which bodies are received over all links together,
	// in bytes per second; zero means no limit.
	MaxDownload int64
	// DiskReserve is the number of bytes that must stay free on disk; default 32 MiB, at least
	// MinDiskReserve.
	DiskReserve int64
	// DeletionMemory is the time for which the node remembers that a config was deleted; default
	// record.DeletionMemory. The store remembers it for ever.
	DeletionMemory time.Duration
	// KeepAlive is the time between two keep-alives of a link; the default is that of
	// transport.Config.
	KeepAlive time.Duration
	// IdleTimeout is the time after which a silent link is closed; the default is that of
	// transport.Config.
	IdleTimeout time.Duration
	// PacketConn is a socket to use instead of Listen; nil means that Listen is bound.
	PacketConn net.PacketConn
	// Version is the version of the program, for the status.
	Version string
	// Log is the logger; nil discards all messages.
	Log *slog.Logger

	limits ledger.Limits // zero outside of tests
}

// OpenEmbedded opens the embedded version store.
func OpenEmbedded(dir string, reserve int64) (versionstore.Replica, error) {
	store, err := versionstore.OpenBadger(dir, embeddb.Options{Reserve: reserve})
	if err != nil {
		return nil, err
	}
	return store, nil
}

// MinDiskReserve returns the least number of bytes for Config.DiskReserve: with less, the store can't
// keep the room that a pointer's move needs on a full disk.
func MinDiskReserve() int64 { return embeddb.MinReserve(0) }

// complete checks the config and fills in the defaults.
func (c *Config) complete() error {
	if c.Identity.Identity.Role != identity.RoleCoordinator {
		return fmt.Errorf("%w: %s is not a coordinator's; issue one with 'banyan cert coordinator'",
			identity.ErrIdentity, c.Identity.Identity)
	}
	if c.DataDir == "" {
		return usage.Errorf("a data directory is required")
	}
	if (c.Leader == "") != (c.LeaderAPI == "") {
		return usage.Errorf("a follower needs both the mesh address and the API address of its leader")
	}
	setDefault(&c.Listen, ":7400")
	setDefault(&c.API, ":7401")
	setDefault(&c.Fanout, tree.DefaultFanout)
	setDefault(&c.HeadInterval, DefaultHeadInterval)
	setDefault(&c.DeletionMemory, record.DeletionMemory)
	setDefault(&c.HostWait, DefaultHostWait)
	setDefault(&c.PushLimit, DefaultPushLimit)
	if c.Cell < 0 || c.Cell >= tree.MaxCells {
		return usage.Errorf("cell %d; 0 to %d are possible", c.Cell, tree.MaxCells-1)
	}
	if c.PushLimit > wire.MaxPush {
		return usage.Errorf("a push limit of %d bytes; at most %d are possible", c.PushLimit, wire.MaxPush)
	}
	setDefault(&c.MaxBody, DefaultMaxBody)
	setDefault(&c.DiskReserve, defaultDiskReserve)
	if least := MinDiskReserve(); c.DiskReserve < least {
		return usage.Errorf("a disk reserve of %d bytes; the store needs at least %d", c.DiskReserve, least)
	}
	if c.OpenStore == nil {
		c.OpenStore = func(_ context.Context, dir string, reserve int64) (versionstore.Store, error) {
			return OpenEmbedded(dir, reserve)
		}
	}
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

// activationKeys returns the activation key of each region, by region. Every configured key
// must serve a region, and a leader needs the key of its own region.
func activationKeys(cfg Config) (map[string]record.Key, error) {
	keys := map[string]record.Key{}
	if cfg.Leader != "" {
		return keys, nil
	}
	policy := cfg.Identity.Policy
	for _, key := range cfg.ActivationKeys {
		used := false
		for _, region := range policy.Regions() {
			if policy.MayActivate(key.ID, region) {
				keys[region] = key
				used = true
			}
		}
		if !used {
			return nil, fmt.Errorf("activation key %s: %w: the trust policy lists it for no region",
				key.ID, record.ErrUnknownKey)
		}
	}
	region := cfg.Identity.Identity.Region
	if _, ok := keys[region]; !ok {
		return nil, usage.Errorf("no activation key for region %s; a leader needs the key, a follower the leader's address", region)
	}
	return keys, nil
}
