package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"banyan/coordinator/api"
	"banyan/internal/quantity"
)

// absence describes the hosts of a region that nobody hears of; "" if there are none.
func absence(r api.RegionStatus) string {
	switch {
	case r.Unreachable && r.HeardAt.IsZero():
		return fmt.Sprintf("UNREACHABLE, no coordinator heard of: nothing is known of its %s", quantity.Of(r.Hosts, "host"))
	case r.Unreachable:
		return fmt.Sprintf("UNREACHABLE since %s: nothing is known of its %s",
			clock(r.HeardAt), quantity.Of(r.Hosts, "host"))
	case r.Unheard == 0:
		return ""
	}
	var names []string
	for _, h := range r.Absent {
		since := "ever"
		if !h.HeardAt.IsZero() {
			since = "since " + clock(h.HeardAt)
		}
		names = append(names, h.Name+" "+since)
	}
	text := fmt.Sprintf("%d of %d applied, %d not heard of", r.Applied, r.Hosts, r.Unheard)
	if more := r.Unheard - len(names); len(names) > 0 && more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	if len(names) > 0 {
		text += " (" + strings.Join(names, ", ") + ")"
	}
	return text
}

// clock formats a time in local time, with the date if it is not today.
func clock(at time.Time) string {
	at = at.Local()
	if at.Format(time.DateOnly) == time.Now().Format(time.DateOnly) {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}

// printRegions prints the progress of the regions with config.
func printRegions(w io.Writer, config string, regions []api.RegionStatus) {
	heading(w, len(regions), "REGION\tEPOCH\tVERSION\tAPPLIED\tFAILED\tP50 MS\tP99 MS\tMAX MS", "runs in no region")
	for _, r := range regions {
		fmt.Fprintf(w, "%s\t%d\t%s\t%d/%d\t%d\t%s\n",
			r.Region, r.Epoch, liveVersion(r), r.Applied, r.Hosts, r.Failed, latencies(r.Latency))
	}
	for _, r := range regions {
		if line := absence(r); line != "" {
			fmt.Fprintf(w, "%s: %s\n", r.Region, line)
		}
		for _, line := range []string{duplicates(r), unanswered(r)} {
			if line != "" {
				fmt.Fprintf(w, "%s: %s\n", r.Region, line)
			}
		}
		if r.Candidate != 0 {
			fmt.Fprintf(w, "%s: %s\n", r.Region, candidate(config, r))
		}
		printFailures(w, r.Failures)
	}
}

// printFailures prints why hosts do not run a version. Hosts with the same reason share a line:
// "failed: 12 hosts (eu-1, eu-2, eu-3 and 9 more): check: exit status 1".
func printFailures(w io.Writer, failures []api.Failure) {
	type cause struct {
		delayed bool
		reason  string
	}
	hosts := map[cause][]string{}
	var causes []cause
	for _, f := range failures {
		c := cause{f.Delayed, f.Reason}
		if hosts[c] == nil {
			causes = append(causes, c)
		}
		hosts[c] = append(hosts[c], oneLine(f.Agent))
	}
	for _, c := range causes {
		outcome := "failed"
		if c.delayed {
			outcome = "delayed"
		}
		fmt.Fprintf(w, "%s: %s: %s\n", outcome, hostList(hosts[c]), oneLine(c.reason))
	}
}

// hostList names a host, or the number of hosts and the first of them.
func hostList(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	listed := strings.Join(names[:min(namedHosts, len(names))], ", ")
	if more := len(names) - namedHosts; more > 0 {
		listed += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("%s (%s)", quantity.Of(len(names), "host"), listed)
}

// liveVersion formats the version that is live in a region: "deleted" for none of a deleted config.
func liveVersion(r api.RegionStatus) string {
	if r.Deleted {
		return "deleted"
	}
	return strconv.FormatUint(r.Version, 10)
}

// latencies formats three cells of the table of regions: "-" if no host has told how long it took.
func latencies(l *api.Latency) string {
	if l == nil {
		return "-\t-\t-"
	}
	return fmt.Sprintf("%.1f\t%.1f\t%.1f", l.P50Ms, l.P99Ms, l.MaxMs)
}

// candidate describes the candidate of a region: which hosts run it, and what to do if no rollout
// brings it.
func candidate(config string, r api.RegionStatus) string {
	run := quantity.Of(r.Running, "host") + " run"
	switch r.Running {
	case 0:
		run = "no host runs"
	case 1:
		run = "1 host runs"
	}
	if r.Wave == api.WaveTakenBack {
		return fmt.Sprintf("version %d was taken back, and no version ran before it", r.Candidate)
	}
	if !r.Stranded {
		return fmt.Sprintf("version %d is on its way (%s), %s it", r.Candidate, r.Wave, run)
	}
	advice := "publish a version that is right"
	if r.Version != 0 {
		advice = fmt.Sprintf("'banyan rollback %s' brings every host to version %d, or publish again", config, r.Version)
	}
	return fmt.Sprintf("%s version %d (%s), which no rollout brings: %s", run, r.Candidate, r.Wave, advice)
}
