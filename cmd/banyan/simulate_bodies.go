package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"banyan/simulator/compare"
	"banyan/simulator/measure"
)

func newSimulateBodies(a *app) *cobra.Command {
	var (
		fleet        fleetFlags
		reproducible bool
	)
	cmd := &cobra.Command{
		Use:   "bodies",
		Short: "Compare ways to spread a large body, with and without trouble",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fleet.checkFleet(); err != nil {
				return err
			}
			cfg, err := fleet.config(cmd.Context())
			if err != nil {
				return err
			}
			restrainMemory(fleet.nodes)
			var rows []measure.BodyReport
			for _, run := range compare.BodyRuns() {
				began := time.Now()
				r, err := compare.Body(cfg, run)
				if err != nil {
					return stopped(err)
				}
				if !reproducible {
					r.WallSeconds = time.Since(began).Seconds()
				}
				a.say("%s, %s: %.2f × line rate", r.Arrangement, r.Condition, r.RatioToLineRate)
				rows = append(rows, *r)
			}
			out := map[string]any{"nodes": fleet.nodes, "rows": rows}
			return a.print(out, func(w io.Writer) { printBodies(w, rows) })
		},
	}
	f := cmd.Flags()
	f.IntVar(&fleet.nodes, "nodes", 1000, "number of hosts, spread evenly over the regions")
	f.IntVar(&fleet.fanout, "fanout", 32, "number of children of each node of the tree")
	f.BoolVar(&reproducible, "reproducible", false,
		"leave out wall time, so that one seed always prints the same bytes")
	fleet.add(f)
	for name, value := range map[string]string{"body": "64MiB", "link": "1Gbps", "regions": "1"} {
		if err := f.Set(name, value); err != nil {
			panic(err) // a default in this file
		}
		f.Lookup(name).DefValue = value
	}
	return cmd
}

func printBodies(w io.Writer, rows []measure.BodyReport) {
	fmt.Fprintln(w, "ARRANGEMENT\tCONDITION\tP50 MS\tLAST MS\t× LINE RATE\tDUPLICATES\tSENT/HOST\tRELAYS\tKEEP\tDIED\tMISSED")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%.0f\t%.0f\t%.2f\t%.1f%%\t%.0f\t%d\t%.1f%%\t%d\t%d\n",
			r.Arrangement, r.Condition, r.P50, r.Last, r.RatioToLineRate, 100*r.DuplicateShare, r.Messages,
			r.Relays, 100*r.CachedShare, r.Died, r.Missed)
	}
}
