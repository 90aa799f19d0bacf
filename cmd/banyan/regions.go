package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"banyan/coordinator/api"
)

// absence describes the hosts of a region that nobody hears of; "" if there are none.
func absence(r api.RegionStatus) string {
	switch {
	case r.Unreachable && r.HeardAt.IsZero():
		return fmt.Sprintf("UNREACHABLE, no coordinator heard of: nothing is known of its %d hosts", r.Hosts)
	case r.Unreachable:
		return fmt.Sprintf("UNREACHABLE since %s: nothing is known of its %d hosts", clock(r.HeardAt), r.Hosts)
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

func printRegions(w io.Writer, regions []api.RegionStatus) {
	fmt.Fprintln(w, "REGION\tEPOCH\tVERSION\tAPPLIED\tFAILED\tP50 MS\tP99 MS\tMAX MS")
	for _, r := range regions {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d/%d\t%d\t%.1f\t%.1f\t%.1f\n",
			r.Region, r.Epoch, r.Version, r.Applied, r.Hosts, r.Failed, r.P50Ms, r.P99Ms, r.MaxMs)
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
			fmt.Fprintf(w, "%s: version %d is on its way (%s), %d hosts run it\n", r.Region, r.Candidate, r.Wave, r.Running)
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
