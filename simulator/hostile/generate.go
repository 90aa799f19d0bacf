package hostile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"banyan/mesh/swarm"
	"banyan/simulator/world"
)

// Phases of a hostile history.
const (
	hostilePhase = 60 * time.Second
	quietPhase   = 105 * time.Second
)

// tradedBody is the size of a body that hosts trade shard by shard, in bytes.
const tradedBody = swarm.WholeLimit + 200_000

// New makes the history of a seed. Each feature that was added after the first draws from a
// random source of its own, so that the histories of older features stay the same.
func New(seed uint64) *History {
	h := generator{earlier(seed)}
	h.addRestlessness(rand.New(rand.NewPCG(seed, 0x72657374)))
	h.addClockJumps(rand.New(rand.NewPCG(seed, 0x636c6f63)))
	h.addMasses(rand.New(rand.NewPCG(seed, 0x6d617373)))
	h.addForgetting(rand.New(rand.NewPCG(seed, 0x666f7267)))
	return h.History
}

// earlier makes the history of a seed without the features that were added after the seeds in
// brokeTruth were found.
func earlier(seed uint64) *History {
	r := rand.New(rand.NewPCG(seed, 0x686f7374696c65))
	h := generator{&History{
		Seed:    seed,
		Config:  randomFleet(seed, r),
		Hostile: hostilePhase,
		Quiet:   quietPhase,
		Look:    2 * time.Second,
	}}
	for range 4 + r.IntN(12) {
		h.Faults = append(h.Faults, h.randomFault(r))
	}
	h.addLateRelays(rand.New(rand.NewPCG(seed, 0x6c617465)))
	for range 3 + r.IntN(15) {
		h.Updates = append(h.Updates, randomUpdate(r))
	}
	h.addBodies(rand.New(rand.NewPCG(seed, 0x626f6479)))
	h.addRelayOnly(rand.New(rand.NewPCG(seed, 0x73756273)))
	h.addDeletions(rand.New(rand.NewPCG(seed, 0x64656c65)))
	h.addHistories(rand.New(rand.NewPCG(seed, 0x7465726d)))
	h.addDamage(rand.New(rand.NewPCG(seed, 0x64616d67)))
	h.addDarkness(rand.New(rand.NewPCG(seed, 0x6461726b)))
	return h.History
}

// generator adds random faults and updates to a history.
type generator struct{ *History }

// randomFleet returns a small fleet: one to three regions of 2 to 21 agents.
func randomFleet(seed uint64, r *rand.Rand) world.Config {
	regions := 1 + r.IntN(3)
	agents := make([]int, regions)
	for i := range agents {
		agents[i] = 2 + r.IntN(20)
	}
	matrix, err := world.Preset(world.DefaultMatrix)
	if err != nil {
		panic(err) // the preset is embedded
	}
	matrix, err = matrix.First(regions)
	if err != nil {
		panic(err) // the preset has more than three regions
	}
	// The order of the draws is part of every history.
	fanout := 1 + r.IntN(5)
	idle := 2*time.Second + time.Duration(r.Int64N(int64(10*time.Second)))
	loss := r.Float64() * 0.2 * float64(r.IntN(2))
	jitter := r.Float64() * 0.5 * float64(r.IntN(2))
	return world.Config{
		Seed:    seed,
		Agents:  agents,
		Fanout:  fanout,
		Heads:   time.Second,
		Idle:    idle,
		Join:    5 * time.Second,
		Network: world.Network{Matrix: matrix, Loss: loss, Jitter: jitter},
	}
}

// addLateRelays adds no, one or a few relays that are late.
func (h generator) addLateRelays(r *rand.Rand) {
	for r.IntN(3) == 0 {
		f := h.agentFault(world.FaultLate, r)
		f.Factor = 10 * r.Float64()
		h.Faults = append(h.Faults, f)
	}
}

// addBodies makes a quarter of the updates large, and adds no, one or a few agents that send
// poisoned shards.
func (h generator) addBodies(r *rand.Rand) {
	for i := range h.Updates {
		if r.IntN(4) == 0 {
			h.Updates[i].Body = tradedBody
		}
	}
	for r.IntN(3) == 0 {
		h.Faults = append(h.Faults, h.agentFault(world.FaultPoison, r))
	}
}

// addDeletions turns some of the updates of a quarter of the fleets into deletions.
func (h generator) addDeletions(r *rand.Rand) {
	if r.IntN(4) != 0 {
		return
	}
	for i := range h.Updates {
		h.Updates[i].Delete = r.IntN(4) == 0
	}
}

