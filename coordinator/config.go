package coordinator

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport/identity"
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
	indexBlock = tree.DefaultMaxAgents
	// censusDelay gathers changes in the number of agents before the leader is told.
	censusDelay = 100 * time.Millisecond
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
	// Cell tells coordinators of one region apart, 0 to tree.MaxCells-1.
	Cell int
	// Gossip and GossipWAN are the addresses, TCP and UDP, of the region's gossip pool and
	// of the coordinators'; "" for none. GossipJoin are other coordinators' of the latter.
	Gossip, GossipWAN string
	GossipJoin        []string
	// GossipAdvertise is the host at which others reach both; default the bound one.
	GossipAdvertise string
	// Fanout of the region's tree; default tree.DefaultFanout.
	Fanout int
	// MaxDepth is how many hops the deepest agent may be from the coordinator; 0: no limit.
	MaxDepth int
	// HeadInterval is the time between two heads; default 3 s.
	HeadInterval time.Duration
	// PushLimit is the largest body that is pushed behind its announcement instead of
	// being asked for, in bytes; default 16 KiB, at most wire.MaxPush, negative for none.
	PushLimit int64
	// MaxBody is the largest body taken, in bytes; default 1 GiB.
	MaxBody int64
	// MaxUpload and MaxDownload are rates of bodies, in bytes a second, over all links;
	// 0: no limit.
	MaxUpload, MaxDownload int64
	// DiskReserve is how many bytes must stay free on disk; default 32 MiB.
	DiskReserve int64
	// TwoPersons are prefixes of configs whose rollouts a second person must approve.
	TwoPersons []string
	// OnStep, if set, is called before and after each step of a rollout is committed: for
	// tests that stop the coordinator there.
	OnStep func(config string, step uint64, committed bool)
	// KeepAlive and IdleTimeout of links; defaults of transport.Config.
	KeepAlive, IdleTimeout time.Duration
	// PacketConn, if set, is the socket to use instead of binding Listen.
	PacketConn net.PacketConn
	// Version of the program, for status.
	Version string
	// Log takes what the coordinator has to say; default none.
	Log *slog.Logger
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
	setDefault(&c.Fanout, tree.DefaultFanout)
	setDefault(&c.HeadInterval, DefaultHeadInterval)
	setDefault(&c.PushLimit, DefaultPushLimit)
	if c.Cell < 0 || c.Cell >= tree.MaxCells {
		return fmt.Errorf("%w: cell %d; 0 to %d are possible", record.ErrInvalid, c.Cell, tree.MaxCells-1)
	}
	if c.PushLimit > wire.MaxPush {
		return fmt.Errorf("%w: a push limit of %d bytes, at most %d are possible", record.ErrInvalid, c.PushLimit, wire.MaxPush)
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
