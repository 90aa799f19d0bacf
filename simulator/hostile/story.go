package hostile

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Command returns the command line that runs the history again.
func (h *History) Command() string {
	s := fmt.Sprintf("banyan simulate fuzz --seed %d", h.Seed)
	if h.Days > 0 {
		s += fmt.Sprintf(" --days %d", h.Days)
	}
	if h.Keep != nil {
		s += " --faults " + joined(h.Keep)
	}
	if h.KeepUpdates != nil {
		s += " --updates " + joined(h.KeepUpdates)
	}
	return s + " --trace"
}

// joined writes numbers as the command line reads them: "3,7", or "none".
func joined(list []int) string {
	if len(list) == 0 {
		return "none"
	}
	var text []string
	for _, n := range list {
		text = append(text, strconv.Itoa(n))
	}
	return strings.Join(text, ",")
}

// Describe returns the history in words: the fleet, the faults and the updates.
func (h *History) Describe() (lines []string) {
	c := &h.Config
	lines = append(lines, fmt.Sprintf(
		"fleet: %v agents in %v, fan-out %d, loss %.1f%%, jitter %.0f%%, links idle out after %s",
		c.Agents, c.Network.Matrix.Regions, c.Fanout, 100*c.Network.Loss, 100*c.Network.Jitter,
		c.Idle.Round(time.Millisecond)))
	for i, f := range h.Faults {
		if keeps(h.Keep, i) {
			lines = append(lines, fmt.Sprintf("fault %d at %.3fs: %s", i, (h.start()+f.At).Seconds(), f))
		}
	}
	for i, u := range h.Updates {
		if keeps(h.KeepUpdates, i) {
			lines = append(lines, fmt.Sprintf("update %d at %.3fs: %s", i, (h.start()+u.At).Seconds(), u))
		}
	}
	return lines
}

// String returns the update in words.
func (u Update) String() string {
	switch {
	case u.Delete:
		return u.Config + ": deletion"
	case u.Back:
		return u.Config + ": rollback"
	case u.Percent > 0:
		return fmt.Sprintf("%s: candidate for %d%%", u.Config, u.Percent)
	}
	return u.Config + ": new version"
}
