package simulator

import (
	"math"
	"math/rand/v2"
	"time"

	"banyan/mesh/step"
)

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
	w.call(step.Time(w.cfg.commit()), func() {
		then(0)
		for i := 1; i < w.regions(); i++ {
			r.send(0, int32(i), r.versionSize(), r.verify, func() { then(int32(i)) })
		}
	})
}

// members are the agents of a coordinator's region.
func (w *World) members(coordinator int32) (first, n int32) {
	first = int32(w.regions())
	for i := range coordinator {
		first += int32(w.cfg.Agents[i])
	}
	return first, int32(w.cfg.Agents[coordinator])
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
		first, n := r.w.members(c)
		for i := first; i < first+n; i++ {
			r.send(c, i, r.versionSize(), r.verify, func() { r.apply(i) })
		}
	})
	r.w.Run(step.Time(updateLimit))
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
		first, n := r.w.members(c)
		for i := first; i < first+n; i++ {
			r.pollAt(step.Time(r.rand.Int64N(int64(r.c.Poll))), c, i, here)
		}
	}
	r.w.Run(step.Time(2*r.c.Poll + updateLimit))
	polls := int(math.Ceil(float64(time.Minute) / float64(r.c.Poll)))
	r.connections = r.largest()
	r.idle = r.perMinute(2*polls*r.total(), controlSize)
	r.idleBusiest = Traffic{Messages: int64(polls * r.connections), Bytes: int64(polls * r.connections * controlSize),
		CPU: time.Duration(polls*r.connections) * (r.w.cfg.Costs.Send + r.w.cfg.Costs.Receive)}
}

func (r *rival) pollAt(at step.Time, c, i int32, here []bool) {
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
	r.w.Run(step.Time(updateLimit))
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
	first, n := r.w.members(c)
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
