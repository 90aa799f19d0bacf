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
		Short: "Compare rollout plans: how many hosts a bad version reaches, and how long a good one takes",
		Long: `Rolls out, by each of several plans, a bad version and then a good one on a virtual fleet,
with the controller and the protocol that coordinators and agents run. The bad version
breaks a share of the hosts that run it, some time after they took it up; monitoring looks
at hosts' health at intervals.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := fleet.config(cmd.Context())
			if err != nil {
				return err
			}
			restrainMemory(fleet.nodes)
			c := scenario.Rollouts{Breaking: breaking, After: quantity.Duration(after), Look: quantity.Duration(look), Body: fleet.body}
			rows, err := scenario.CompareRollouts(cfg, c, func(r scenario.RolloutRow) {
				a.say("%s: %d hosts ran the bad version, a good one is done after %.0f s", r.Plan, r.Bad.Exposed, r.Good.Seconds)
			})
			if err != nil {
				return stopped(err)
			}
			if html != "" {
				if err := writeHTML(html, func(w io.Writer) error { return htmlreport.WriteRollouts(w, fleet.nodes, c, rows) }); err != nil {
					return err
				}
			}
			return a.print(map[string]any{"nodes": fleet.nodes, "rows": rows}, func(w io.Writer) { printRolloutRows(w, rows) })
		},
	}
	f := cmd.Flags()
	f.IntVar(&fleet.nodes, "nodes", 50_000, "hosts, shared out evenly between the regions")
	f.IntVar(&fleet.fanout, "fanout", 32, "children each node of the tree gets")
	textVar(f, &breaking, "breaking", "30%", "share of the hosts that run the bad version which it breaks")
	f.DurationVar(&after, "after", 5*time.Second, "how long after they took it up")
	f.DurationVar(&look, "look", 15*time.Second, "time between two looks at hosts' health")
	f.StringVar(&html, "html", "", "write table and picture as an HTML file that stands alone")
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
	fmt.Fprintln(w, "PLAN\tHOSTS THAT RAN THE BAD VERSION\tSHARE\tDECIDED AFTER S\tALL BACK AFTER S\tGOOD VERSION DONE AFTER S")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%.2f%%\t%.1f\t%.2f\t%.0f\n", r.Plan, r.Bad.Exposed, 100*r.Bad.ExposedShare, r.Bad.DetectSeconds, r.Bad.RecoverySeconds, r.Good.Seconds)
	}
}
