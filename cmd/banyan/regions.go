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
	fmt.Fprintln(w, "REGION\tEPOCH\tVERSION\tAPPLIED\tFAILED\tP50 MS\tP99 MS\tMAX MS")
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
		for _, f := range r.Failures {
			outcome := "failed"
			if f.Delayed {
				outcome = "delayed"
			}
			fmt.Fprintf(w, "%s: %s: %s\n", outcome, oneLine(f.Agent), oneLine(f.Reason))
		}
	}
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
