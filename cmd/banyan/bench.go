package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"banyan/bench"
	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/examples"
	"banyan/internal/atomicfile"
	"banyan/internal/quantity"
	"banyan/transport/emulated"
)

func newDemo(a *app) *cobra.Command {
	cfg := bench.DemoConfig{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the life of a config on a small fleet: publish, change, roll back, refuse attacks",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := atLeast("agents", cfg.Agents, 1); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 55*time.Second)
			defer cancel()
			if err := demoDrafts(&cfg); err != nil {
				return err
			}
			if a.output == "text" {
				cfg.Say = func(format string, args ...any) { fmt.Fprintf(a.stdout, "· "+format+"\n", args...) }
			}
			result, err := bench.Demo(ctx, cfg)
			if err != nil {
				return err
			}
			if err := a.print(result, func(w io.Writer) { printDemo(w, result) }); err != nil {
				return err
			}
			if !result.Refused.All() {
				return errors.New("an attack was not refused")
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&cfg.Agents, "agents", 50, "number of agents, spread evenly over two regions")
	cmd.AddCommand(newDemoRollout(a), newDemoTruth(a))
	return cmd
}

// demoDrafts sets the drafts that the demo publishes. The drafts are the examples.
func demoDrafts(cfg *bench.DemoConfig) (err error) {
	for _, e := range []struct{ config, file string }{
		{"web/feature-flags", "feature-flags.json"},
		{"monitoring/rules", "prometheus-rules.yaml"},
		{"edge/nginx", "nginx.conf"},
	} {
		body, err := examples.Files.ReadFile(e.file)
		if err != nil {
			return err
		}
		cfg.Examples = append(cfg.Examples, api.Draft{
			Config:      e.config,
			Body:        body,
			ContentType: draft.TypeOf(e.file),
			Message:     "from examples/" + e.file,
		})
	}
	cfg.Changed, err = examples.Files.ReadFile("feature-flags.v2.json")
	return err
}

func printDemo(w io.Writer, r bench.DemoResult) {
	fmt.Fprintln(w, "\nSTEP\tVERSION\tEPOCH\tAPPLIED\tP50 MS\tP99 MS\tMAX MS")
	for _, s := range r.Steps {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d/%d\t%.1f\t%.1f\t%.1f\n",
			s.Name, s.Version, s.Epochs[r.Regions[0]], s.Applied, r.Agents, s.P50Ms, s.P99Ms, s.MaxMs)
	}
	fmt.Fprintln(w, "\nATTACK\tREFUSED")
	fmt.Fprintf(w, "tampered body\t%v\ntampered announcement\t%v\nreplayed pointer\t%v\n",
		r.Refused.TamperedBody, r.Refused.TamperedAnnouncement, r.Refused.ReplayedPointer)
}

func newBench(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "bench",
		Short: "Measure Banyan with real agents on this machine",
		Example: `  banyan bench fanout --agents 1000
  banyan bench scale --quick
  banyan bench body --agents 64 --body 16MiB --link 10Mbps
  banyan bench calibrate --costs costs.json`,
	})
	cmd.AddCommand(
		newBenchFanout(a),
		newBenchBody(a),
		newBenchRollback(a),
		newBenchIdle(a),
		newBenchScale(a),
		newBenchCalibrate(a),
	)
	return cmd
}

