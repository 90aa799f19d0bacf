package simulator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"banyan/mesh"
	"banyan/record"
)

// Prices are what traffic costs, in US dollars a gigabyte (10^9 bytes). The
// defaults are list prices of a large cloud's North American regions.
type Prices struct {
	CrossRegion float64 `json:"cross_region_usd_per_gb" yaml:"crossRegion"`
	CrossZone   float64 `json:"cross_zone_usd_per_gb" yaml:"crossZone"`
}

// DefaultPrices are used where none are given.
func DefaultPrices() Prices { return Prices{CrossRegion: 0.02, CrossZone: 0.01} }

func (p Prices) of(t Traffic) float64 {
	return (float64(t.CrossRegion)*p.CrossRegion + float64(t.CrossZone)*p.CrossZone) / 1e9
}

// Comparison says what strategies are compared on.
type Comparison struct {
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

func (c *Comparison) setDefaults() {
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
	Strategy string  `json:"strategy"`
	How      string  `json:"how"`
	Update   Latency `json:"update"`
	CDF      []Point `json:"cdf,omitempty"`
	Missed   int     `json:"missed"`

	Traffic Traffic `json:"per_update"`         // of all hosts together
	Busiest Traffic `json:"busiest_per_update"` // at the coordinator that does most
	Idle    Traffic `json:"idle_per_minute"`
	// IdleBusiest is what the busiest coordinator does in a minute without updates.
	IdleBusiest Traffic `json:"idle_busiest_per_minute"`
	// Connections that the busiest coordinator holds.
	Connections int `json:"connections_at_coordinator"`

	// ExposedShare of the hosts ran a bad version that was taken back Detect after it
	// was published; ExposedSeconds is for how long in all, per host of the fleet.
	ExposedShare   float64 `json:"exposed_share"`
	ExposedSeconds float64 `json:"exposed_seconds_per_host"`
	USDPerMonth    float64 `json:"usd_per_month"`
}

// Compare runs the strategies side by side on one fleet.
func Compare(cfg Config, c Comparison) ([]StrategyResult, error) {
	c.setDefaults()
	if err := cfg.complete(); err != nil {
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
		if r.w.stopped {
			return nil, ErrStopped
		}
		out = append(out, r.result(s.name, s.how))
	}
	for i := range out {
		out[i].bill(c)
	}
	return out, nil
}

func (s *StrategyResult) bill(c Comparison) {
	const minutesPerMonth = 30 * 24 * 60
	s.USDPerMonth = c.Prices.of(s.Idle)*minutesPerMonth + c.Prices.of(s.Traffic)*30*float64(c.UpdatesPerDay)
}

// compareTree measures Banyan's own tree, all at once and with a canary first.
func compareTree(cfg Config, c Comparison) (tree, canary StrategyResult, err error) {
	if cfg.Heads == 0 {
		cfg.Heads = 3 * time.Second
	}
	r, err := newRun(cfg)
	if err != nil {
		return tree, canary, err
	}
	const config = "compare/strategies"
	settle := func(ch Change, rollback bool) *update {
		u := r.meter.move(ch, rollback)
		r.w.RunUntil(r.w.now.Add(updateLimit), 5*time.Millisecond, func() bool { return r.committed(u) && u.missing == 0 })
		r.w.Run(r.w.now.Add(500 * time.Millisecond))
		return u
	}
	settle(Change{Config: config, Version: 1}, false)
	before := r.w.traffic()
	up := settle(Change{Config: config, Version: 2}, false)
	spent := r.roles(before)
	back := settle(Change{Config: config, Version: 1}, true)
	wave := settle(Change{Config: config, Version: 1, Candidate: 3, Wave: record.Wave{Percent: 1}}, false)
	tree = StrategyResult{Strategy: "tree", How: fmt.Sprintf("Banyan: agents relay to %d others each, all at once", cfg.Fanout)}
	r.fill(&tree, up, spent, r.idle())
	tree.expose(r.w, c.Detect, up.applied, back.applied, nil)
	canary = tree
	canary.Strategy, canary.How = "tree, canary first", "Banyan: 1% of the hosts run it until it is judged"
	canary.expose(r.w, c.Detect, wave.applied, back.applied, func(i int32) bool {
		return record.WavePlace(config, r.w.hosts[i].ident.Name) < 100
	})
	return tree, canary, nil
}

func (r *run) fill(s *StrategyResult, u *update, spent, idle []RoleTraffic) {
	var all []int32
	for i := range r.w.agents() {
		if t := u.applied[i]; t != never {
			all = append(all, t)
		}
	}
	s.Update = latencyOf(all)
	s.CDF, s.Missed = cdfOf(all, len(all)), u.missing
	for i := range spent {
		s.Traffic.add(spent[i].Total)
	}
	for i := range idle {
		s.Idle.add(idle[i].Total)
	}
	for _, role := range []string{roleLeader, roleCoordinator} {
		s.Busiest = s.Busiest.most(Role(spent, role).Busiest)
		s.IdleBusiest = s.IdleBusiest.most(Role(idle, role).Busiest)
	}
	for i := range r.w.regions() {
		s.Connections = max(s.Connections, r.w.hosts[i].node.Children())
	}
}

// expose reckons what a bad version would have done: host i had it from up[i], and
// lost it back[i] after it was taken back, which was detect after the publish.
// only, if not nil, tells which hosts ran it at all.
func (s *StrategyResult) expose(w *World, detect time.Duration, up, back []int32, only func(int32) bool) {
	hosts, seconds := 0, 0.0
	for i := range w.agents() {
		if up[i] == never || only != nil && !only(i) {
			continue
		}
		lost := toMicros(detect) + max(back[i], 0)
		if d := lost - up[i]; d > 0 {
			hosts++
			seconds += float64(d) / 1e6
		}
	}
	all := float64(w.Hosts() - w.regions())
	s.ExposedShare, s.ExposedSeconds = float64(hosts)/all, seconds/all
}

// rival is a strategy that is not Banyan's, on the same hosts and network. It is a
// plain program over the event queue: no failure is repaired but what the
// transport repairs.
type rival struct {
	w    *World
	c    Comparison
	rand *rand.Rand
	has  []int32 // by host, µs at which it was applied
	// known tells which hosts of a gossip know.
	known []bool
	// Traffic of the update is what hosts sent; of a quiet minute it is reckoned.
	idle, idleBusiest Traffic
	connections       int
}

func newRival(cfg Config, c Comparison) (*rival, error) {
	w, err := NewWorld(cfg)
	if err != nil {
		return nil, err
	}
	for i := range w.hosts {
		w.hosts[i].down = false
	}
	return &rival{w: w, c: c, rand: rand.New(rand.NewPCG(cfg.Seed, 0x726976616c)), has: blank(w.Hosts()), known: make([]bool, w.Hosts())}, nil
}

// versionSize is an announcement with its body behind it.
func (r *rival) versionSize() int64 {
	return announcementSize + r.w.cfg.BodyBytes + manifestSize
}

// verify is the processor time of a version: its pointer's signature and its manifest's.
func (r *rival) verify() time.Duration { return 2 * r.w.cfg.Costs.Verify }

func nothing() time.Duration { return 0 }

// send carries a message and calls then when the receiver has spent cost on it.
func (r *rival) send(from, to int32, size int64, cost func() time.Duration, then func()) {
	w := r.w
	h := &w.hosts[from]
	h.upFree = max(h.upFree, w.spend(h, w.now, w.cfg.Costs.Send)).Add(serialize(size, w.upRate(from)))
	w.count(from, to, size)
	w.call(h.upFree.Add(w.propagation(from, to)), func() {
		w.call(w.spend(&w.hosts[to], w.now, w.cfg.Costs.Receive+cost()), then)
	})
}

// apply lets a host write and apply what it has received.
func (r *rival) apply(i int32) {
	w := r.w
	w.write(i, w.now, w.cfg.Costs.Store+w.cfg.Costs.Apply, applySync, func() { r.has[i] = toMicros(time.Duration(w.now)) })
}

// toCoordinators commits the update and brings it to every region's coordinator.
func (r *rival) toCoordinators(then func(coordinator int32)) {
	w := r.w
	w.call(mesh.Time(w.cfg.commit()), func() {
		then(0)
		for i := 1; i < w.regions(); i++ {
			r.send(0, int32(i), r.versionSize(), r.verify, func() { then(int32(i)) })
		}
	})
}

func (r *rival) members(coordinator int32) (first, n int32) {
	first = int32(r.w.regions())
	for i := range coordinator {
		first += int32(r.w.cfg.Agents[i])
	}
	return first, int32(r.w.cfg.Agents[coordinator])
}

func (r *rival) largest() (n int) {
	for _, a := range r.w.cfg.Agents {
		n = max(n, a)
	}
	return n
}

func (r *rival) total() int { return r.w.Hosts() - r.w.regions() }

// star sends to every agent of the region from its coordinator.
func (r *rival) star() {
	r.toCoordinators(func(c int32) {
		first, n := r.members(c)
		for i := first; i < first+n; i++ {
			r.send(c, i, r.versionSize(), r.verify, func() { r.apply(i) })
		}
	})
	r.w.Run(mesh.Time(updateLimit))
	// A signed head on every connection every 3 seconds, as in the tree.
	const heads = 20
	r.connections = r.largest()
	r.idle = r.perMinute(heads*r.total(), headSize)
	r.idleBusiest = Traffic{Messages: int64(heads * r.connections), Bytes: int64(heads * r.connections * headSize),
		CPU: time.Duration(heads*r.connections) * r.w.cfg.Costs.Send}
}

// perMinute is the traffic of so many messages between a coordinator and agents,
// of which those outside its own zone cross one.
func (r *rival) perMinute(messages int, size int64) Traffic {
	bytes := int64(messages) * size
	return Traffic{Messages: int64(messages), Bytes: bytes, CrossZone: bytes * int64(r.w.cfg.Zones-1) / int64(r.w.cfg.Zones)}
}

// pull lets every agent ask at its interval, from a random moment on.
func (r *rival) pull() {
	here := make([]bool, r.w.regions())
	r.toCoordinators(func(c int32) { here[c] = true })
	for c := range int32(r.w.regions()) {
		first, n := r.members(c)
		for i := first; i < first+n; i++ {
			r.pollAt(mesh.Time(r.rand.Int64N(int64(r.c.Poll))), c, i, here)
		}
	}
	r.w.Run(mesh.Time(2*r.c.Poll + updateLimit))
	polls := int(math.Ceil(float64(time.Minute) / float64(r.c.Poll)))
	r.connections = r.largest()
	r.idle = r.perMinute(2*polls*r.total(), controlSize)
	r.idleBusiest = Traffic{Messages: int64(polls * r.connections), Bytes: int64(polls * r.connections * controlSize),
		CPU: time.Duration(polls*r.connections) * (r.w.cfg.Costs.Send + r.w.cfg.Costs.Receive)}
}

func (r *rival) pollAt(at mesh.Time, c, i int32, here []bool) {
	r.w.call(at, func() {
		r.send(i, c, controlSize, nothing, func() {
			if !here[c] {
				r.send(c, i, controlSize, nothing, func() { r.pollAt(at.Add(r.c.Poll), c, i, here) })
				return
			}
			r.send(c, i, r.versionSize(), r.verify, func() { r.apply(i) })
		})
	})
}

// gossip spreads within each region in rounds: a node that knows tells a few others,
// a limited number of times (memberlist: four times the digits of the group's size).
func (r *rival) gossip() {
	r.toCoordinators(func(c int32) { r.tell(c, c) })
	r.w.Run(mesh.Time(updateLimit))
	// SWIM: each node probes another every second, which answers.
	r.idle = r.perMinute(2*60*r.total(), controlSize)
	r.idleBusiest = Traffic{Messages: 120, Bytes: 120 * controlSize, CPU: 120 * (r.w.cfg.Costs.Send + r.w.cfg.Costs.Receive)}
}

func (r *rival) tell(c, i int32) {
	if r.known[i] {
		return
	}
	r.known[i] = true
	if i != c {
		r.apply(i)
	}
	first, n := r.members(c)
	if n == 0 {
		return
	}
	left := 4 * int(math.Ceil(math.Log10(float64(n+2))))
	var round func()
	round = func() {
		for range min(r.c.GossipPeers, left) {
			left--
			to := first + r.rand.Int32N(n)
			// A node that knows already drops what it hears again before it verifies it.
			cost := func() time.Duration {
				if r.known[to] {
					return 0
				}
				return r.verify()
			}
			r.send(i, to, r.versionSize(), cost, func() { r.tell(c, to) })
		}
		if left > 0 {
			r.w.call(r.w.now.Add(r.c.Gossip), round)
		}
	}
	// Rounds tick on each node's own clock.
	r.w.call(r.w.now.Add(time.Duration(r.rand.Int64N(int64(r.c.Gossip)))), round)
}

func (r *rival) result(name, how string) StrategyResult {
	w := r.w
	s := StrategyResult{Strategy: name, How: how, Idle: r.idle, IdleBusiest: r.idleBusiest, Connections: r.connections}
	for i := range w.hosts {
		s.Traffic.add(w.hosts[i].traffic)
		if w.isRoot(int32(i)) {
			s.Busiest = s.Busiest.most(w.hosts[i].traffic)
		}
	}
	var all []int32
	for i := range w.agents() {
		if t := r.has[i]; t != never {
			all = append(all, t)
		} else {
			s.Missed++
		}
	}
	s.Update = latencyOf(all)
	s.CDF = cdfOf(all, r.total())
	// A version is taken back as it was spread. Who pulls is reached after another
	// random part of the interval.
	back := r.has
	if name == "pull" {
		back = blank(len(r.has))
		for i := range w.agents() {
			back[i] = toMicros(time.Duration(r.rand.Int64N(int64(r.c.Poll))))
		}
	}
	s.expose(w, r.c.Detect, r.has, back, nil)
	return s
}