// addRelayOnly makes some agents of a third of the fleets subscribe to nothing. The cache of
// such an agent may be too small for any shard.
func (h generator) addRelayOnly(r *rand.Rand) {
	if r.IntN(3) == 0 {
		h.Config.RelayShare = 0.8 * r.Float64()
		h.Config.CacheLimit = 1 + r.Int64N(2*tradedBody)
	}
}

// noticed is the time, since the start of the quiet phase, at which a person notices a store
// that was restored or copied without a new term.
const noticed = 30 * time.Second

// addHistories restores the store of some fleets from an older copy, or makes a follower lead
// on a copy. Half of these are careless: nobody raises the term until the quiet phase.
func (h generator) addHistories(r *rand.Rand) {
	kinds := []world.FaultKind{world.FaultRestore, world.FaultRival}
	for r.IntN(3) == 0 {
		f := world.Fault{
			At:       time.Duration(r.Int64N(int64(hostilePhase - time.Second))),
			Kind:     kinds[r.IntN(len(kinds))],
			Target:   "leader",
			Careless: r.IntN(2) == 0,
		}
		f.For = hostilePhase + noticed - f.At
		regions := h.Config.Network.Matrix.Regions
		follower := r.IntN(len(regions))
		switch {
		case f.Kind == world.FaultRestore:
			f.Factor = 1 + 40*r.Float64()
		case follower > 0:
			f.Target = "coordinator:" + regions[follower]
		default:
			continue // the leader has no rival
		}
		h.Faults = append(h.Faults, f)
	}
}

// addDamage makes people edit files, makes disks lose bodies, and clones agents.
func (h generator) addDamage(r *rand.Rand) {
	kinds := []world.FaultKind{world.FaultEdit, world.FaultWipe, world.FaultClone}
	for r.IntN(2) == 0 {
		f := h.agentFault(kinds[r.IntN(len(kinds))], r)
		if f.Kind == world.FaultClone {
			h.Config.Clones++
		} else {
			f.For = 1
		}
		h.Faults = append(h.Faults, f)
	}
}

// addDarkness lets a zone of an eighth of the fleets go dark early, until the quiet phase.
func (h generator) addDarkness(r *rand.Rand) {
	if r.IntN(8) > 0 {
		return
	}
	region := h.Config.Network.Matrix.Regions[r.IntN(len(h.Config.Agents))]
	at := time.Duration(r.Int64N(int64(hostilePhase / 6)))
	h.Faults = append(h.Faults, world.Fault{
		At:     at,
		For:    hostilePhase + noticed - at,
		Kind:   world.FaultCrash,
		Target: fmt.Sprintf("zone:%s/%d", region, r.IntN(3)),
	})
}

// addRestlessness adds no, one or a few relays that chatter or hosts that restart all the time. Half of
// the relays never stop.
func (h generator) addRestlessness(r *rand.Rand) {
	for r.IntN(4) == 0 {
		f := h.agentFault(world.FaultChatter, r)
		switch {
		case r.IntN(2) == 0:
			f.Kind = world.FaultRestart
			f.Target = h.randomTarget(r)
			f.Factor = 3 + 17*r.Float64()
		case r.IntN(2) == 0:
			f.For = 0
		}
		h.Faults = append(h.Faults, f)
	}
}

// addClockJumps makes the clock of a leader jump forward by up to a day in an eighth of the histories.
// Half of the clocks stay ahead.
func (h generator) addClockJumps(r *rand.Rand) {
	if r.IntN(8) > 0 {
		return
	}
	f := h.agentFault(world.FaultSkew, r)
	f.Target = "leader"
	f.Factor = float64(r.IntN(24 * 3600))
	if r.IntN(2) == 0 {
		f.For = 0
	}
	h.Faults = append(h.Faults, f)
}

// addMasses makes all agents of an eighth of the fleets join in one instant, and again later, at a root
// that answers few joins in a second. Half of these fleets are several times as large as others.
func (h generator) addMasses(r *rand.Rand) {
	if r.IntN(8) > 0 {
		return
	}
	h.Config.Join = time.Millisecond
	h.Config.JoinRate = 5 + r.IntN(30)
	if r.IntN(2) == 0 {
		for i := range h.Config.Agents {
			h.Config.Agents[i] *= 4
		}
	}
	f := h.agentFault(world.FaultCrash, r)
	f.Target = fmt.Sprintf("agents:%d%%", 50+r.IntN(51))
	h.Faults = append(h.Faults, f)
}

