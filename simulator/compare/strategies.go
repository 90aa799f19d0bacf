package compare

import (
	"cmp"
	"fmt"
	"time"

	"banyan/record"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// Prices are the prices of traffic in US dollars per gigabyte (10^9 bytes).
type Prices struct {
	CrossRegion float64 `json:"cross_region_usd_per_gb" yaml:"crossRegion"`
	CrossZone   float64 `json:"cross_zone_usd_per_gb" yaml:"crossZone"`
}

// DefaultPrices returns the list prices of a large cloud's North American regions.
func DefaultPrices() Prices { return Prices{CrossRegion: 0.02, CrossZone: 0.01} }

func (p Prices) of(t world.Traffic) float64 {
	return (float64(t.CrossRegion)*p.CrossRegion + float64(t.CrossZone)*p.CrossZone) / 1e9
}

// Options says how Strategies compares.
type Options struct {
	// Prices are the prices of traffic; nil means DefaultPrices.
	Prices *Prices
	// Poll is the interval of the strategy that pulls; default 30 s.
	Poll time.Duration
	// Gossip is the interval of a gossip round; default 200 ms, as in memberlist.
	Gossip time.Duration
	// GossipPeers is the number of hosts to which a host gossips in a round; default 3, as
	// in memberlist.
	GossipPeers int
	// Detect is how long a bad version runs before it is rolled back; default 30 s.
	Detect time.Duration
	// UpdatesPerDay is the rate of updates for the monthly bill; default 1000.
	UpdatesPerDay int
}

func (c *Options) setDefaults() {
	if c.Prices == nil {
		prices := DefaultPrices()
		c.Prices = &prices
	}
	c.Poll = cmp.Or(c.Poll, 30*time.Second)
	c.Gossip = cmp.Or(c.Gossip, 200*time.Millisecond)
	c.GossipPeers = cmp.Or(c.GossipPeers, 3)
	c.Detect = cmp.Or(c.Detect, 30*time.Second)
	c.UpdatesPerDay = cmp.Or(c.UpdatesPerDay, 1000)
}

// StrategyResult is the result of one strategy: how long an update takes, and what the
// strategy costs.
type StrategyResult struct {
	Strategy string          `json:"strategy"`
	How      string          `json:"how"`
	Update   measure.Latency `json:"update"`
	CDF      []measure.Point `json:"cdf,omitempty"`
	Missed   int             `json:"missed"`

	// Traffic is the traffic of all hosts for one update.
	Traffic world.Traffic `json:"per_update"`
	// Busiest is the traffic of the busiest coordinator for one update.
	Busiest world.Traffic `json:"busiest_per_update"`
	// Idle is the traffic of all hosts in a minute without updates.
	Idle world.Traffic `json:"idle_per_minute"`
	// IdleBusiest is the traffic of the busiest coordinator in a minute without updates.
	IdleBusiest world.Traffic `json:"idle_busiest_per_minute"`
	// Connections is the number of connections of the busiest coordinator.
	Connections int `json:"connections_at_coordinator"`

	// ExposedShare is the share of hosts that run a bad version which is rolled back
	// Options.Detect after its publication. ExposedSeconds is the time for which a host runs
	// the bad version: the mean over all hosts of the fleet.
	ExposedShare   float64 `json:"exposed_share"`
	ExposedSeconds float64 `json:"exposed_seconds_per_host"`
	USDPerMonth    float64 `json:"usd_per_month"`
}

// Strategies runs every strategy on the same fleet: the tree, the tree with a canary, a
// star, polling and gossip.
func Strategies(cfg world.Config, c Options) ([]StrategyResult, error) {
	c.setDefaults()
	if err := cfg.Complete(); err != nil {
		return nil, err
	}
	tree, canary, err := compareTree(cfg, c)
	if err != nil {
		return nil, err
	}
	out := []StrategyResult{tree, canary}
	rivals := []struct {
		name, how string
		run       func(*rival)
	}{
		{
			name: "star",
			how:  "every agent has a connection to its region's coordinator, which sends to each agent",
			run:  (*rival).star,
		},
		{
			name: "pull",
			how:  fmt.Sprintf("every agent asks its coordinator every %s", c.Poll),
			run:  (*rival).pull,
		},
		{
			name: "gossip",
			how:  fmt.Sprintf("every %s a host with the update sends it to %d hosts of its region", c.Gossip, c.GossipPeers),
			run:  (*rival).gossip,
		},
	}
	for _, s := range rivals {
		r, err := newRival(cfg, c)
		if err != nil {
			return nil, err
		}
		s.run(r)
		if r.w.Stopped() {
			return nil, measure.ErrStopped
		}
		out = append(out, r.result(s.name, s.how))
	}
	for i := range out {
		out[i].bill(c)
	}
	return out, nil
}

// bill computes the monthly price of the traffic.
func (s *StrategyResult) bill(c Options) {
	const minutesPerMonth = 30 * 24 * 60
	s.USDPerMonth = c.Prices.of(s.Idle)*minutesPerMonth + c.Prices.of(s.Traffic)*30*float64(c.UpdatesPerDay)
}

// CanaryFirst is the name of the tree whose first wave is 1% of the hosts.
const CanaryFirst = "tree, canary first"

// compareTree measures the tree of mesh nodes: an update of every host at once, and an update
// whose first wave is 1% of the hosts.
func compareTree(cfg world.Config, c Options) (tree, canary StrategyResult, err error) {
	if cfg.Heads == 0 {
		cfg.Heads = 3 * time.Second
	}
	r, err := measure.Begin(cfg)
	if err != nil {
		return tree, canary, err
	}
	const config = "compare/strategies"
	r.Update(world.Change{Config: config, Version: 1}, false)
	before := r.Traffic()
	up := r.Update(world.Change{Config: config, Version: 2}, false)
	spent := r.Roles(before)
	back := r.Update(world.Change{Config: config, Version: 1}, true)
	wave := r.Update(world.Change{Config: config, Version: 1, Candidate: 3, Wave: record.Wave{Share: 100}}, false)
	tree = StrategyResult{
		Strategy: "tree",
		How:      fmt.Sprintf("Banyan: each agent relays to at most %d agents", cfg.Fanout),
	}
	fill(r, &tree, up, spent, r.Idle())
	tree.expose(r.World, c.Detect, up.Applied, back.Applied, nil)
	canary = tree
	canary.Strategy = CanaryFirst
	canary.How = "Banyan: 1% of the hosts run a version until its gate is passed"
	canary.expose(r.World, c.Detect, wave.Applied, back.Applied, func(i int32) bool {
		return record.Wave{Share: 100}.Covers(config, r.World.Host(i).Name(), nil)
	})
	return tree, canary, nil
}

// fill fills in the latency and the traffic of an update of the tree.
func fill(r *measure.Run, s *StrategyResult, u *measure.Update, spent, idle []measure.RoleTraffic) {
	var all []int32
	for i := range r.World.Agents() {
		if t := u.Applied[i]; t != measure.Never {
			all = append(all, t)
		}
	}
	s.Update = measure.LatencyOf(all)
	s.CDF, s.Missed = measure.CDFOf(all, len(all)), u.Missing
	for i := range spent {
		s.Traffic.Add(spent[i].Total)
	}
	for i := range idle {
		s.Idle.Add(idle[i].Total)
	}
	for _, role := range []string{measure.RoleLeader, measure.RoleCoordinator} {
		s.Busiest = s.Busiest.Most(measure.Role(spent, role).Busiest)
		s.IdleBusiest = s.IdleBusiest.Most(measure.Role(idle, role).Busiest)
	}
	for i := range r.World.Regions() {
		s.Connections = max(s.Connections, r.World.Host(int32(i)).Node().Children())
	}
}

// expose computes which hosts a bad version reaches and for how long. The version is rolled
// back detect after its publication. Host i runs the version from up[i] after the
// publication to back[i] after the rollback. Example: with detect = 30 s, up = 1 s and back
// = 2 s, the host runs the version for 31 s. If only is not nil, hosts for which it returns
// false never run the version.
func (s *StrategyResult) expose(w *world.World, detect time.Duration, up, back []int32, only func(int32) bool) {
	hosts, seconds := 0, 0.0
	for i := range w.Agents() {
		if up[i] == measure.Never || only != nil && !only(i) {
			continue
		}
		lost := measure.Micros(detect) + max(back[i], 0)
		if d := lost - up[i]; d > 0 {
			hosts++
			seconds += float64(d) / 1e6
		}
	}
	all := float64(w.Hosts() - w.Regions())
	s.ExposedShare, s.ExposedSeconds = float64(hosts)/all, seconds/all
}
