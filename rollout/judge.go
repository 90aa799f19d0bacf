package rollout

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"banyan/internal/quantity"
	"banyan/record"
)

// gathering is the time after the start of a controller during which all agents that were
// counted before must be seen. Later, MaxGone of them may be missing.
const gathering = 30 * time.Second

// judge holds a rollout's state against the view. Its methods change nothing.
type judge struct {
	*State
	view View
}

// seen returns the view of a region for the epoch that the rollout wrote. If the view is of
// another epoch, seen returns the zero Region, in which nothing is known.
func (j *judge) seen(region string) Region {
	seen := j.view.Regions[region]
	if seen.Epoch != j.Regions[region].Epoch {
		return Region{}
	}
	return seen
}

// present reports whether the agents of a region that were counted before are seen, but for
// the share that may be missing.
func (j *judge) present(region string) bool {
	r := j.Regions[region]
	seen := j.seen(region)
	gone := j.Gates().MaxGone
	if j.view.Uptime < gathering {
		gone = 0
	}
	if !seen.Known || seen.Placed < needed(1-gone, r.Agents) {
		return false
	}
	return r.Counted != r.Epoch || seen.InWave >= needed(1-gone, r.InWave)
}

// inWave returns the number of agents that must run the version. The pointer of a direct
// plan has no candidate, so all agents count.
func (j *judge) inWave(seen Region) int {
	if j.direct() {
		return seen.Agents
	}
	return seen.InWave
}

// runs returns the number of agents that run the version.
func (j *judge) runs(seen Region) int {
	if j.direct() {
		return seen.Applied
	}
	return seen.Running
}

// promoted reports whether a person promoted the rollout past the gates of this part.
func (j *judge) promoted() bool { return j.Skipped || j.Full }

// asksGates reports whether the wave in progress has queries or webhooks.
func (j *judge) asksGates() bool { return len(j.Gates().names()) > 0 }

// lastGates returns the gates of the last wave, which hold for finished groups of regions.
func (j *judge) lastGates() Gates { return *j.Plan.Waves[len(j.Plan.Waves)-1].Gates }

// judged reports whether the gates of the part in progress are judged.
func (j *judge) judged() bool {
	return (j.Part == Applying || j.Part == Baking) && !j.promoted()
}

// failure names the gate that fails, of a finished group or of the part in progress; "" if every
// gate holds.
func (j *judge) failure() string {
	if j.Plan.Immediate || j.Full {
		return ""
	}
	for _, group := range j.finished() {
		if why := j.groupFailure(j.lastGates(), group); why != "" {
			return why
		}
	}
	if j.judged() {
		if why := j.groupFailure(j.Gates(), j.group()); why != "" {
			return why
		}
	}
	limit := time.Duration(j.Gates().Timeout)
	if short := j.short(); short != "" && j.Short >= limit {
		return fmt.Sprintf("too few hosts run it for %s: %s", limit, short)
	}
	if j.Part != Baking || !j.judged() {
		return ""
	}
	return j.outsideFailure(j.Gates())
}

// groupFailure names the gate that fails by the failures in a group of regions; "" if every
// gate holds.
func (j *judge) groupFailure(g Gates, regions []string) string {
	failed := 0
	var reasons []string
	for _, region := range regions {
		seen := j.seen(region)
		if why := j.regionFailure(g, region, seen); why != "" {
			return why
		}
		failed += seen.Failed
		reasons = append(reasons, seen.Reasons...)
	}
	if g.MaxFailures != nil && failed > *g.MaxFailures {
		return fmt.Sprintf("%s failed, at most %d may%s", quantity.Of(failed, "agent"), *g.MaxFailures, because(reasons))
	}
	return ""
}

// short describes the hosts that ran the version, or must run it while the rollout is paused,
// and do not; "" if enough of them run it. A finished region whose hosts nobody counts at the
// moment is not judged.
func (j *judge) short() string {
	if j.Plan.Immediate || j.Full {
		return ""
	}
	for _, group := range j.finished() {
		for _, region := range group {
			if j.seen(region).Known && !j.holds(j.lastGates(), region) {
				return j.countsOf([]string{region})
			}
		}
	}
	applying := j.Part == Applying && j.Status == Running // has its own limit
	if j.judged() && !applying && !j.applied() {
		return j.counts()
	}
	return ""
}

// heard reports whether enough of a region's hosts in the inventory are in the tree.
func (j *judge) heard(region string) bool {
	seen := j.seen(region)
	return seen.Unheard <= j.Gates().Tolerated(seen.Hosts)
}

// holds reports whether enough agents of the wave run the version in a region.
func (j *judge) holds(g Gates, region string) bool {
	seen := j.seen(region)
	return j.present(region) && j.runs(seen) >= needed(g.MinSuccess, j.inWave(seen))
}

