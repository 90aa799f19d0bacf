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
	"banyan/simulator/compare"
	"banyan/simulator/measure"
	htmlreport "banyan/simulator/report"
	"banyan/simulator/scenario"
	"banyan/simulator/world"
)

// fleetFlags holds the flags that describe a simulated fleet. The command itself declares
// --nodes and --fanout, as their defaults and their form differ.
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
	f.IntVar(&o.regions, "regions", 0, "use only the first `N` regions of the matrix; 0 means all")
	f.IntVar(&o.zones, "zones", 3, "number of zones in each region")
	f.Uint64Var(&o.seed, "seed", 1, "seed of all randomness; one seed gives one history")
	f.StringVar(&o.matrix, "matrix", "ibm-2024",
		"round-trip times between regions: "+strings.Join(world.Presets(), ", ")+", or a CSV file")
	f.StringVar(&o.costs, "costs", "",
		"JSON file with processor times, written by 'banyan bench calibrate --costs'")
	textVar(f, &o.loss, "loss", "0%", "share of packets lost")
	textVar(f, &o.jitter, "jitter", "0%", "standard deviation of a delay, as a share of the delay")
	textVar(f, &o.slow, "slow", "0%", "share of agents whose processor is ten times slower")
	textVar(f, &o.relays, "relays", "0%", "share of agents that subscribe to nothing and only relay")
	textVar(f, &o.body, "body", "1KiB", "size of a version's body")
	textVar(f, &o.push, "push-limit", "16KiB",
		"largest body that is pushed behind its announcement; 0 pushes none")
	textVar(f, &o.link, "link", "0bps", "rate of a host's link in each direction; 0 means no limit")
	textVar(f, &o.up, "up", "0bps", "rate at which a host sends, if it differs from --link")
	textVar(f, &o.down, "down", "0bps", "rate at which a host receives, if it differs from --link")
	textVar(f, &o.rootLink, "coordinator-link", "0bps",
		"rate of a coordinator's link; 0 means the rates of a host")
	f.DurationVar(&o.heads, "heads", world.DefaultHeads,
		"time between two heads, the signed proofs of freshness; 0 sends none")
}

// checkFleet returns a usage error if --nodes or --fanout is out of range.
func (o *fleetFlags) checkFleet() error {
	return first(atLeast("nodes", o.nodes, 1), atLeast("fanout", o.fanout, 1))
}

// check returns a usage error if a flag that add declares is out of range.
func (o *fleetFlags) check() error {
	return first(
		atLeast("regions", o.regions, 0),
		atLeast("zones", o.zones, 1),
		lossBelowAll(o.loss),
		moreThanZero("body", o.body),
		atLeast("heads", o.heads, 0),
	)
}

// config returns the simulator's configuration.
func (o *fleetFlags) config(ctx context.Context) (world.Config, error) {
	if err := o.check(); err != nil {
		return world.Config{}, err
	}
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
	cfg := world.Config{
		Seed:       o.seed,
		Agents:     world.Uniform(o.nodes, o.regions),
		Zones:      o.zones,
		Fanout:     o.fanout,
		Heads:      o.heads,
		BodyBytes:  int64(o.body),
		PushLimit:  cmp.Or(int64(o.push), -1), // in a world.Config, 0 means the default
		SlowShare:  float64(o.slow),
		RelayShare: float64(o.relays),
		Done:       ctx.Done(),
		Network: world.Network{
			Matrix:  matrix,
			Loss:    float64(o.loss),
			Jitter:  float64(o.jitter),
			UpBps:   float64(cmp.Or(o.up, o.link)),
			DownBps: float64(cmp.Or(o.down, o.link)),
			RootBps: float64(o.rootLink),
		},
	}
	if o.costs != "" {
		raw, err := os.ReadFile(o.costs)
		if err != nil {
			return cfg, err
		}
		if err := json.Unmarshal(raw, &cfg.Costs); err != nil {
			return cfg, fmt.Errorf("%w: costs %s: %s", world.ErrInvalid, o.costs, err)
		}
	}
	return cfg, nil
}

// outputFlags holds the flags that say how a report is written.
type outputFlags struct {
	html         string
	reproducible bool
}

func (o *outputFlags) add(f *pflag.FlagSet) {
	f.StringVar(&o.html, "html", "", "also write the report to this file, as one HTML page")
	f.BoolVar(&o.reproducible, "reproducible", false,
		"leave out wall time and memory, so that one seed always prints the same bytes")
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
		Short: "Simulate a fleet: how fast an update is, and what the fleet needs",
		Long: `Simulate publishes a new version and rolls it back, on a virtual fleet that runs the
protocol's own code under a virtual clock. It prints how long the hosts take, what an
update costs each role, how many coordinators the fleet needs, and which limit the fleet
reaches first.`,
		Example: `  banyan simulate --nodes 100000
  banyan simulate --nodes 20000 --regions 6 --loss 0.1% --compare --html report.html
  banyan simulate run bad-deploy            # 'banyan simulate scenarios' lists the scenarios
  banyan simulate sweep --nodes 1000..100000 --fanout 8,16,32,64
  banyan simulate fuzz --seeds 1000         # random faults against every invariant`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := first(fleet.checkFleet(), checkComparison(&against)); err != nil {
				return err
			}
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
	f.IntVar(&fleet.nodes, "nodes", 10_000, "number of hosts, spread evenly over the regions")
	f.IntVar(&fleet.fanout, "fanout", 32, "number of children of each node of the tree")
	fleet.add(f)
	out.add(f)
	f.BoolVar(&rivals, "compare", false, "also run a star, polling and gossip on the same fleet")
	comparisonFlags(f, &against)
	cmd.AddCommand(
		newSimulateRun(a),
		newSimulateScenarios(a),
		newSimulateSweep(a),
		newSimulateBodies(a),
		newSimulateRollouts(a),
		newSimulateFuzz(a),
	)
	return cmd
}

