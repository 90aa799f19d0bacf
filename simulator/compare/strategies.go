package compare

import (
	"fmt"
	"time"

	"banyan/record"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// Prices are what traffic costs, in US dollars a gigabyte (10^9 bytes). The
// defaults are list prices of a large cloud's North American regions.
type Prices struct {
	CrossRegion float64 `json:"cross_region_usd_per_gb" yaml:"crossRegion"`
	CrossZone   float64 `json:"cross_zone_usd_per_gb" yaml:"crossZone"`
}

// DefaultPrices are used where none are given.
func DefaultPrices() Prices { return Prices{CrossRegion: 0.02, CrossZone: 0.01} }

func (p Prices) of(t world.Traffic) float64 {
	return (float64(t.CrossRegion)*p.CrossRegion + float64(t.CrossZone)*p.CrossZone) / 1e9
}

// Options says what strategies are compared on.
type Options struct {
	Prices Prices
	// Poll is the interval of the strategy that pulls; default 30 s.
	Poll time.Duration
	// Gossip is the interval of a gossip round, default 200 ms; GossipPeers to how
	// many a node sends in each, default 3. Both are memberlist's.
	Gossip      time.Duration
	GossipPeers int
	// Detect is how long a bad version runs before it is taken back; default 30 s.
	Detect time.Duration
	// UpdatesPerDay is the rate of changes that the bill is for; default 1000.
	UpdatesPerDay int
}

func (c *Options) setDefaults() {
	if c.Prices == (Prices{}) {
		c.Prices = DefaultPrices()
	}
	if c.Poll == 0 {
		c.Poll = 30 * time.Second
	}
	if c.Gossip == 0 {
		c.Gossip = 200 * time.Millisecond
	}
	if c.GossipPeers == 0 {
		c.GossipPeers = 3
	}
	if c.Detect == 0 {
		c.Detect = 30 * time.Second
	}
	if c.UpdatesPerDay == 0 {
		c.UpdatesPerDay = 1000
	}
}

// StrategyResult is what one way of distributing costs and takes on the fleet.
type StrategyResult struct {
	Strategy string          `json:"strategy"`
	How      string          `json:"how"`
	Update   measure.Latency `json:"update"`
	CDF      []measure.Point `json:"cdf,omitempty"`
	Missed   int             `json:"missed"`

	Traffic world.Traffic `json:"per_update"`         // of all hosts together
	Busiest world.Traffic `json:"busiest_per_update"` // at the coordinator that does most
	Idle    world.Traffic `json:"idle_per_minute"`
	// IdleBusiest is what the busiest coordinator does in a minute without updates.
	IdleBusiest world.Traffic `json:"idle_busiest_per_minute"`
	// Connections that the busiest coordinator holds.
	Connections int `json:"connections_at_coordinator"`

	// ExposedShare of the hosts ran a bad version that was taken back Detect after it
	// was published; ExposedSeconds is for how long in all, per host of the fleet.
	ExposedShare   float64 `json:"exposed_share"`
	ExposedSeconds float64 `json:"exposed_seconds_per_host"`
	USDPerMonth    float64 `json:"usd_per_month"`
}

// Strategies runs the strategies side by side on one fleet.
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
	for _, s := range []struct {
		name, how string
		plan      func(*rival)
	}{
		{"star", "every agent holds a connection to its region's coordinator, which sends to each", (*rival).star},
		{"pull", fmt.Sprintf("every agent asks its coordinator every %s", c.Poll), (*rival).pull},
		{"gossip", fmt.Sprintf("every %s a node that knows tells %d others of its region", c.Gossip, c.GossipPeers), (*rival).gossip},
	} {
		r, err := newRival(cfg, c)
		if err != nil {
			return nil, err
		}
		s.plan(r)
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

func (s *StrategyResult) bill(c Options) {
	const minutesPerMonth = 30 * 24 * 60
	s.USDPerMonth = c.Prices.of(s.Idle)*minutesPerMonth + c.Prices.of(s.Traffic)*30*float64(c.UpdatesPerDay)
}

// compareTree measures Banyan's own tree, all at once and with a canary first.
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
	tree = StrategyResult{Strategy: "tree", How: fmt.Sprintf("Banyan: agents relay to %d others each, all at once", cfg.Fanout)}
	fill(r, &tree, up, spent, r.Idle())
	tree.expose(r.World, c.Detect, up.Applied, back.Applied, nil)
	canary = tree
	canary.Strategy, canary.How = "tree, canary first", "Banyan: 1% of the hosts run it until it is judged"
	canary.expose(r.World, c.Detect, wave.Applied, back.Applied, func(i int32) bool {
		return record.WavePlace(config, r.World.Host(i).Name()) < 100
	})
	return tree, canary, nil
}

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

// expose reckons what a bad version would have done: host i had it from up[i], and
// lost it back[i] after it was taken back, which was detect after the publish.
// only, if not nil, tells which hosts ran it at all.
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
