package rollout

import (
	"fmt"
	"math"
	"strings"
	"time"

	"banyan/internal/quantity"
)

// failure says which gate fails now; "" for none.
func (d *decision) failure(elapsed time.Duration) string {
	if d.Part == Staging || d.Skipped || d.Full || d.Plan.Immediate {
		return ""
	}
	g := d.Gates()
	failed, reasons := 0, []string{}
	for _, region := range d.group() {
		seen := d.seen(region)
		failed += seen.Failed
		reasons = append(reasons, seen.Reasons...)
		if skew := time.Duration(g.MaxSkew); skew > 0 && d.Part == Applying && seen.Skew > skew {
			return fmt.Sprintf("%s between the first and the last agent of %s, at most %s may be", seen.Skew, region, skew)
		}
		if allowed := d.inWave(seen) - needed(g.MinSuccess, d.inWave(seen)); seen.Known && seen.Failed > allowed {
			return fmt.Sprintf("%d of %d agents of the wave failed in %s; at least %s must run it%s", seen.Failed, d.inWave(seen), region, g.MinSuccess, because(seen.Reasons))
		}
	}
	if g.MaxFailures != nil && failed > *g.MaxFailures {
		return fmt.Sprintf("%d agents failed, at most %d may%s", failed, *g.MaxFailures, because(reasons))
	}
	if d.Part != Baking {
		return ""
	}
	return d.answers(g, elapsed)
}

// because quotes the first reason of failures.
func because(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return " (" + strings.TrimSpace(reasons[0]) + ")"
}

// needed is how many of n a share asks for.
func needed(share quantity.Percent, n int) int {
	return int(math.Ceil(float64(share)*float64(n) - 1e-9))
}

// seen is what is seen of a region for the epoch that this rollout gave it; what belongs to
// another epoch is not known.
func (d *decision) seen(region string) Region {
	seen := d.view.Regions[region]
	if seen.Epoch != d.Regions[region].Epoch {
		return Region{}
	}
	return seen
}

// inWave is how many agents are to run the version: the pointer of a direct plan has no
// candidate to count by.
func (d *decision) inWave(seen Region) int {
	if d.direct() {
		return seen.Agents
	}
	return seen.InWave
}

// runs is how many of them do.
func (d *decision) runs(seen Region) int {
	if d.direct() {
		return seen.Applied
	}
	return seen.Running
}

// answers looks at the gates that are asked elsewhere: one that fails, or could not be
// asked for too long, fails the wave.
func (d *decision) answers(g Gates, elapsed time.Duration) string {
	for _, q := range g.Queries {
		if why := d.answer(q.Name, time.Duration(q.Limit+q.Every), elapsed); why != "" {
			return why
		}
	}
	for _, h := range g.Webhooks {
		if why := d.answer(h.Name, time.Duration(h.Limit+h.Every), elapsed); why != "" {
			return why
		}
	}
	return ""
}

func (d *decision) answer(name string, limit, elapsed time.Duration) string {
	a := d.view.Answers[name]
	if a.Verdict == Unknown {
		if d.Overdue == nil {
			d.Overdue = map[string]time.Duration{}
		}
		d.Overdue[name] += elapsed
	} else {
		delete(d.Overdue, name)
	}
	switch {
	case a.Verdict == Fail:
		return fmt.Sprintf("gate %q: %s", name, a.Detail)
	case d.Overdue[name] >= limit:
		return fmt.Sprintf("gate %q could not be asked for %s, which counts as failed: %s", name, d.Overdue[name].Round(time.Second), a.Detail)
	}
	return ""
}

// passed tells whether the part under way is over.
func (d *decision) passed() bool {
	if d.Skipped || d.Full {
		return true
	}
	switch d.Part {
	case Staging:
		for _, region := range d.group() {
			if seen := d.seen(region); !d.present(region) || seen.Applied < needed(d.Plan.Stage.Share, seen.Agents) {
				return false
			}
		}
		return true
	case Applying:
		return d.applied()
	}
	if d.Spent < time.Duration(d.wave().Bake) || !d.applied() {
		return false
	}
	for _, name := range d.Gates().names() {
		if d.view.Answers[name].Verdict != Pass {
			return false
		}
	}
	return true
}

// applied tells whether enough agents of the wave run the version in every region.
func (d *decision) applied() bool {
	if d.Plan.Immediate {
		return true
	}
	for _, region := range d.group() {
		if seen := d.seen(region); !d.present(region) || d.runs(seen) < needed(d.Gates().MinSuccess, d.inWave(seen)) {
			return false
		}
	}
	return true
}

func (d *decision) asksGates() bool { return len(d.Gates().names()) > 0 }

// timeout fails a part that takes too long.
func (d *decision) timeout() {
	g := d.Gates()
	limit := time.Duration(g.Timeout)
	switch d.Part {
	case Staging:
		limit = time.Duration(d.Plan.Stage.Timeout)
	case Baking:
		// Agents that ran it and do so no more, or gates that do not answer, have as long again.
		limit += time.Duration(d.wave().Bake)
		for _, q := range g.Queries {
			limit = max(limit, time.Duration(d.wave().Bake+q.Limit+2*q.Every))
		}
		for _, h := range g.Webhooks {
			limit = max(limit, time.Duration(d.wave().Bake+h.Limit+2*h.Every))
		}
	}
	if d.Spent >= limit {
		d.fail(fmt.Sprintf("%s took longer than %s: %s", d.Part, limit, d.counts()))
	}
}

// counts tells how far the group is.
func (d *decision) counts() string {
	have, all, gone := 0, 0, ""
	for _, region := range d.group() {
		seen := d.seen(region)
		if missing := d.Regions[region].Agents - seen.Placed; seen.Known && missing > 0 && !d.present(region) {
			gone += fmt.Sprintf("; %d of the %d agents of %s are gone", missing, d.Regions[region].Agents, region)
		}
		if d.Part == Staging {
			have, all = have+seen.Applied, all+seen.Agents
		} else {
			have, all = have+d.runs(seen), all+d.inWave(seen)
		}
	}
	return fmt.Sprintf("%d of %d hosts%s", min(have, all), all, gone)
}
