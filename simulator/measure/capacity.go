package measure

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"banyan/mesh/tree"
	"banyan/simulator/world"
)

// Capacity is the answer to "what does it need, and what breaks first".
type Capacity struct {
	Coordinators int `json:"coordinators"`
	// CoordinatorCPU and CoordinatorBytes are what the busiest coordinator spends on one update.
	CoordinatorCPU   time.Duration `json:"coordinator_cpu_per_update_ns"`
	CoordinatorBytes int64         `json:"coordinator_bytes_per_update"`
	DeepestPath      int           `json:"deepest_path"`
	Limits           []Limit       `json:"limits"`
	Words            []string      `json:"words"`
}

// Limit is something that grows until it breaks.
type Limit struct {
	What string `json:"what"`
	// Grows is "agents" (of one region) or "updates" (a second).
	Grows string `json:"grows_with"`
	// Used is the share of the limit that this fleet takes; Breaks is the size, or
	// rate, at which it is reached.
	Used   float64 `json:"used"`
	Breaks float64 `json:"breaks_at"`
}

// What a coordinator is planned with.
const (
	planRate     = 10              // updates a second
	planRestart  = 2 * time.Minute // in which a region must have joined anew
	planLink     = 1e9             // bits a second, where no rate is given
	planHeadroom = 0.5             // of a processor or link that may be used
)

// capacityOf reckons from a run what its fleet needs.
func capacityOf(cfg *world.Config, r *Report) *Capacity {
	busiest := Role(r.Roles, RoleLeader).Busiest.Most(Role(r.Roles, RoleCoordinator).Busiest)
	updates := max(r.Updates, 1)
	c := &Capacity{CoordinatorCPU: busiest.CPU / time.Duration(updates), CoordinatorBytes: busiest.Bytes / int64(updates), DeepestPath: r.Depth}
	largest := slices.Max(cfg.Agents)
	link := cfg.Network.RootBps
	if link == 0 {
		link = cfg.Network.UpBps
	}
	if link == 0 {
		link = planLink
	}
	// A join is a handshake, a message there and two back, and a place under a relay.
	join := cfg.Costs.Connect + 2*cfg.Costs.Receive + 2*cfg.Costs.Send
	c.Limits = []Limit{
		perAgent("places in one coordinator's tree", float64(largest), tree.DefaultMaxAgents),
		perAgent(fmt.Sprintf("a region that restarts as one joins within %s", planRestart), float64(largest), float64(planRestart)/float64(join)),
		perRate("the busiest coordinator's processor, half of one core", c.CoordinatorCPU.Seconds(), planHeadroom),
		perRate("the busiest coordinator's link, half of it", float64(c.CoordinatorBytes)*8, planHeadroom*link),
	}
	if relay := Role(r.Roles, RoleRelay); relay.Hosts > 0 && cfg.Network.UpBps > 0 {
		c.Limits = append(c.Limits, perRate("the busiest relay's link, half of it", float64(relay.Busiest.Bytes)/float64(updates)*8, planHeadroom*cfg.Network.UpBps))
	}
	for _, n := range cfg.Agents {
		if n > 0 {
			c.Coordinators += int(math.Ceil(float64(n) / c.agentsPerCoordinator()))
		}
	}
	slices.SortStableFunc(c.Limits, func(a, b Limit) int { return cmp.Compare(b.Used, a.Used) })
	c.say(cfg, r)
	return c
}

func perAgent(what string, now, limit float64) Limit {
	return Limit{what, "agents", now / limit, math.Floor(limit)}
}

func perRate(what string, perUpdate, limit float64) Limit {
	if perUpdate <= 0 {
		return Limit{What: what, Grows: "updates"}
	}
	return Limit{what, "updates", planRate * perUpdate / limit, limit / perUpdate}
}

func (c *Capacity) agentsPerCoordinator() float64 {
	least := math.Inf(1)
	for _, l := range c.Limits {
		if l.Grows == "agents" {
			least = min(least, l.Breaks)
		}
	}
	return least
}

func (c *Capacity) say(cfg *world.Config, r *Report) {
	say := func(format string, args ...any) { c.Words = append(c.Words, fmt.Sprintf(format, args...)) }
	say("%s hosts in %d regions need %d coordinators%s.", thousands(float64(r.Nodes)), r.Regions, c.Coordinators, oneEach(c.Coordinators, r.Regions))
	say("The busiest sends %s and spends %s of processor for each update; at %d updates a second that is %.1f%% of a core and %s.",
		bytesText(float64(c.CoordinatorBytes)), c.CoordinatorCPU.Round(10*time.Microsecond), planRate,
		100*planRate*c.CoordinatorCPU.Seconds(), rateText(planRate*8*float64(c.CoordinatorBytes)))
	if relay := Role(r.Roles, RoleRelay); relay.Hosts > 0 {
		updates := max(r.Updates, 1)
		say("%s of the hosts relay (%.1f%%). The busiest of them sends %s and spends %s for each update; any other host spends %s.",
			thousands(float64(relay.Hosts)), 100*float64(relay.Hosts)/float64(max(r.Nodes, 1)),
			bytesText(float64(relay.Busiest.Bytes)/float64(updates)), (relay.Busiest.CPU / time.Duration(updates)).Round(10*time.Microsecond),
			(Role(r.Roles, RoleLeaf).Total.CPU / time.Duration(updates*max(Role(r.Roles, RoleLeaf).Hosts, 1))).Round(time.Microsecond))
	}
	say("The deepest path has %d hops below the coordinator. Of the %.1f ms that 99%% of the hosts see at the most, %.1f ms are the commit and light.", r.Depth, r.P99, r.Bound)
	first := c.Limits[0]
	say("What breaks first: %s, at %s; this fleet is at %.1f%% of that.", first.What, first.at(), 100*first.Used)
	for _, l := range c.Limits[1:] {
		say("Then: %s, at %s (%.1f%%).", l.What, l.at(), 100*l.Used)
	}
}

func (l Limit) at() string {
	if l.Grows == "agents" {
		return thousands(l.Breaks) + " agents in a region"
	}
	return thousands(l.Breaks) + " updates a second"
}

func oneEach(coordinators, regions int) string {
	if coordinators == regions {
		return ", one in each"
	}
	return ""
}

// thousands writes a number with its thousands apart.
func thousands(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func bytesText(v float64) string { return scaled(v, 1024, "B", "KiB", "MiB", "GiB") }
func rateText(v float64) string {
	return scaled(v, 1000, "bit/s", "kbit/s", "Mbit/s", "Gbit/s")
}

// scaled writes a quantity in the unit in which it is a small number; each unit is
// base times the one before.
func scaled(v, base float64, units ...string) string {
	unit := 0
	for v >= base && unit < len(units)-1 {
		v /= base
		unit++
	}
	return fmt.Sprintf("%.4g %s", v, units[unit])
}
