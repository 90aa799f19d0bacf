package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"banyan/agent"
	"banyan/bench/fleet"
	"banyan/coordinator"
	"banyan/internal/quantity"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport/identity"
)

func newCoordinator(a *app) *cobra.Command {
	var (
		cfg      coordinator.Config
		keyFiles []string
	)
	cmd := &cobra.Command{
		Use:   "coordinator",
		Short: "Run a region's coordinator",
		Long: `Run the root of a region's tree. The one that leads holds the store and the activation
keys (--activation-key, once for each region); the others follow it (--leader and
--leader-api) and hold neither.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Log, err = a.logger(); err != nil {
				return err
			}
			if a.identityDir == "" {
				return usagef("--identity is needed: the bundle of this coordinator")
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
			cfg.OpenStore = a.openStore
			c, err := coordinator.Open(cfg)
			if err != nil {
				return err
			}
			return c.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&keyFiles, "activation-key", nil, "file of an activation key; a leader needs each region's")
	f.StringVar(&cfg.DataDir, "data-dir", "banyan-data", "directory for the store and the bodies")
	f.StringVar(&cfg.Listen, "listen", ":7400", "UDP address of the mesh")
	f.StringVar(&cfg.Advertise, "advertise", "", "mesh address that other coordinators dial (default the one the leader is reached from)")
	f.StringVar(&cfg.API, "api-listen", ":7401", "TCP address of the control API")
	f.StringVar(&cfg.Metrics, "metrics-listen", "", "TCP address of /metrics and /healthz, without TLS (default none)")
	f.StringVar(&cfg.Leader, "leader", "", "mesh address of the coordinator to follow")
	f.StringVar(&cfg.LeaderAPI, "leader-api", "", "control API of the coordinator to follow")
	f.IntVar(&cfg.Fanout, "fanout", tree.DefaultFanout, "children each node of the tree gets")
	f.IntVar(&cfg.MaxDepth, "max-depth", 0, "hops from the coordinator to the deepest agent; it takes what would be deeper itself (default no limit)")
	f.IntVar(&cfg.Cell, "cell", 0, "number that tells coordinators of one region apart; a second one in the leader's region follows it with --cell 1")
	f.StringVar(&cfg.Gossip, "gossip-listen", ":7403", "address, TCP and UDP, of the region's gossip pool; empty for none")
	f.StringVar(&cfg.GossipWAN, "gossip-wan-listen", ":7404", "address, TCP and UDP, of the pool of coordinators; empty for none")
	f.StringSliceVar(&cfg.GossipJoin, "gossip-join", nil, "wide-area gossip address of another coordinator; may be repeated")
	f.StringVar(&cfg.GossipAdvertise, "gossip-advertise", "", "IP address at which others reach both pools (default the bound one)")
	f.Int64Var(&cfg.PushLimit, "push-limit", coordinator.DefaultPushLimit, "largest body pushed behind its announcement, in bytes; negative for none")
	f.DurationVar(&cfg.HeadInterval, "head-interval", coordinator.DefaultHeadInterval, "time between signed proofs of freshness")
	sizeVar(f, &cfg.MaxBody, "max-body", "largest body taken; 0 for 1GiB, which is the most")
	f.Int64Var(&cfg.DiskReserve, "disk-reserve", 32<<20, "bytes that must stay free on disk")
	rateFlags(f, &cfg.MaxUpload, &cfg.MaxDownload)
	f.StringSliceVar(&cfg.TwoPersons, "two-persons", nil, "prefix of configs whose rollouts a second person must approve; may be repeated")
	return cmd
}

// rateFlags are the limits on bodies that a host sends and takes.
func rateFlags(f *pflag.FlagSet, up, down *int64) {
	sizeVar(f, up, "max-upload", "rate at which bodies are sent, in bytes a second, over all links; 0 for no limit")
	sizeVar(f, down, "max-download", "likewise received")
}

// sizeVar is a flag for a number of bytes, such as 512KiB; 0 if it is not given.
func sizeVar(f *pflag.FlagSet, v *int64, name, usage string) {
	textVar(f, (*quantity.Size)(v), name, "0", usage)
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
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Log, err = a.logger(); err != nil {
				return err
			}
			if cfg.Subscriptions, err = subscriptions(scopes, relayOnly); err != nil {
				return err
			}
			if len(cfg.Coordinators) == 0 {
				return usagef("--join is required: the address of a coordinator, host:7400")
			}
			if a.identityDir == "" {
				return usagef("--identity is needed: the bundle of this agent; 'banyan cert agent' issues one")
			}
			if cfg.Identity, err = identity.Load(a.identityDir); err != nil {
				return err
			}
			if cfg.Hooks, err = loadHooks(hooks, check, reload); err != nil {
				return err
			}
			ag, err := agent.Open(cfg)
			if err != nil {
				return err
			}
			return ag.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&cfg.Coordinators, "join", nil, "mesh address of a coordinator of this region; may be repeated")
	f.StringVar(&cfg.OutputDir, "output-dir", "/etc/banyan/configs", "directory in which configs appear as files")
	f.StringVar(&cfg.StateDir, "state-dir", "/var/lib/banyan/agent", "directory in which the agent remembers what it applied")
	f.StringVar(&cfg.Listen, "listen", ":0", "UDP address to bind")
	f.StringVar(&cfg.Advertise, "advertise", "", "address that children dial (default the one the coordinator is reached from)")
	f.StringVar(&cfg.LocalAPI, "local-api", "", "where readers on this host are served: unix:PATH or a loopback host:port (default nowhere)")
	f.StringSliceVar(&scopes, "subscribe", nil, "config that this host applies, with all below it; may be repeated, 256 bytes in all (default all)")
	f.BoolVar(&relayOnly, "relay-only", false, "apply nothing; pass on announcements and bodies to other hosts")
	sizeVar(f, &cfg.CacheLimit, "cache-limit", "what may be kept on disk for other hosts, of configs that this one does not subscribe to; 0 for 1GiB")
	f.BoolVar(&cfg.Leaf, "leaf", false, "never have children")
	f.IntVar(&cfg.MaxChildren, "max-children", 0, "children this host takes (default as many as the coordinator gives it)")
	f.StringToStringVar(&cfg.Labels, "label", nil, "label that waves can match, key=value; may be repeated")
	f.IntVar(&cfg.Keep, "keep", 3, "versions of a config that stay on disk")
	f.Int64Var(&cfg.DiskReserve, "disk-reserve", 32<<20, "bytes that must stay free on disk")
	sizeVar(f, &cfg.DiskQuota, "disk-quota", "what versions may take on disk; past it the oldest go, but none that runs or is to run; 0 for no quota")
	rateFlags(f, &cfg.MaxUpload, &cfg.MaxDownload)
	f.StringVar(&hooks, "hooks", "", "YAML file of hooks: checks, reloads and what to do about drift, by prefix of configs")
	f.StringVar(&check, "check-command", "", "shell command that must succeed before any version is shown, for hosts without a hooks file")
	f.StringVar(&reload, "reload-command", "", "shell command to run after any version is shown, likewise")
	f.DurationVar(&cfg.DriftInterval, "drift-interval", agent.DefaultDriftInterval, "time between two looks at each file for changes by another hand; negative: never")
	return cmd
}

// subscriptions makes them of the two flags.
func subscriptions(scopes []string, relayOnly bool) (wire.Subscriptions, error) {
	switch {
	case relayOnly && len(scopes) > 0:
		return "", usagef("--relay-only with --subscribe %s: a host that only relays subscribes to nothing; leave one of them out", scopes[0])
	case relayOnly:
		return wire.SubscribeNothing, nil
	case len(scopes) > 0:
		return wire.Subscribe(scopes...), nil
	}
	return "", nil
}

// loadHooks reads a hooks file, or makes the one rule of the two flags.
func loadHooks(path, check, reload string) (*agent.Hooks, error) {
	if path != "" {
		if check != "" || reload != "" {
			return nil, usagef("--hooks, with --check-command or --reload-command; write them into the file")
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
		Short: "Run a whole two-region fleet in this process, to try things on",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Log, err = a.logger(); err != nil {
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
			fmt.Fprintf(a.stdout, `%d regions, %d agents. In another terminal:

  export BANYAN_HOME=%s BANYAN_COORDINATOR=%s
  banyan publish web/flags examples/feature-flags.json
  banyan status web/flags
  cat %s

Ctrl-C ends it.
`, len(f.Config.Regions), cfg.Agents, f.Home.Dir, f.Coordinators[0].APIAddr(),
				filepath.Join(f.AgentDir(0), "configs/web/flags/value"))
			<-cmd.Context().Done()
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "dir", "", "directory for everything (default a temporary one, removed at the end)")
	f.IntVar(&cfg.Agents, "agents", 10, "agents, shared out between the regions")
	f.StringSliceVar(&cfg.Regions, "regions", []string{"eu", "us"}, "regions; the first one's coordinator leads")
	f.StringVar(&cfg.API, "api-listen", "127.0.0.1:7401", "TCP address of the leader's control API")
	f.StringVar(&cfg.Metrics, "metrics-listen", "", "TCP address of the leader's /metrics")
	return cmd
}
