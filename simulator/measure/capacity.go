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

// Capacity says what a fleet needs, and which limit the fleet reaches first when it grows.
type Capacity struct {
	Coordinators int `json:"coordinators"`
	// CoordinatorCPU is the processor time that the busiest coordinator spends per update.
	CoordinatorCPU time.Duration `json:"coordinator_cpu_per_update_ns"`
	// CoordinatorBytes is the number of bytes that the busiest coordinator sends per update.
	CoordinatorBytes int64 `json:"coordinator_bytes_per_update"`
	DeepestPath      int   `json:"deepest_path"`
	// Limits is sorted by Limit.Used, largest first.
	Limits []Limit `json:"limits"`
	// Words is the answer in sentences.
	Words []string `json:"words"`
}

// Limit is a bound on the size of a region or on the rate of updates.
type Limit struct {
	What string `json:"what"`
	// Grows is growsAgents or growsUpdates.
	Grows string `json:"grows_with"`
	// Used is the share of the limit that this fleet uses.
	Used float64 `json:"used"`
	// Breaks is the limit: agents in a region, or updates per second.
	Breaks float64 `json:"breaks_at"`
}

// The quantities that limits bound.
const (
	growsAgents  = "agents"  // in one region
	growsUpdates = "updates" // per second
)

// The assumptions of a plan.
const (
	planRate     = 10              // updates per second
	planRestart  = 2 * time.Minute // time in which a region that restarts must join
	planLink     = 1e9             // bits per second, if no rate is given
	planHeadroom = 0.5             // share of a processor or a link that may be used
)

// capacityOf derives the needs of a fleet from a run of the fleet.
func capacityOf(cfg *world.Config, r *Report) *Capacity {
	busiest := Role(r.Roles, RoleLeader).Busiest.Most(Role(r.Roles, RoleCoordinator).Busiest)
	updates := max(r.Updates, 1)
	c := &Capacity{
		CoordinatorCPU:   busiest.CPU / time.Duration(updates),
		CoordinatorBytes: busiest.Bytes / int64(updates),
		DeepestPath:      r.Depth,
	}
	c.Limits = c.limits(cfg, r)
	for _, n := range cfg.Agents {
		if n > 0 {
			c.Coordinators += int(math.Ceil(float64(n) / c.agentsPerCoordinator()))
		}
	}
	slices.SortStableFunc(c.Limits, func(a, b Limit) int { return cmp.Compare(b.Used, a.Used) })
	c.say(r)
	return c
}

// limits returns the limits of a fleet.
func (c *Capacity) limits(cfg *world.Config, r *Report) []Limit {
	largest := float64(slices.Max(cfg.Agents))
	link := cmp.Or(cfg.Network.RootBps, cfg.Network.UpBps, planLink)
	// A join is a handshake, one message received and one answered, and the same again
	// for the place under a relay.
	join := cfg.Costs.Connect + 2*cfg.Costs.Receive + 2*cfg.Costs.Send
	rejoin := fmt.Sprintf("a region that restarts as one joins within %s", planRestart)
	all := []Limit{
		perAgent("places in one coordinator's tree", largest, tree.DefaultMaxAgents),
		perAgent(rejoin, largest, float64(planRestart)/float64(join)),
		perRate("the busiest coordinator's processor, half of one core", c.CoordinatorCPU.Seconds(), planHeadroom),
		perRate("the busiest coordinator's link, half of it", float64(c.CoordinatorBytes)*8, planHeadroom*link),
	}
	if relay := Role(r.Roles, RoleRelay); relay.Hosts > 0 && cfg.Network.UpBps > 0 {
		bits := float64(relay.Busiest.Bytes) / float64(max(r.Updates, 1)) * 8
		all = append(all, perRate("the busiest relay's link, half of it", bits, planHeadroom*cfg.Network.UpBps))
	}
	return all
}

// perAgent returns a limit on the agents of one region, of which the largest region has now.
func perAgent(what string, now, limit float64) Limit {
	return Limit{What: what, Grows: growsAgents, Used: now / limit, Breaks: math.Floor(limit)}
}

// perRate returns a limit on the rate of updates, each of which uses perUpdate of limit.
func perRate(what string, perUpdate, limit float64) Limit {
	if perUpdate <= 0 {
		return Limit{What: what, Grows: growsUpdates}
	}
	return Limit{
		What:   what,
		Grows:  growsUpdates,
		Used:   planRate * perUpdate / limit,
		Breaks: limit / perUpdate,
	}
}

// agentsPerCoordinator returns the lowest limit on the agents of a region.
func (c *Capacity) agentsPerCoordinator() float64 {
	least := math.Inf(1)
	for _, l := range c.Limits {
		if l.Grows == growsAgents {
			least = min(least, l.Breaks)
		}
	}
	return least
}

// say writes the answer in sentences.
func (c *Capacity) say(r *Report) {
	say := func(format string, args ...any) { c.Words = append(c.Words, fmt.Sprintf(format, args...)) }
	say("%s hosts in %d regions need %d coordinators%s.",
		thousands(float64(r.Nodes)), r.Regions, c.Coordinators, oneEach(c.Coordinators, r.Regions))
	say("For each update, the busiest coordinator sends %s and spends %s of processor time. "+
		"At %d updates a second it uses %.1f%% of a core and %s.",
		bytesText(float64(c.CoordinatorBytes)), c.CoordinatorCPU.Round(10*time.Microsecond), planRate,
		100*planRate*c.CoordinatorCPU.Seconds(), rateText(planRate*8*float64(c.CoordinatorBytes)))
	if relay := Role(r.Roles, RoleRelay); relay.Hosts > 0 {
		updates := max(r.Updates, 1)
		leaf := Role(r.Roles, RoleLeaf)
		say("%s hosts relay (%.1f%%). For each update, the busiest of them sends %s and spends %s; "+
			"a host that does not relay spends %s.",
			thousands(float64(relay.Hosts)), 100*float64(relay.Hosts)/float64(max(r.Nodes, 1)),
			bytesText(float64(relay.Busiest.Bytes)/float64(updates)),
			(relay.Busiest.CPU / time.Duration(updates)).Round(10*time.Microsecond),
			(leaf.Total.CPU / time.Duration(updates*max(leaf.Hosts, 1))).Round(time.Microsecond))
	}
	say("The deepest path has %d hops below the coordinator. 99%% of the hosts have an update within %.1f ms, "+
		"of which the commit and the longest one-way delay take %.1f ms.", r.Depth, r.P99, r.Bound)
	first := c.Limits[0]
	say("What breaks first: %s, at %s. This fleet is at %.1f%% of the limit.",
		first.What, first.at(), 100*first.Used)
	for _, l := range c.Limits[1:] {
		say("Then: %s, at %s (%.1f%%).", l.What, l.at(), 100*l.Used)
	}
}

// at returns the limit with its unit.
func (l Limit) at() string {
	if l.Grows == growsAgents {
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

// thousands formats a number with a comma between groups of three digits: 12,345.
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

// scaled formats a quantity in the largest unit of which the quantity is at least one. Each
// unit is base times the unit before.
func scaled(v, base float64, units ...string) string {
	unit := 0
	for v >= base && unit < len(units)-1 {
		v /= base
		unit++
	}
	return fmt.Sprintf("%.4g %s", v, units[unit])
}
