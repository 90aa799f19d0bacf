package compare

import (
	"math"
	"math/rand/v2"
	"time"

	"banyan/mesh/step"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// rival is a strategy that is not Banyan's, on the same hosts and network. It is a
// plain program over the event queue: no failure is repaired but what the
// transport repairs.
type rival struct {
	w    *world.World
	c    Options
	rand *rand.Rand
	has  []int32 // by host, µs at which it was applied
	// known tells which hosts of a gossip know.
	known []bool
	// world.Traffic of the update is what hosts sent; of a quiet minute it is reckoned.
	idle, idleBusiest world.Traffic
	connections       int
}

func newRival(cfg world.Config, c Options) (*rival, error) {
	w, err := world.New(cfg)
	if err != nil {
		return nil, err
	}
	w.PowerOn()
	return &rival{w: w, c: c, rand: rand.New(rand.NewPCG(cfg.Seed, 0x726976616c)), has: measure.Blank(w.Hosts()), known: make([]bool, w.Hosts())}, nil
}

// versionSize is an announcement with its body behind it.
func (r *rival) versionSize() int64 {
	return world.AnnouncementSize + r.w.Config().BodyBytes + world.ManifestSize
}

// verify is the processor time of a version: its pointer's signature and its manifest's.
func (r *rival) verify() time.Duration { return 2 * r.w.Config().Costs.Verify }

func nothing() time.Duration { return 0 }

// send carries a message and calls then when the receiver has spent cost on it.
func (r *rival) send(from, to int32, size int64, cost func() time.Duration, then func()) {
	w := r.w
	departs := w.Upload(from, w.Spend(from, w.Now(), w.Config().Costs.Send), size)
	w.Count(from, to, size)
	w.At(departs.Add(w.Propagation(from, to)), func() {
		w.At(w.Spend(to, w.Now(), w.Config().Costs.Receive+cost()), then)
	})
}

// apply lets a host write and apply what it has received.
func (r *rival) apply(i int32) {
	w := r.w
	w.StoreAndApply(i, func() { r.has[i] = measure.Micros(time.Duration(w.Now())) })
}

// toCoordinators commits the update and brings it to every region's coordinator.
func (r *rival) toCoordinators(then func(coordinator int32)) {
	w := r.w
	w.At(step.Time(w.Config().Commit()), func() {
		then(0)
		for i := 1; i < w.Regions(); i++ {
			r.send(0, int32(i), r.versionSize(), r.verify, func() { then(int32(i)) })
		}
	})
}

func (r *rival) largest() (n int) {
	for _, a := range r.w.Config().Agents {
		n = max(n, a)
	}
	return n
}

func (r *rival) total() int { return r.w.Hosts() - r.w.Regions() }

// star sends to every agent of the region from its coordinator.
func (r *rival) star() {
	r.toCoordinators(func(c int32) {
		first, n := r.w.Members(c)
		for i := first; i < first+n; i++ {
			r.send(c, i, r.versionSize(), r.verify, func() { r.apply(i) })
		}
	})
	r.w.Run(step.Time(measure.UpdateLimit))
	// A signed head on every connection every 3 seconds, as in the tree.
	const heads = 20
	r.connections = r.largest()
	r.idle = r.perMinute(heads*r.total(), world.HeadSize)
	r.idleBusiest = world.Traffic{Messages: int64(heads * r.connections), Bytes: int64(heads * r.connections * world.HeadSize),
		CPU: time.Duration(heads*r.connections) * r.w.Config().Costs.Send}
}

// perMinute is the traffic of so many messages between a coordinator and agents,
// of which those outside its own zone cross one.
func (r *rival) perMinute(messages int, size int64) world.Traffic {
	bytes := int64(messages) * size
	return world.Traffic{Messages: int64(messages), Bytes: bytes, CrossZone: bytes * int64(r.w.Config().Zones-1) / int64(r.w.Config().Zones)}
}

// pull lets every agent ask at its interval, from a random moment on.
func (r *rival) pull() {
	here := make([]bool, r.w.Regions())
	r.toCoordinators(func(c int32) { here[c] = true })
	for c := range int32(r.w.Regions()) {
		first, n := r.w.Members(c)
		for i := first; i < first+n; i++ {
			r.pollAt(step.Time(r.rand.Int64N(int64(r.c.Poll))), c, i, here)
		}
	}
	r.w.Run(step.Time(2*r.c.Poll + measure.UpdateLimit))
	polls := int(math.Ceil(float64(time.Minute) / float64(r.c.Poll)))
	r.connections = r.largest()
	r.idle = r.perMinute(2*polls*r.total(), world.ControlSize)
	r.idleBusiest = world.Traffic{Messages: int64(polls * r.connections), Bytes: int64(polls * r.connections * world.ControlSize),
		CPU: time.Duration(polls*r.connections) * (r.w.Config().Costs.Send + r.w.Config().Costs.Receive)}
}

func (r *rival) pollAt(at step.Time, c, i int32, here []bool) {
	r.w.At(at, func() {
		r.send(i, c, world.ControlSize, nothing, func() {
			if !here[c] {
				r.send(c, i, world.ControlSize, nothing, func() { r.pollAt(at.Add(r.c.Poll), c, i, here) })
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
	r.w.Run(step.Time(measure.UpdateLimit))
	// SWIM: each node probes another every second, which answers.
	r.idle = r.perMinute(2*60*r.total(), world.ControlSize)
	r.idleBusiest = world.Traffic{Messages: 120, Bytes: 120 * world.ControlSize, CPU: 120 * (r.w.Config().Costs.Send + r.w.Config().Costs.Receive)}
}

func (r *rival) tell(c, i int32) {
	if r.known[i] {
		return
	}
	r.known[i] = true
	if i != c {
		r.apply(i)
	}
	first, n := r.w.Members(c)
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
			r.w.At(r.w.Now().Add(r.c.Gossip), round)
		}
	}
	// Rounds tick on each node's own clock.
	r.w.At(r.w.Now().Add(time.Duration(r.rand.Int64N(int64(r.c.Gossip)))), round)
}

func (r *rival) result(name, how string) StrategyResult {
	w := r.w
	s := StrategyResult{Strategy: name, How: how, Idle: r.idle, IdleBusiest: r.idleBusiest, Connections: r.connections}
	for i := range int32(w.Hosts()) {
		t := w.Host(i).Traffic()
		s.Traffic.Add(t)
		if w.IsCoordinator(i) {
			s.Busiest = s.Busiest.Most(t)
		}
	}
	var all []int32
	for i := range w.Agents() {
		if t := r.has[i]; t != measure.Never {
			all = append(all, t)
		} else {
			s.Missed++
		}
	}
	s.Update = measure.LatencyOf(all)
	s.CDF = measure.CDFOf(all, r.total())
	// A version is taken back as it was spread. Who pulls is reached after another
	// random part of the interval.
	back := r.has
	if name == "pull" {
		back = measure.Blank(len(r.has))
		for i := range w.Agents() {
			back[i] = measure.Micros(time.Duration(r.rand.Int64N(int64(r.c.Poll))))
		}
	}
	s.expose(w, r.c.Detect, r.has, back, nil)
	return s
}
