package compare

import (
	"math"
	"math/rand/v2"
	"time"

	"banyan/mesh/step"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// rival is a strategy other than Banyan's, on the same machines and network: a small program
// over the event queue of a world without mesh nodes. A rival repairs no failures except
// those that the transport repairs.
type rival struct {
	w    *world.World
	c    Options
	rand *rand.Rand
	// has holds, by host, the µs after which the update was applied.
	has []int32
	// known is true for the hosts that have heard of the update by gossip.
	known []bool
	// idle and idleBusiest are the traffic of a minute without updates, of all hosts and of
	// the busiest coordinator. The traffic is computed, not simulated.
	idle, idleBusiest world.Traffic
	connections       int // of the busiest coordinator
}

func newRival(cfg world.Config, c Options) (*rival, error) {
	w, err := world.New(cfg)
	if err != nil {
		return nil, err
	}
	w.PowerOn()
	return &rival{
		w:     w,
		c:     c,
		rand:  rand.New(rand.NewPCG(cfg.Seed, 0x726976616c)),
		has:   measure.Blank(w.Hosts()),
		known: make([]bool, w.Hosts()),
	}, nil
}

// versionSize returns the size of an announcement with the body behind it.
func (r *rival) versionSize() int64 {
	return world.AnnouncementSize + r.w.Config().BodyBytes + world.ManifestSize
}

// verify returns the processor time to check a version: the signatures of the pointer and of
// the manifest.
func (r *rival) verify() time.Duration { return 2 * r.w.Config().Costs.Verify }

func nothing() time.Duration { return 0 }

// send sends a message and calls then when the receiver has spent cost on the message. cost
// is called when the message arrives.
func (r *rival) send(from, to int32, size int64, cost func() time.Duration, then func()) {
	w := r.w
	departs := w.Upload(from, w.Spend(from, w.Now(), w.Config().Costs.Send), size)
	w.Count(from, to, size)
	w.At(departs.Add(w.Propagation(from, to)), func() {
		w.At(w.Spend(to, w.Now(), w.Config().Costs.Receive+cost()), then)
	})
}

// apply makes host i store and apply the update.
func (r *rival) apply(i int32) {
	w := r.w
	w.StoreAndApply(i, func() { r.has[i] = measure.Micros(time.Duration(w.Now())) })
}

// toCoordinators commits the update and sends it to the coordinator of every region. It calls
// then when a coordinator has the update.
func (r *rival) toCoordinators(then func(coordinator int32)) {
	w := r.w
	w.At(step.Time(w.Config().Commit()), func() {
		then(0)
		for i := 1; i < w.Regions(); i++ {
			r.send(0, int32(i), r.versionSize(), r.verify, func() { then(int32(i)) })
		}
	})
}

// largest returns the number of agents of the largest region.
func (r *rival) largest() (n int) {
	for _, a := range r.w.Config().Agents {
		n = max(n, a)
	}
	return n
}

// total returns the number of agents.
func (r *rival) total() int { return r.w.Hosts() - r.w.Regions() }

// star makes each coordinator send the update to every agent of its region.
func (r *rival) star() {
	r.toCoordinators(func(c int32) {
		first, n := r.w.Members(c)
		for i := first; i < first+n; i++ {
			r.send(c, i, r.versionSize(), r.verify, func() { r.apply(i) })
		}
	})
	r.w.Run(step.Time(measure.UpdateLimit))
	// Each connection carries a signed head every 3 seconds, as in the tree: 20 a minute.
	const heads = 20
	r.connections = r.largest()
	r.idle = r.perMinute(heads*r.total(), world.HeadSize)
	sent := heads * r.connections
	r.idleBusiest = world.Traffic{
		Messages: int64(sent),
		Bytes:    int64(sent * world.HeadSize),
		CPU:      time.Duration(sent) * r.w.Config().Costs.Send,
	}
}

// perMinute returns the traffic of messages between coordinators and agents. A coordinator
// is in one zone, so with Z zones a share (Z − 1) / Z of the bytes crosses zones.
func (r *rival) perMinute(messages int, size int64) world.Traffic {
	bytes := int64(messages) * size
	zones := int64(r.w.Config().Zones)
	return world.Traffic{
		Messages:  int64(messages),
		Bytes:     bytes,
		CrossZone: bytes * (zones - 1) / zones,
	}
}

// pull makes every agent ask its coordinator once per interval, from a random moment on.
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
	answered := polls * r.connections
	costs := r.w.Config().Costs
	r.idleBusiest = world.Traffic{
		Messages: int64(answered),
		Bytes:    int64(answered * world.ControlSize),
		CPU:      time.Duration(answered) * (costs.Send + costs.Receive),
	}
}

// pollAt makes agent i ask coordinator c at time at, and again until here[c] is true: the
// coordinator has the update.
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

// gossip spreads the update within each region in rounds. A host that has the update sends
// it to a few random hosts per round. A host sends the update 4 × ⌈log10(n + 2)⌉ times in a
// region of n agents, as memberlist does.
func (r *rival) gossip() {
	r.toCoordinators(func(c int32) { r.tell(c, c) })
	r.w.Run(step.Time(measure.UpdateLimit))
	// In SWIM each host probes one other host per second, and the other host answers.
	r.idle = r.perMinute(2*60*r.total(), world.ControlSize)
	costs := r.w.Config().Costs
	r.idleBusiest = world.Traffic{
		Messages: 120,
		Bytes:    120 * world.ControlSize,
		CPU:      120 * (costs.Send + costs.Receive),
	}
}

// tell makes host i of coordinator c's region know the update and gossip about it.
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
			// A host that knows the update drops it without checking signatures.
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
	// The rounds of each host begin at a random moment.
	r.w.At(r.w.Now().Add(time.Duration(r.rand.Int64N(int64(r.c.Gossip)))), round)
}

func (r *rival) result(name, how string) StrategyResult {
	w := r.w
	s := StrategyResult{
		Strategy:    name,
		How:         how,
		Idle:        r.idle,
		IdleBusiest: r.idleBusiest,
		Connections: r.connections,
	}
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
	// A rollback spreads as the version did. An agent that polls learns of the rollback
	// after another random part of its interval.
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
