package main

import (
	"cmp"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"banyan/bench"
	"banyan/internal/atomicfile"
	"banyan/internal/quantity"
	"banyan/record"
	"banyan/simulator/compare"
	"banyan/simulator/measure"
	htmlreport "banyan/simulator/report"
	"banyan/simulator/scenario"
	"banyan/simulator/world"
)

// fleetFlags are the flags that shape a simulated fleet.
type fleetFlags struct {
	nodes, regions, zones, fanout int
	seed                          uint64
	matrix, costs                 string
	loss, jitter, slow, relays    quantity.Percent
	body, push                    quantity.Size
	link, up, down, rootLink      quantity.Bandwidth
	heads                         time.Duration
}

func (o *fleetFlags) add(f *pflag.FlagSet) {
	f.IntVar(&o.regions, "regions", 0, "the first so many regions of the matrix (default all)")
	f.IntVar(&o.zones, "zones", 3, "zones of each region")
	f.Uint64Var(&o.seed, "seed", 1, "one seed, one history")
	f.StringVar(&o.matrix, "matrix", "ibm-2024", "round trips between regions: "+strings.Join(world.Presets(), ", ")+", or a CSV file")
	f.StringVar(&o.costs, "costs", "", "JSON file of processor times, as 'banyan bench calibrate' writes it")
	textVar(f, &o.loss, "loss", "0%", "share of packets lost")
	textVar(f, &o.jitter, "jitter", "0%", "standard deviation of delays, as a share of them")
	textVar(f, &o.slow, "slow", "0%", "share of hosts that are ten times slower")
	textVar(f, &o.relays, "relays", "0%", "share of agents that subscribe to nothing, and only pass on")
	textVar(f, &o.body, "body", "1KiB", "size of a version")
	textVar(f, &o.push, "push-limit", "16KiB", "largest version pushed behind its announcement")
	textVar(f, &o.link, "link", "0bps", "rate of a host's link, each way; 0 for no limit")
	textVar(f, &o.up, "up", "0bps", "rate at which a host sends, where it differs from --link")
	textVar(f, &o.down, "down", "0bps", "rate at which a host receives, where it differs from --link")
	textVar(f, &o.rootLink, "coordinator-link", "0bps", "rate of a coordinator's link; 0: as a host's")
	f.DurationVar(&o.heads, "heads", world.DefaultHeads, "time between signed proofs of freshness")
}

// config makes the simulator's configuration.
func (o *fleetFlags) config(ctx context.Context) (world.Config, error) {
	matrix, err := world.OpenMatrix(o.matrix, "")
	if err != nil {
		return world.Config{}, err
	}
	if o.regions == 0 {
		o.regions = len(matrix.Regions)
	}
	if matrix, err = matrix.First(o.regions); err != nil {
		return world.Config{}, err
	}
	cfg := world.Config{Seed: o.seed, Agents: world.Uniform(o.nodes, o.regions), Zones: o.zones, Fanout: o.fanout, Heads: o.heads,
		BodyBytes: int64(o.body), PushLimit: int64(o.push), SlowShare: float64(o.slow), RelayShare: float64(o.relays), Done: ctx.Done(),
		Network: world.Network{Matrix: matrix, Loss: float64(o.loss), Jitter: float64(o.jitter),
			UpBps: float64(cmp.Or(o.up, o.link)), DownBps: float64(cmp.Or(o.down, o.link)), RootBps: float64(o.rootLink)}}
	if o.costs != "" {
		raw, err := os.ReadFile(o.costs)
		if err != nil {
			return cfg, err
		}
		if err := json.Unmarshal(raw, &cfg.Costs); err != nil {
			return cfg, fmt.Errorf("%w: costs %s: %s", record.ErrInvalid, o.costs, err)
		}
	}
	return cfg, nil
}

// output are the flags that say what becomes of a report.
type outputFlags struct {
	html         string
	reproducible bool
}