// vacant returns the reason for which the wave in progress tests nothing in a region that has
// hosts; "" if it has a host in each such region. fill makes room in a wave with a share.
func (j *judge) vacant() string {
	if !j.judged() || j.Part != Applying || j.Plan.Immediate {
		return ""
	}
	for _, region := range j.group() {
		seen := j.seen(region)
		share := j.Plan.wave(j.Wave).Share
		switch {
		case !j.present(region) || seen.Placed == 0: // nothing to say yet: hosts are being counted
		case seen.Agents == 0:
			return fmt.Sprintf("every host of %s is in quarantine for %s", region, j.Config)
		case j.inWave(seen) == 0 && share == 0:
			return fmt.Sprintf("%s has none of the %s of %s; give hosts there the label, or promote past the wave",
				j.WaveName(), quantity.Of(seen.Agents, "host"), region)
		}
	}
	return ""
}

// occupied reports whether the hosts of the group are counted, and the wave in progress has a host in
// each region.
func (j *judge) occupied() bool {
	for _, region := range j.group() {
		if !j.present(region) || j.seen(region).Placed == 0 {
			return false
		}
	}
	return j.vacant() == ""
}

// bound returns the end of the places of the wave in progress in a region. If the places of the
// hosts are known, those before the end hold the wave's share of the hosts, rounded up.
func (j *judge) bound(region string) uint32 {
	wave := j.Plan.wave(j.Wave)
	if wave.Share == 0 || wave.Share == record.WholeFleet || j.view.Places == nil {
		return wave.End()
	}
	places := j.view.Places(region)
	if len(places) == 0 {
		return wave.End()
	}
	return places[hostsIn(wave, len(places))-1] + 1
}

// missing returns the number of hosts that the share of the wave in progress lacks in a region.
func (j *judge) missing(region string) int {
	seen := j.seen(region)
	wave := j.Plan.wave(j.Wave)
	if wave.Share == record.WholeFleet {
		return 0
	}
	return max(hostsIn(wave, seen.Agents)-seen.InWave, 0)
}

// hostsIn returns the number of hosts that the share of a wave has, out of n hosts.
func hostsIn(w record.Wave, n int) int {
	return needed(quantity.Percent(w.Share)/record.WholeFleet, n)
}

// regionFailure names the gate that fails in a region; "" if every gate holds.
func (j *judge) regionFailure(g Gates, region string, seen Region) string {
	maxSkew := time.Duration(g.MaxSkew)
	if maxSkew > 0 && j.Part == Applying && seen.Skew > maxSkew {
		return fmt.Sprintf("%s between the first and the last agent of %s; the limit is %s", seen.Skew, region, maxSkew)
	}
	inWave := j.inWave(seen)
	allowed := inWave - needed(g.MinSuccess, inWave)
	if seen.Known && seen.Failed > allowed {
		return fmt.Sprintf("%d of %s of the wave failed in %s; at least %s must run it%s",
			seen.Failed, quantity.Of(inWave, "agent"), region, g.MinSuccess, because(seen.Reasons))
	}
	return ""
}

// because quotes the first of some reasons.
func because(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return " (" + strings.TrimSpace(reasons[0]) + ")"
}

// needed returns the number of agents that a share of n agents is, rounded up: 99% of 150
// agents are 149. The subtraction keeps an error of floating point from rounding up.
func needed(share quantity.Percent, n int) int {
	return int(math.Ceil(float64(share)*float64(n) - 1e-9))
}

// outsideFailure names the query or webhook that fails, or that has given no answer for too
// long; "" if every query and webhook holds.
func (j *judge) outsideFailure(g Gates) string {
	for _, q := range g.Queries {
		if why := j.answerFailure(q.Name, time.Duration(q.Limit+q.Every)); why != "" {
			return why
		}
	}
	for _, h := range g.Webhooks {
		if why := j.answerFailure(h.Name, time.Duration(h.Limit+h.Every)); why != "" {
			return why
		}
	}
	return ""
}

func (j *judge) answerFailure(name string, limit time.Duration) string {
	a := j.view.Answers[name]
	overdue := j.Overdue[name]
	switch {
	case a.Verdict == Fail:
		return fmt.Sprintf("gate %q: %s", name, a.Detail)
	case overdue >= limit:
		return fmt.Sprintf("gate %q could not be asked for %s, which counts as failed: %s",
			name, overdue.Round(time.Second), a.Detail)
	}
	return ""
}

// passed reports whether the part in progress is complete.
func (j *judge) passed() bool {
	if j.promoted() {
		return true
	}
	switch j.Part {
	case Staging:
		return j.staged()
	case Applying:
		return j.applied()
	}
	return j.baked()
}