// addForgetting lets the hosts of an eighth of the fleets forget deletions after seconds. Configs are deleted
// for good, or their names are used again after the deletion was forgotten, while hosts are away. A store
// that loses a deletion is another matter, see addHistories.
func (h generator) addForgetting(r *rand.Rand) {
	if r.IntN(8) > 0 || slices.ContainsFunc(h.Faults, losesHistory) {
		return
	}
	h.Config.DeletionMemory = 5*time.Second + time.Duration(r.Int64N(int64(10*time.Second)))
	moment := func() time.Duration { return time.Duration(r.Int64N(int64(10 * time.Second))) }
	for i := range 1 + r.IntN(3) {
		u := Update{At: moment(), Config: fmt.Sprintf("forgotten-%d", i), Body: 200, Last: true}
		h.Updates = append(h.Updates, u)
		u.At += time.Second + moment()
		u.Delete = true
		h.Updates = append(h.Updates, u)
		away := h.agentFault(world.FaultCrash, r)
		away.Target = h.randomTarget(r)
		away.At = max(u.At-moment(), 0)
		away.For = min(u.At-away.At+h.Config.DeletionMemory+moment(), hostilePhase-away.At)
		h.Faults = append(h.Faults, away)
		if r.IntN(2) == 0 {
			continue
		}
		u.At += 2*h.Config.DeletionMemory + moment()
		u.Delete = false
		h.Updates = append(h.Updates, u)
	}
}

// losesHistory reports whether a fault makes a second history of the store.
func losesHistory(f world.Fault) bool {
	return f.Kind == world.FaultRestore || f.Kind == world.FaultRival
}

// agentFault returns a fault of one agent that ends before the quiet phase.
func (h generator) agentFault(kind world.FaultKind, r *rand.Rand) world.Fault {
	at := time.Duration(r.Int64N(int64(hostilePhase - time.Second)))
	length := time.Duration(1 + r.Int64N(int64(hostilePhase-at)))
	return world.Fault{At: at, For: length, Kind: kind, Target: h.randomAgent(r)}
}

// randomUpdate returns an update of one of four configs. A third of the updates has a
// candidate, and a third has a body that is too large to be pushed.
func randomUpdate(r *rand.Rand) Update {
	u := Update{
		At:     time.Duration(r.Int64N(int64(hostilePhase))),
		Config: fmt.Sprintf("config-%d", r.IntN(4)),
		Back:   r.IntN(4) == 0,
		Body:   200,
	}
	if r.IntN(3) == 0 {
		u.Percent = uint8(1 + r.IntN(99))
	}
	if r.IntN(3) == 0 {
		u.Body = 50_000
	}
	return u
}

// earlyKinds is the number of world.FaultKinds from which randomFault draws. Later kinds
// have functions of their own, such as addLateRelays.
const earlyKinds = 8

// randomFault returns a fault that ends before the quiet phase. Half of the relays that
// withhold, forge or replay never stop.
func (h generator) randomFault(r *rand.Rand) world.Fault {
	f := world.Fault{
		At:   time.Duration(r.Int64N(int64(hostilePhase - time.Second))),
		Kind: world.FaultKinds()[r.IntN(earlyKinds)],
	}
	f.For = time.Duration(1 + r.Int64N(int64(hostilePhase-f.At)))
	f.Target = h.randomTarget(r)
	switch f.Kind {
	case world.FaultCut:
		f.OneWay = r.IntN(2) == 0
		if r.IntN(2) == 0 {
			f.To = h.randomTarget(r)
		}
	case world.FaultSkew:
		f.Factor = float64(r.IntN(7200) - 3600)
	case world.FaultWithhold, world.FaultForge, world.FaultReplay:
		f.Target = h.randomAgent(r)
		if r.IntN(2) == 0 {
			f.For = 0
		}
	case world.FaultDisk:
		f.Target = h.randomAgent(r)
	}
	return f
}

// randomAgent returns the target of one agent.
func (h generator) randomAgent(r *rand.Rand) string {
	region := r.IntN(len(h.Config.Agents))
	agent := r.IntN(h.Config.Agents[region])
	return fmt.Sprintf("agent:%s/%d", h.Config.Network.Matrix.Regions[region], agent)
}

// randomTarget returns a target: in three of eight cases one agent.
func (h generator) randomTarget(r *rand.Rand) string {
	region := h.Config.Network.Matrix.Regions[r.IntN(len(h.Config.Agents))]
	switch r.IntN(8) {
	case 0:
		return "leader"
	case 1:
		return "coordinator:" + region
	case 2:
		return fmt.Sprintf("zone:%s/%d", region, r.IntN(3))
	case 3:
		return fmt.Sprintf("agents:%d%%", 1+r.IntN(100))
	case 4:
		return fmt.Sprintf("relays:%d%%", 1+r.IntN(100))
	}
	return h.randomAgent(r)
}