func newBenchFanout(a *app) *cobra.Command {
	var (
		cfg                            bench.FanoutConfig
		link                           emulated.Link
		kill, loss, reorder, duplicate quantity.Percent
	)
	cmd := &cobra.Command{
		Use:   "fanout",
		Short: "Time updates of many agents, up to the verified pointer and the durable apply",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := first(
				atLeast("agents", cfg.Agents, 1),
				atLeast("fanout", cfg.Fanout, 1),
				atLeast("updates", cfg.Updates, 2), // the first is not counted
				atLeast("body", cfg.Body, 1),
				lossBelowAll(loss),
				atLeast("delay", link.Delay, 0),
			)
			if err != nil {
				return err
			}
			cfg.Say = a.say
			cfg.KillRelays = float64(kill)
			if loss > 0 || reorder > 0 || duplicate > 0 || link.Delay > 0 {
				link.Loss = float64(loss)
				link.Reorder = float64(reorder)
				link.Duplicate = float64(duplicate)
				cfg.Link = &link
			}
			r, err := bench.Fanout(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if err := a.print(r, func(w io.Writer) { printFanout(w, r) }); err != nil {
				return err
			}
			if r.Missed > 0 {
				return fmt.Errorf("%d updates did not reach a live agent", r.Missed)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Agents, "agents", 1000, "number of agents, each with its own socket, connection and store")
	f.IntVar(&cfg.Fanout, "fanout", 16, "number of children of each node of the tree")
	f.IntVar(&cfg.Updates, "updates", 7, "number of versions to publish; the first is not counted")
	f.IntVar(&cfg.Body, "body", 256, "size of each version's body, in bytes")
	textVar(f, &kill, "kill-relays", "0%",
		"share of the relays that are killed while one more update is announced")
	textVar(f, &loss, "loss", "0%", "share of packets that are lost, in each direction")
	textVar(f, &reorder, "reorder", "0%", "share of packets that are delayed by up to 20 ms")
	textVar(f, &duplicate, "duplicate", "0%", "share of packets that arrive twice")
	f.DurationVar(&link.Delay, "delay", 0, "delay of every packet in one direction")
	return cmd
}

func newBenchIdle(a *app) *cobra.Command {
	var cfg bench.IdleConfig
	cmd := &cobra.Command{
		Use:   "idle",
		Short: "Measure what a fleet costs while no config changes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := first(
				atLeast("agents", cfg.Agents, 1),
				atLeast("fanout", cfg.Fanout, 1),
				moreThanZero("for", cfg.For),
			)
			if err != nil {
				return err
			}
			cfg.Say = a.say
			r, err := bench.Idle(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return a.print(r, func(w io.Writer) {
				fmt.Fprintf(w, "%s at rest for %.0f s; for each agent and minute:\n",
					quantity.Of(r.Agents, "agent"), r.Seconds)
				fmt.Fprintf(w, "processor\t%.1f ms\npackets sent\t%.0f\nbytes sent\t%.0f\nresident\t%d KiB\ngoroutines\t%.1f\n",
					r.CPUMs, r.Packets, r.Bytes, r.RSSBytes>>10, r.Goroutines)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Agents, "agents", 2000, "number of agents, each with its own socket, connection and store")
	f.IntVar(&cfg.Fanout, "fanout", 16, "number of children of each node of the tree")
	f.DurationVar(&cfg.For, "for", 30*time.Second, "how long to measure")
	return cmd
}

func newBenchCalibrate(a *app) *cobra.Command {
	var (
		cfg  bench.CalibrateConfig
		file string
	)
	cmd := &cobra.Command{
		Use:   "calibrate",
		Short: "Measure this machine's costs, and compare real agents with the simulator",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := first(
				atLeast("agents", cfg.Agents, 1),
				atLeast("fanout", cfg.Fanout, 1),
			)
			if err != nil {
				return err
			}
			cfg.Say = a.say
			c, err := bench.Calibrate(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if file != "" {
				costs, err := json.MarshalIndent(c.Costs, "", "  ")
				if err != nil {
					return err
				}
				if err := atomicfile.Write(file, append(costs, '\n'), 0o644); err != nil {
					return err
				}
			}
			return a.print(c, func(w io.Writer) { printCalibration(w, c) })
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Agents, "agents", 1000, "number of agents, each with its own socket, connection and store")
	f.IntVar(&cfg.Fanout, "fanout", 16, "number of children of each node of the tree")
	f.StringVar(&file, "costs", "", "also write the costs to this JSON file, for 'banyan simulate --costs'")
	return cmd
}

func printCalibration(w io.Writer, c bench.Calibration) {
	fmt.Fprintf(w, "receive %s, send %s, verify %s, apply %s + disk %s, store %s + disk %s; "+
		"cores wait for %.0f%% of the disk time\n\n",
		c.Costs.Receive, c.Costs.Send, c.Costs.Verify, c.Costs.Apply, c.Machine.ApplySync,
		c.Costs.Store, c.Machine.StoreSync, 100*c.Machine.Held)
	fmt.Fprintf(w, "%d AGENTS\t\tMEASURED MS\tPREDICTED MS\tRATIO\t\n", c.Agents)
	for _, r := range c.Rows {
		verdict := "within 20%"
		if r.Off() {
			verdict = "off by more than 20%"
		}
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%.1f\t%.2f\t%s\n",
			r.What, r.Quantile, r.Measured, r.Predicted, r.Ratio, verdict)
	}
}

func printFanout(w io.Writer, r bench.FanoutResult) {
	fmt.Fprintf(w, "%s, fan-out %d, %s, body of %s; medians of %s\n\n", quantity.Of(r.Agents, "agent"),
		r.Fanout, quantity.Of(r.Cores, "core"), quantity.Of(r.BodyBytes, "byte"), quantity.Of(r.Updates, "update"))
	fmt.Fprintln(w, "\tP50 MS\tP99 MS\tMAX MS\tCPU µs PER AGENT")
	fmt.Fprintf(w, "new version: verified\t%.1f\t%.1f\t%.1f\t\n", r.VerifiedP50, r.VerifiedP99, r.VerifiedMax)
	fmt.Fprintf(w, "new version: fetched and durably applied\t%.1f\t%.1f\t%.1f\t%.0f\n",
		r.AppliedP50, r.AppliedP99, r.AppliedMax, r.CPUPerAgentUs)
	fmt.Fprintf(w, "rollback: verified\t%.1f\t%.1f\t%.1f\t\n", r.AnnounceP50, r.AnnounceP99, r.AnnounceMax)
	fmt.Fprintf(w, "rollback: durably applied\t%.1f\t%.1f\t%.1f\t%.0f\n",
		r.RollbackP50, r.RollbackP99, r.RollbackMax, r.RollbackCPUPerUs)
	if d := r.Disturbed; d != nil {
		fmt.Fprintf(w, "\n%d relays were killed during an update. The %d live agents applied the update in "+
			"%.1f / %.1f / %.1f / %.1f ms (p50/p90/p99/max); the p99 is %.1f × that of an update without kills.\n",
			d.Killed, d.Live, d.P50, d.P90, d.P99, d.Max, d.RatioP99)
	}
	fmt.Fprintf(w, "\nmissed %d; joined in %.1f s; peak resident %d MiB; on disk %d MiB\n%s\n",
		r.Missed, r.JoinSeconds, r.PeakRSSBytes>>20, r.DiskBytes>>20, r.StoredPerAgentNote)
}
