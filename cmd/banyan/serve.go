package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"banyan/agent"
	"banyan/coordinator"
	"banyan/internal/fleet"
	"banyan/internal/quantity"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport/identity"
	"banyan/versionstore"
	"banyan/versionstore/etcdstore"
)

func newCoordinator(a *app) *cobra.Command {
	var (
		cfg      coordinator.Config
		keyFiles []string
		store    string
	)
	cmd := &cobra.Command{
		Use:   "coordinator",
		Short: "Run a region's coordinator",
		Long: `Run a coordinator: the root of a region's tree.

One coordinator leads. The leader has the store and the activation keys (--activation-key,
once for each region). The other coordinators follow the leader (--leader and
--leader-api) and have neither.`,
		Example: `  banyan coordinator --identity coordinator-eu --data-dir /var/lib/banyan \
    --activation-key activation/eu.key --activation-key activation/us.key
  banyan coordinator --identity coordinator-us --data-dir /var/lib/banyan \
    --leader eu.example.com:7400 --leader-api eu.example.com:7401`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.chooseStore(&cfg, store); err != nil {
				return err
			}
			return a.runCoordinator(cmd.Context(), cfg, keyFiles)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&keyFiles, "activation-key", nil,
		"`FILE` of an activation key; the leader needs the key of each region")
	f.StringVar(&cfg.DataDir, "data-dir", "banyan-data", "`DIR` of the store and the bodies")
	f.StringVar(&store, "store", "",
		"`URL` of the leader's store in etcd, etcd://HOST:PORT,…?prefix=…&ca=…&cert=…&key=… (default a store in the data directory)")
	f.StringVar(&cfg.Listen, "listen", ":7400", "UDP `ADDR` of the mesh")
	f.StringVar(&cfg.Advertise, "advertise", "",
		"mesh `ADDR` that other coordinators dial (default the address from which the leader is reached)")
	f.StringVar(&cfg.API, "api-listen", ":7401", "TCP `ADDR` of the control API")
	f.StringVar(&cfg.Metrics, "metrics-listen", "",
		"TCP `ADDR` of /metrics and /healthz, without TLS (default none)")
	f.StringVar(&cfg.Leader, "leader", "", "mesh `ADDR` of the leader to follow")
	f.StringVar(&cfg.LeaderAPI, "leader-api", "", "control API `ADDR` of the leader to follow")
	f.IntVar(&cfg.Fanout, "fanout", tree.DefaultFanout, "`N` children of each node of the tree")
	f.IntVar(&cfg.MaxDepth, "max-depth", 0,
		"at most `N` hops between the coordinator and an agent; the coordinator takes deeper agents itself (default no limit)")
	f.IntVar(&cfg.Cell, "cell", 0,
		"index `N` of this coordinator in its region: 0 for the first, 1 for the second")
	gossipFlags(f, &cfg)
	f.Int64Var(&cfg.PushLimit, "push-limit", coordinator.DefaultPushLimit,
		"largest body in `BYTES` that is pushed behind its announcement; 0 or less for none")
	f.DurationVar(&cfg.HeadInterval, "head-interval", coordinator.DefaultHeadInterval,
		"`TIME` between signed heads, which prove that hosts are up to date")
	sizeVar(f, &cfg.MaxBody, "max-body", "0", "largest body that may be published; 0 for the limit of 1GiB")
	sizeVar(f, &cfg.DiskReserve, "disk-reserve", "32MiB", "room that must stay free on disk")
	rateFlags(f, &cfg.MaxUpload, &cfg.MaxDownload)
	positive(f, "fanout", "head-interval")
	leastBytes(f, "disk-reserve", coordinator.MinDiskReserve(), "the store")
	notNegative(f, "max-depth", "cell")
	return cmd
}

// gossipFlags adds the flags of the gossip pools.
func gossipFlags(f *pflag.FlagSet, cfg *coordinator.Config) {
	f.StringVar(&cfg.Gossip, "gossip-listen", ":7403",
		"TCP and UDP `ADDR` of the region's gossip pool; empty for no pool")
	f.StringVar(&cfg.GossipWAN, "gossip-wan-listen", ":7404",
		"TCP and UDP `ADDR` of the gossip pool of all coordinators; empty for no pool")
	f.StringSliceVar(&cfg.GossipJoin, "gossip-join", nil,
		"`ADDR` of another coordinator in the pool of all coordinators; may be repeated")
	f.StringVar(&cfg.GossipAdvertise, "gossip-advertise", "",
		"`IP` address at which other members reach both pools (default the bound address)")
}