// comparisonFlags adds the flags of --compare.
func comparisonFlags(f *pflag.FlagSet, against *compare.Options) {
	f.DurationVar(&against.Poll, "poll", 30*time.Second,
		"with --compare: interval of the strategy that polls")
	f.DurationVar(&against.Detect, "detect", 30*time.Second,
		"with --compare: how long a bad version runs before it is rolled back")
	f.IntVar(&against.UpdatesPerDay, "updates-per-day", 1000,
		"with --compare: number of updates per day, for the monthly bill")
	prices := compare.DefaultPrices()
	against.Prices = &prices
	f.Float64Var(&prices.CrossRegion, "price-region", prices.CrossRegion,
		"with --compare: dollars per GB between regions")
	f.Float64Var(&prices.CrossZone, "price-zone", prices.CrossZone,
		"with --compare: dollars per GB between zones")
}

// checkComparison returns a usage error if a flag of --compare is out of range.
func checkComparison(o *compare.Options) error {
	return first(
		moreThanZero("poll", o.Poll),
		moreThanZero("detect", o.Detect),
		atLeast("updates-per-day", o.UpdatesPerDay, 1),
		atLeast("price-region", o.Prices.CrossRegion, 0),
		atLeast("price-zone", o.Prices.CrossZone, 0),
	)
}

// stopped returns context.Canceled for a run that was interrupted, and any other error as it
// is.
func stopped(err error) error {
	if errors.Is(err, measure.ErrStopped) {
		return context.Canceled
	}
	return err
}

// restrainMemory makes the garbage collector run less often for fleets of up to 200,000
// hosts, whose heap fits in memory several times. The heap of a fleet only grows, so the
// collector finds little.
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
		Short: "Run a scenario from the library or from a YAML file",
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
				return fmt.Errorf("%d of %d assertions do not hold, the first is %q: the value is %g",
					len(failed), len(r.Assertions), failed[0].Text, failed[0].Value)
			}
			return nil
		},
	}
	out.add(cmd.Flags())
	cmd.Flags().Uint64Var(&seed, "seed", 0, "seed to use instead of the scenario's")
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

// reportRun prints a report, and writes the page if --html is given.
func (a *app) reportRun(r *htmlreport.Document, began time.Time, out outputFlags) error {
	if !out.reproducible {
		r.WallSeconds = time.Since(began).Seconds()
		r.PeakRSSBytes = bench.PeakRSS()
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
		Short: "Find the best fan-out for a range of fleet sizes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := atLeast("steps", steps, 1); err != nil {
				return err
			}
			for _, fanout := range fanouts {
				if err := atLeast("fanout", fanout, 1); err != nil {
					return err
				}
			}
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
				write := func(w io.Writer) error { return htmlreport.WriteSweep(w, rows) }
				if err := writeHTML(html, write); err != nil {
					return err
				}
			}
			return a.print(rows, func(w io.Writer) { printSweep(w, rows) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&nodes, "nodes", "1000..100000", "fleet sizes as FROM..TO, or one size")
	f.IntVar(&steps, "steps", 5, "number of fleet sizes between FROM and TO, in geometric progression")
	f.IntSliceVar(&fanouts, "fanout", []int{8, 16, 32, 64}, "fan-outs to try")
	f.StringVar(&html, "html", "", "also write the report to this file, as one HTML page")
	fleet.add(f)
	return cmd
}

// parseRange reads a range of fleet sizes: "1000..100000", or "1000" for one size.
func parseRange(text string) (from, to int, err error) {
	first, last, ranged := strings.Cut(text, "..")
	if !ranged {
		last = first
	}
	from, err1 := strconv.Atoi(first)
	to, err2 := strconv.Atoi(last)
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, usagef("--nodes is %q; write a range FROM..TO, such as 1000..100000, or one number",
			text)
	}
	return from, to, nil
}

// textValue is a flag whose value implements encoding.TextUnmarshaler.
type textValue struct {
	encoding.TextUnmarshaler
	text, kind string
}

// textVar adds a flag with default otherwise. The help names the kind of value after the type
// of v: SIZE, PERCENT, BANDWIDTH. If usage states the default in words, the help does not
// print otherwise.
func textVar(f *pflag.FlagSet, v encoding.TextUnmarshaler, name, otherwise, usage string) {
	kind := strings.ToUpper(strings.TrimPrefix(fmt.Sprintf("%T", v), "*quantity."))
	value := &textValue{v, otherwise, kind}
	if err := value.Set(otherwise); err != nil {
		panic(err) // a default in this file
	}
	f.Var(value, name, usage)
	if strings.Contains(usage, "(default") || strings.Contains(usage, "; 0 for") {
		f.Lookup(name).DefValue = ""
	}
}

func (v *textValue) String() string { return v.text }
func (v *textValue) Type() string   { return v.kind }
func (v *textValue) Set(s string) error {
	v.text = s
	return v.UnmarshalText([]byte(s))
}