func (o *outputFlags) add(f *pflag.FlagSet) {
	f.StringVar(&o.html, "html", "", "write the report as an HTML file that stands alone")
	f.BoolVar(&o.reproducible, "reproducible", false, "leave out wall time and memory, so that one seed prints the same bytes")
}

func newSimulate(a *app) *cobra.Command {
	var (
		fleet   fleetFlags
		out     outputFlags
		rivals  bool
		against compare.Options
	)
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run the protocol on a virtual fleet: how fast it would be, and what it needs",
		Long: `Runs the protocol's own code on a virtual fleet, under a virtual clock: a new
version, and its rollback. Prints how long the hosts take, what it
costs each role, what the fleet needs, and what breaks first.

  banyan simulate --nodes 100000
  banyan simulate --nodes 20000 --regions 6 --loss 0.1% --compare --html report.html
  banyan simulate run bad-deploy            a scenario: 'banyan simulate scenarios' lists them
  banyan simulate sweep --nodes 1000..100000 --fanout 8,16,32,64
  banyan simulate fuzz --seeds 1000         random faults against every invariant`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := fleet.config(cmd.Context())
			if err != nil {
				return err
			}
			restrainMemory(fleet.nodes)
			began := time.Now()
			r, err := measure.Fleet(cfg)
			if err != nil {
				return stopped(err)
			}
			r.Matrix = fleet.matrix
			doc := &htmlreport.Document{Report: scenario.Report{Report: *r}}
			if rivals {
				doc.Strategies, err = compare.Strategies(cfg, against)
				if err != nil {
					return stopped(err)
				}
			}
			return a.reportRun(doc, began, out)
		},
	}
	f := cmd.Flags()
	f.IntVar(&fleet.nodes, "nodes", 10_000, "hosts, shared out evenly between the regions")
	f.IntVar(&fleet.fanout, "fanout", 32, "children each node of the tree gets")
	fleet.add(f)
	out.add(f)
	f.BoolVar(&rivals, "compare", false, "also a star, polling and gossip on the same fleet")
	f.DurationVar(&against.Poll, "poll", 30*time.Second, "with --compare: interval of polling")
	f.DurationVar(&against.Detect, "detect", 30*time.Second, "with --compare: how long a bad version runs before it is taken back")
	f.IntVar(&against.UpdatesPerDay, "updates-per-day", 1000, "with --compare: rate of changes that the bill is for")
	against.Prices = compare.DefaultPrices()
	f.Float64Var(&against.Prices.CrossRegion, "price-region", against.Prices.CrossRegion, "with --compare: dollars a GB between regions")
	f.Float64Var(&against.Prices.CrossZone, "price-zone", against.Prices.CrossZone, "with --compare: dollars a GB between zones")
	cmd.AddCommand(newSimulateRun(a), newSimulateScenarios(a), newSimulateSweep(a), newSimulateBodies(a), newSimulateRollouts(a), newSimulateFuzz(a))
	return cmd
}

// stopped turns the simulator's word for an interrupt into the CLI's.
func stopped(err error) error {
	if errors.Is(err, measure.ErrStopped) {
		return context.Canceled
	}
	return err
}

// restrainMemory lets the collector run less often where there is room: a fleet's
// heap only grows.
func restrainMemory(nodes int) {
	if nodes <= 200_000 {
		debug.SetGCPercent(400)
	}
}

func newSimulateRun(a *app) *cobra.Command {
	var (
		out  outputFlags
		seed uint64
	)
	cmd := &cobra.Command{
		Use:   "run NAME|FILE",
		Short: "Run a scenario: one of the library, or a YAML file",
		Args:  exactly("NAME|FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := scenario.Load(args[0])
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("seed") {
				s.Seed = seed
			}
			began := time.Now()
			r, err := s.Run(cmd.Context().Done())
			if err != nil {
				return stopped(err)
			}
			if err := a.reportRun(&htmlreport.Document{Report: *r}, began, out); err != nil {
				return err
			}
			if failed := r.Failed(); len(failed) > 0 {
				return fmt.Errorf("%d of %d assertions do not hold, the first: %s (it is %g)", len(failed), len(r.Assertions), failed[0].Text, failed[0].Value)
			}
			return nil
		},
	}
	out.add(cmd.Flags())
	cmd.Flags().Uint64Var(&seed, "seed", 0, "instead of the scenario's own")
	return cmd
}

