package main

import (
	"fmt"
	"strings"
	"time"

	"banyan/coordinator/api"
	"banyan/internal/quantity"
)

// namedHosts is the maximum number of hosts that a line names.
const namedHosts = 3

// missing names the hosts for which a command waits: "; eu: 1 of 3 applied, 1 not heard of (eu-1
// since 15:44:01), eu-3 fails (check: exit status 1)". It does not name hosts that may be missing.
func (w awaited) missing(regions []api.RegionStatus) string {
	text := ""
	for _, r := range regions {
		if w.settled(r) {
			continue
		}
		parts := failing(r)
		if line := absence(r); line != "" && !w.heard(r) {
			parts = append([]string{line}, parts...)
		}
		if len(parts) > 0 {
			text += "; " + r.Region + ": " + strings.Join(parts, ", ")
		}
	}
	return text
}

// failing describes the hosts of a region that are heard of and do not run what they should. The
// parts say which hosts fail and why, which do not answer, and how many were changed by hand.
func failing(r api.RegionStatus) (parts []string) {
	for _, f := range r.Failures[:min(namedHosts, len(r.Failures))] {
		outcome := "fails"
		if f.Delayed {
			outcome = "is delayed"
		}
		parts = append(parts, fmt.Sprintf("%s %s (%s)", f.Agent, outcome, f.Reason))
	}
	if more := len(r.Failures) - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("failing or delayed, too: %d more", more))
	}
	for _, line := range []string{duplicates(r), unanswered(r)} {
		if line != "" {
			parts = append(parts, line)
		}
	}
	if r.Drifted > 0 {
		parts = append(parts, fmt.Sprintf("files of %s were changed by hand since", quantity.Of(r.Drifted, "host")))
	}
	return parts
}

// duplicates names hosts of a region whose identity several processes have; "" if there are none.
func duplicates(r api.RegionStatus) string {
	if len(r.Cloned) == 0 {
		return ""
	}
	return "two hosts run with the identity of " + strings.Join(r.Cloned[:min(namedHosts, len(r.Cloned))], ", ") +
		", which does not count ('banyan agents' shows their addresses)"
}

// unanswered names hosts of a region that are attached and have not answered; "" if there are none.
func unanswered(r api.RegionStatus) string {
	if len(r.Silent) == 0 {
		return ""
	}
	return "no answer yet from " + strings.Join(r.Silent[:min(namedHosts, len(r.Silent))], ", ")
}

// rounded formats a duration with a precision that suits its length.
func rounded(d time.Duration) string {
	if d >= 10*time.Second {
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}