// staged reports whether enough agents of every region of the group hold the version.
func (j *judge) staged() bool {
	for _, region := range j.group() {
		seen := j.seen(region)
		if !j.present(region) || !j.heard(region) || seen.Applied < needed(j.Plan.Stage.Share, seen.Agents) {
			return false
		}
	}
	return true
}

// applied reports whether enough agents of the wave run the version in every region of the
// group.
func (j *judge) applied() bool {
	if j.Plan.Immediate {
		return true
	}
	for _, region := range j.group() {
		begins := j.Part == Applying && j.Status == Running
		if begins && !j.heard(region) || !j.holds(j.Gates(), region) {
			return false
		}
	}
	return true
}

// baked reports whether the wave has baked for its time, its agents still run the version,
// and every query and webhook passes.
func (j *judge) baked() bool {
	if j.Spent < time.Duration(j.wave().Bake) || !j.applied() {
		return false
	}
	for _, name := range j.Gates().names() {
		if j.view.Answers[name].Verdict != Pass {
			return false
		}
	}
	return true
}

// late describes by how much the part in progress exceeds the limit; "" within the limit.
func (j *judge) late() string {
	limit := j.limit()
	if j.Spent < limit {
		return ""
	}
	return fmt.Sprintf("%s took longer than %s: %s", j.Part, limit, j.counts())
}

// limit returns the maximum duration of the part in progress.
func (j *judge) limit() time.Duration {
	g := j.Gates()
	switch j.Part {
	case Staging:
		return time.Duration(j.Plan.Stage.Timeout)
	case Applying:
		return time.Duration(g.Timeout)
	}
	// After the bake, agents that no longer run the version have the timeout of the wave to
	// run it again, and a query or webhook has its limit and two intervals to answer.
	bake := j.wave().Bake
	limit := time.Duration(g.Timeout + bake)
	for _, q := range g.Queries {
		limit = max(limit, time.Duration(bake+q.Limit+2*q.Every))
	}
	for _, h := range g.Webhooks {
		limit = max(limit, time.Duration(bake+h.Limit+2*h.Every))
	}
	return limit
}

// counts shows the progress of the group: "97 of 100 hosts".
func (j *judge) counts() string { return j.countsOf(j.group()) }

// countsOf shows the progress of some regions.
func (j *judge) countsOf(regions []string) string {
	have := 0
	all := 0
	gone := ""
	for _, region := range regions {
		seen := j.seen(region)
		expected := j.Regions[region].Agents
		missing := expected - seen.Placed
		if seen.Known && missing > 0 && !j.present(region) {
			gone += fmt.Sprintf("; %d of the %s of %s %s gone",
				missing, quantity.Of(expected, "agent"), region, quantity.Is(missing))
		}
		if seen.Unheard > 0 {
			gone += fmt.Sprintf("; %d of the %s of %s %s not heard of",
				seen.Unheard, quantity.Of(seen.Hosts, "host"), region, quantity.Is(seen.Unheard))
		}
		if j.Part == Staging && slices.Contains(j.group(), region) {
			have += seen.Applied
			all += seen.Agents
		} else {
			have += j.runs(seen)
			all += j.inWave(seen)
		}
	}
	return fmt.Sprintf("%d of %s%s", min(have, all), quantity.Of(all, "host"), gone)
}

// Waits says for whom a rollout waits, given the view of its regions, and for how long it will:
// "waiting for eu-host-7, last heard 2m0s ago; up to 4m30s more, then it is taken back". It returns
// "" if the rollout does not wait for hosts.
func (s *State) Waits(regions map[string]Region) string {
	j := &judge{State: s, view: View{Regions: regions, Uptime: gathering}}
	if s.Status != Running || s.Part != Staging && s.Part != Applying || j.passed() {
		return ""
	}
	var names []string
	for _, region := range j.group() {
		names = append(names, j.waitsFor(region)...)
	}
	if len(names) == 0 {
		return ""
	}
	then := "taken back"
	if s.Plan.OnFailure == FailPause {
		then = "paused"
	}
	left := max(j.limit()-s.Spent, 0).Round(time.Second)
	return fmt.Sprintf("waiting for %s; up to %s more, then it is %s", strings.Join(names, "; "), left, then)
}

// waitsFor names hosts that hold the part in progress up in a region. Hosts that the plan lets be
// missing do not.
func (j *judge) waitsFor(region string) (names []string) {
	seen := j.seen(region)
	if !j.heard(region) || seen.Known && !j.present(region) {
		names = append(names, seen.Absent...)
	}
	enough := j.holds(j.Gates(), region)
	if j.Part == Staging {
		enough = seen.Applied >= needed(j.Plan.Stage.Share, seen.Agents)
	}
	if !seen.Known || !enough {
		names = append(names, seen.Waiting...)
	}
	return names
}