func newSimulateScenarios(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "scenarios",
		Short: "List the scenarios that come with the simulator",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			all := scenario.Library()
			return a.print(all, func(w io.Writer) {
				for _, name := range scenario.Names() {
					fmt.Fprintf(w, "%s\t%s\n", name, all[name])
				}
			})
		},
	}
}

func (a *app) reportRun(r *htmlreport.Document, began time.Time, out outputFlags) error {
	if !out.reproducible {
		r.WallSeconds, r.PeakRSSBytes = time.Since(began).Seconds(), bench.PeakRSS()
	}
	if out.html != "" {
		if err := writeHTML(out.html, func(w io.Writer) error { return htmlreport.Write(w, r) }); err != nil {
			return err
		}
	}
	return a.print(r, func(w io.Writer) { printReport(w, r) })
}

func writeHTML(path string, write func(io.Writer) error) error {
	var b strings.Builder
	if err := write(&b); err != nil {
		return err
	}
	return atomicfile.Write(path, []byte(b.String()), 0o644)
}

func newSimulateSweep(a *app) *cobra.Command {
	var (
		fleet   fleetFlags
		nodes   string
		steps   int
		fanouts []int
		html    string
	)
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Find the best fan-out for a range of fleet sizes, and what growth costs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, to, err := parseRange(nodes)
			if err != nil {
				return err
			}
			sizes, err := measure.Sizes(from, to, steps)
			if err != nil {
				return err
			}
			cfg, err := fleet.config(cmd.Context())
			if err != nil {
				return err
			}
			restrainMemory(to)
			rows, err := measure.Sweep{Nodes: sizes, Fanouts: fanouts}.Run(cfg, func(row measure.SweepRow) {
				a.progress("%d nodes, fan-out %d: 99%% within %.1f ms", row.Nodes, row.Fanout, row.P99)
			})
			a.progressDone()
			if err != nil {
				return stopped(err)
			}
			if html != "" {
				if err := writeHTML(html, func(w io.Writer) error { return htmlreport.WriteSweep(w, rows) }); err != nil {
					return err
				}
			}
			return a.print(rows, func(w io.Writer) { printSweep(w, rows) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&nodes, "nodes", "1000..100000", "fleet sizes, from..to, or one")
	f.IntVar(&steps, "steps", 5, "how many sizes, each as many times larger than the last")
	f.IntSliceVar(&fanouts, "fanout", []int{8, 16, 32, 64}, "fan-outs to try")
	f.StringVar(&html, "html", "", "write the report as an HTML file that stands alone")
	fleet.add(f)
	return cmd
}

func parseRange(text string) (from, to int, err error) {
	first, last, ranged := strings.Cut(text, "..")
	if !ranged {
		last = first
	}
	from, err1 := strconv.Atoi(first)
	to, err2 := strconv.Atoi(last)
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, usagef("--nodes is %q; write FROM..TO, such as 1000..100000", text)
	}
	return from, to, nil
}

// textValue makes a flag of what reads itself from text.
type textValue struct {
	encoding.TextUnmarshaler
	text, kind string
}

func textVar(f *pflag.FlagSet, v encoding.TextUnmarshaler, name, otherwise, usage string) {
	kind, _, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", v), "*quantity.")), " ")
	value := &textValue{v, otherwise, kind}
	if err := value.Set(otherwise); err != nil {
		panic(err) // a default in this file
	}
	f.Var(value, name, usage)
}

func (v *textValue) String() string { return v.text }
func (v *textValue) Type() string   { return v.kind }
func (v *textValue) Set(s string) error {
	v.text = s
	return v.UnmarshalText([]byte(s))
}
