package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"banyan/internal/quantity"
	htmlreport "banyan/simulator/report"
	"banyan/simulator/scenario"
)

func newSimulateRollouts(a *app) *cobra.Command {
	var (
		fleet       fleetFlags
		html        string
		breaking    quantity.Percent
		after, look time.Duration
	)
	cmd := &cobra.Command{
		Use:   "rollouts",
		Short: "Compare rollout plans: how far a bad version gets, how long a good one takes",
		Long: `Rollouts runs several rollout plans on a virtual fleet, each with a bad version and then
with a good version. The controller and the protocol are those that coordinators and agents
run. The bad version makes a share of its hosts unhealthy some time after they apply it.
Monitoring looks at the health of the hosts at intervals.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := first(
				fleet.checkFleet(),
				atLeast("after", after, 0),
				moreThanZero("look", look),
			)
			if err != nil {
				return err
			}
			cfg, err := fleet.config(cmd.Context())
			if err != nil {
				return err
			}
			restrainMemory(fleet.nodes)
			c := scenario.Rollouts{
				Breaking: breaking,
				After:    quantity.Duration(after),
				Look:     quantity.Duration(look),
				Body:     fleet.body,
			}
			rows, err := scenario.CompareRollouts(cfg, c, func(r scenario.RolloutRow) {
				a.say("%s: %s ran the bad version; the good version took %.0f s",
					r.Plan, quantity.Of(r.Bad.Exposed, "host"), r.Good.Seconds)
			})
			if err != nil {
				return stopped(err)
			}
			if html != "" {
				write := func(w io.Writer) error { return htmlreport.WriteRollouts(w, fleet.nodes, c, rows) }
				if err := writeHTML(html, write); err != nil {
					return err
				}
			}
			out := map[string]any{"nodes": fleet.nodes, "rows": rows}
			return a.print(out, func(w io.Writer) { printRolloutRows(w, rows) })
		},
	}
	f := cmd.Flags()
	f.IntVar(&fleet.nodes, "nodes", 50_000, "number of hosts, spread evenly over the regions")
	f.IntVar(&fleet.fanout, "fanout", 32, "number of children of each node of the tree")
	textVar(f, &breaking, "breaking", "30%",
		"share of the hosts running the bad version that become unhealthy")
	f.DurationVar(&after, "after", 5*time.Second,
		"time from the apply at a host to the moment when it becomes unhealthy")
	f.DurationVar(&look, "look", 15*time.Second, "time between two looks at the health of the hosts")
	f.StringVar(&html, "html", "", "also write the table and a picture to this file, as one HTML page")
	fleet.add(f)
	for name, value := range map[string]string{"body": "64KiB", "regions": "10", "heads": "15s"} {
		if err := f.Set(name, value); err != nil {
			panic(err) // a default in this file
		}
		f.Lookup(name).DefValue = value
	}
	return cmd
}

func printRolloutRows(w io.Writer, rows []scenario.RolloutRow) {
	fmt.Fprintln(w, "PLAN\tHOSTS THAT RAN THE BAD VERSION\tSHARE\t"+
		"DECIDED AFTER S\tALL BACK AFTER S\tGOOD VERSION DONE AFTER S")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%.2f%%\t%.1f\t%.2f\t%.0f\n",
			r.Plan, r.Bad.Exposed, 100*r.Bad.ExposedShare, r.Bad.DetectSeconds, r.Bad.RecoverySeconds, r.Good.Seconds)
	}
}
