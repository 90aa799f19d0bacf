package main

import (
	"fmt"
	"io"
	"time"

	"banyan/internal/quantity"
	"banyan/simulator/compare"
	"banyan/simulator/measure"
	htmlreport "banyan/simulator/report"
	"banyan/simulator/scenario"
)

func printReport(w io.Writer, r *htmlreport.Document) {
	if r.Scenario != "" {
		fmt.Fprintf(w, "%s: %s\n", r.Scenario, r.About)
	}
	fmt.Fprintf(w, "%s, %s, fan-out %d, depth %d, seed %d; physical floor %.1f ms\n\n",
		quantity.Of(r.Nodes, "host"), quantity.Of(r.Regions, "region"), r.Fanout, r.Depth, r.Seed, r.Bound)
	fmt.Fprintln(w, "MS\tP50\tP90\tP99\tP99.9\tMAX\tP99 ÷ FLOOR")
	printLatency(w, "new version, applied", r.Rest, r.Bound)
	printLatency(w, "new version, verified", r.Verified, r.Bound)
	printLatency(w, "rollback, applied", r.Rollback, r.Bound)
	fmt.Fprintf(w, "\nmissed %d, coverage %.4g%%\n", r.Missed, 100*r.Coverage)
	printRoles(w, r)
	printStrategies(w, r.Strategies)
	printRolloutResults(w, r.Rollouts)
	if r.Capacity != nil {
		fmt.Fprintln(w)
		for _, line := range r.Capacity.Words {
			fmt.Fprintln(w, line)
		}
	}
	for i, as := range r.Assertions {
		if i == 0 {
			fmt.Fprintln(w)
		}
		verdict := "holds"
		if !as.Holds {
			verdict = "DOES NOT HOLD"
		}
		fmt.Fprintf(w, "%s: %s (%.4g)\n", as.Text, verdict, as.Value)
	}
	fmt.Fprintf(w, "\n%d events, history %s", r.Events, r.History)
	if r.WallSeconds > 0 {
		fmt.Fprintf(w, ", %.1f s, %d MiB resident", r.WallSeconds, r.PeakRSSBytes>>20)
	}
	fmt.Fprintln(w)
}

// printRoles prints what one update costs the hosts of each role.
func printRoles(w io.Writer, r *htmlreport.Document) {
	if len(r.Roles) == 0 {
		return
	}
	fmt.Fprintln(w, "\nPER UPDATE\tHOSTS\tBYTES EACH\tBUSIEST SENDS\tBUSIEST CPU")
	updates := max(r.Updates, 1)
	for _, t := range r.Roles {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\n",
			t.Role, t.Hosts, t.Total.Bytes/int64(updates*max(t.Hosts, 1)),
			t.Busiest.Bytes/int64(updates), (t.Busiest.CPU / time.Duration(updates)).Round(time.Microsecond))
	}
}

func printStrategies(w io.Writer, all []compare.StrategyResult) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(w, "\nSTRATEGY\tP50 MS\tP99 MS\tCOORDINATOR CPU\tITS CONNECTIONS\tBYTES AN UPDATE\t"+
		"IDLE BYTES A MINUTE\tUSD A MONTH\tRAN A BAD ONE\tFOR")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%s\t%d\t%d\t%d\t%.2f\t%.2f%%\t%.2f s\n",
			s.Strategy, s.Update.P50, s.Update.P99, s.Busiest.CPU.Round(time.Microsecond), s.Connections,
			s.Traffic.Bytes, s.Idle.Bytes, s.USDPerMonth, 100*s.ExposedShare, s.ExposedSeconds)
	}
}

func printRolloutResults(w io.Writer, all []scenario.RolloutResult) {
	for _, r := range all {
		end := "completed"
		if r.RolledBack {
			end = fmt.Sprintf("rolled back at the wave of %s, %.2f s after its first host, recovered in %.3f s",
				r.Reached, r.DetectSeconds, r.RecoverySeconds)
		}
		fmt.Fprintf(w, "\nrollout of %s (%s): %s; %s ran it (%.2f%%), %d refused it\n",
			r.Config, r.Plan, end, quantity.Of(r.Exposed, "host"), 100*r.ExposedShare, r.Refused)
	}
}

func printLatency(w io.Writer, name string, l measure.Latency, bound float64) {
	if l.Count == 0 {
		return
	}
	fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f\n",
		name, l.P50, l.P90, l.P99, l.P999, l.Max, l.P99/bound)
}

func printSweep(w io.Writer, rows []measure.SweepRow) {
	fmt.Fprintln(w, "HOSTS\tFAN-OUT\tDEPTH\tP50 MS\tP99 MS\tROLLBACK P99 MS\t"+
		"COORDINATOR CPU\tRELAY CPU\tCOORDINATOR BYTES\tALL BYTES\t")
	for _, r := range rows {
		best := ""
		if r.Best {
			best = "best"
		}
		fmt.Fprintf(w, "%d\t%d\t%d\t%.1f\t%.1f\t%.1f\t%s\t%s\t%d\t%d\t%s\n",
			r.Nodes, r.Fanout, r.Depth, r.P50, r.P99, r.Rollback,
			r.RootCPU.Round(time.Microsecond), r.RelayCPU.Round(time.Microsecond), r.RootSent, r.Bytes, best)
	}
}