// chooseStore sets the store of a leader: that at a URL, or the embedded one if the URL is empty.
func (a *app) chooseStore(cfg *coordinator.Config, url string) error {
	cfg.OpenStore = a.openStore
	if url == "" {
		return nil
	}
	if cfg.Leader != "" {
		return usagef("--store is for the leader; a follower keeps a copy in its data directory")
	}
	etcd, err := etcdstore.ParseURL(url)
	if errors.Is(err, etcdstore.ErrURL) {
		return usagef("--store: %s", err)
	}
	if err != nil {
		return err
	}
	cfg.OpenStore = func(ctx context.Context, _ string, _ int64) (versionstore.Store, error) {
		s, err := etcdstore.Open(ctx, etcd)
		if err != nil {
			return nil, err // not a nil pointer in an interface
		}
		return s, nil
	}
	return nil
}

// runCoordinator completes cfg, whose plain values the flags have set, and runs a coordinator.
func (a *app) runCoordinator(ctx context.Context, cfg coordinator.Config, keyFiles []string) (err error) {
	if cfg.Log, err = a.logger(); err != nil {
		return err
	}
	if a.identityDir == "" {
		return usagef("--identity is required: the bundle of this coordinator")
	}
	if cfg.PushLimit == 0 {
		cfg.PushLimit = -1 // in the Config, 0 is the default
	}
	if cfg.Identity, err = identity.Load(a.identityDir); err != nil {
		return err
	}
	for _, path := range keyFiles {
		key, err := record.LoadKey(path)
		if err != nil {
			return fmt.Errorf("activation key: %w", err)
		}
		cfg.ActivationKeys = append(cfg.ActivationKeys, key)
	}
	cfg.Version = version
	c, err := coordinator.Open(ctx, cfg)
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

// rateFlags adds the flags that limit the rates of bodies.
func rateFlags(f *pflag.FlagSet, up, down *int64) {
	sizeVar(f, up, "max-upload", "0", "limit for sending bodies, per second, e.g. 8MiB; 0 for no limit")
	sizeVar(f, down, "max-download", "0", "limit for receiving bodies, per second, e.g. 8MiB; 0 for no limit")
}

// sizeVar adds a flag for a size in bytes, such as 512KiB.
func sizeVar(f *pflag.FlagSet, v *int64, name, otherwise, usage string) {
	textVar(f, (*quantity.Size)(v), name, otherwise, usage)
}

func newAgent(a *app) *cobra.Command {
	var (
		cfg           agent.Config
		hooks         string
		check, reload string
		scopes        []string
		relayOnly     bool
	)
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this host",
		Example: `  banyan agent --identity eu-host-1 --join eu.example.com:7400 \
    --output-dir /etc/banyan/configs --state-dir /var/lib/banyan/agent`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Subscriptions, err = subscriptions(scopes, relayOnly); err != nil {
				return err
			}
			if cfg.Hooks, err = loadHooks(hooks, check, reload); err != nil {
				return err
			}
			return a.runAgent(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&cfg.Coordinators, "join", nil,
		"mesh `ADDR` of a coordinator of this region; may be repeated")
	f.StringVar(&cfg.OutputDir, "output-dir", "/etc/banyan/configs", "`DIR` in which configs appear as files")
	f.StringVar(&cfg.StateDir, "state-dir", "/var/lib/banyan/agent", "`DIR` of the agent's state")
	f.StringVar(&cfg.Listen, "listen", ":0", "UDP `ADDR` to bind")
	f.StringVar(&cfg.Advertise, "advertise", "",
		"`ADDR` that children dial (default the address from which the coordinator is reached)")
	f.StringVar(&cfg.LocalAPI, "local-api", "",
		"`ADDR` of the API for programs on this host: unix:PATH or a loopback host:port (default none)")
	f.StringSliceVar(&scopes, "subscribe", nil,
		"apply the configs under `PREFIX`; may be repeated, 256 bytes in all (default every config)")
	f.BoolVar(&relayOnly, "relay-only", false, "apply no config; only relay announcements and bodies")
	sizeVar(f, &cfg.CacheLimit, "cache-limit", "0",
		"largest size of the shards kept for other hosts, of configs that this host does not subscribe to; 0 for 1GiB")
	f.BoolVar(&cfg.Leaf, "leaf", false, "never have children")
	f.IntVar(&cfg.MaxChildren, "max-children", 0,
		"at most `N` children (default as many as the coordinator assigns)")
	f.StringToStringVar(&cfg.Labels, "label", nil, "label `KEY=VALUE` that waves can match; may be repeated")
	f.Lookup("label").DefValue = "" // not "[]"
	f.IntVar(&cfg.Keep, "keep", 3, "`N` versions of each config that stay on disk")
	sizeVar(f, &cfg.DiskReserve, "disk-reserve", "32MiB", "room that must stay free on disk")
	sizeVar(f, &cfg.DiskQuota, "disk-quota", "0",
		"largest size of all versions on disk; past it the oldest are deleted, but no version that runs or is to run; 0 for no quota")
	rateFlags(f, &cfg.MaxUpload, &cfg.MaxDownload)
	f.StringVar(&hooks, "hooks", "",
		"YAML `FILE` of hooks: check and reload commands, and what to do about drift, by prefix of configs")
	f.StringVar(&check, "check-command", "",
		"shell `COMMAND` that must succeed before a version becomes visible")
	f.StringVar(&reload, "reload-command", "", "shell `COMMAND` to run after a version became visible")
	f.DurationVar(&cfg.DriftInterval, "drift-interval", agent.DefaultDriftInterval,
		"`TIME` between two checks of files for manual changes (0 or negative = never)")
	positive(f, "keep")
	leastBytes(f, "disk-reserve", agent.MinDiskReserve(), "the agent's database")
	notNegative(f, "max-children")
	return cmd
}

// runAgent completes cfg, whose plain values the flags have set, and runs an agent.
func (a *app) runAgent(ctx context.Context, cfg agent.Config) (err error) {
	if cfg.Log, err = a.logger(); err != nil {
		return err
	}
	if cfg.DriftInterval == 0 {
		cfg.DriftInterval = -1 // in the Config, 0 is the default
	}
	if len(cfg.Coordinators) == 0 {
		err := usagef("--join is required: the address of a coordinator, host:7400")
		return withHint(err, "banyan agent --join coordinator.example.com:7400 --identity DIR")
	}
	if a.identityDir == "" {
		return usagef("--identity is required: the bundle of this agent; 'banyan cert agent' creates it")
	}
	if cfg.Identity, err = identity.Load(a.identityDir); err != nil {
		return err
	}
	ag, err := agent.Open(cfg)
	if err != nil {
		return err
	}
	return ag.Run(ctx)
}

// subscriptions returns the subscriptions that the two flags state.
func subscriptions(scopes []string, relayOnly bool) (wire.Subscriptions, error) {
	switch {
	case relayOnly && len(scopes) > 0:
		return "", usagef("--relay-only and --subscribe %s exclude each other: a host that only relays subscribes to nothing", scopes[0])
	case relayOnly:
		return wire.SubscribeNothing, nil
	case len(scopes) > 0:
		return wire.Subscribe(scopes...), nil
	}
	return "", nil
}

// loadHooks reads a hooks file, or returns the one rule that the two flags state.
func loadHooks(path, check, reload string) (*agent.Hooks, error) {
	if path != "" {
		if check != "" || reload != "" {
			return nil, usagef("--hooks excludes --check-command and --reload-command; write the commands into the hooks file")
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("hooks: %w", err)
		}
		h, err := agent.ParseHooks(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return h, nil
	}
	if check == "" && reload == "" {
		return nil, nil
	}
	rule := agent.Rule{Config: "*"}
	if check != "" {
		rule.Check = &agent.Check{Command: []string{"/bin/sh", "-c", check}}
	}
	if reload != "" {
		rule.Reload = &agent.Reload{Command: []string{"/bin/sh", "-c", reload}}
	}
	return agent.NewHooks(rule)
}

func newDev(a *app) *cobra.Command {
	cfg := fleet.Config{LocalAPI: true, Publisher: "admin"}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole two-region fleet in this process, to try Banyan",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Log, err = a.logger(); err != nil {
				return err
			}
			if err := atLeast("agents", cfg.Agents, 0); err != nil {
				return err
			}
			if cfg.Dir == "" {
				if cfg.Dir, err = os.MkdirTemp("", "banyan-dev-"); err != nil {
					return err
				}
				defer os.RemoveAll(cfg.Dir)
			}
			f, err := fleet.Start(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer f.Stop()
			joining, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			if err := f.WaitAttached(joining); err != nil {
				return fmt.Errorf("agents did not all join: %w", err)
			}
			fmt.Fprintf(a.stdout, `%s, %s. In another terminal:

  export BANYAN_HOME=%s BANYAN_COORDINATOR=%s
  banyan publish web/flags examples/feature-flags.json
  banyan status web/flags
  cat %s

Ctrl-C ends it.
`, quantity.Of(len(f.Config.Regions), "region"), quantity.Of(cfg.Agents, "agent"), f.Home.Dir, f.Coordinators[0].APIAddr(),
				filepath.Join(f.AgentDir(0), "configs/web/flags/value"))
			<-cmd.Context().Done()
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "dir", "",
		"`DIR` for everything (default a temporary directory, removed at the end)")
	f.IntVar(&cfg.Agents, "agents", 10, "`N` agents, spread over the regions")
	f.StringSliceVar(&cfg.Regions, "regions", []string{"eu", "us"},
		"`REGIONS`; the coordinator of the first region leads")
	f.StringVar(&cfg.API, "api-listen", "127.0.0.1:7401", "TCP `ADDR` of the leader's control API")
	f.StringVar(&cfg.Metrics, "metrics-listen", "", "TCP `ADDR` of the leader's /metrics")
	return cmd
}
