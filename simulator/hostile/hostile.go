package hostile

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/record"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// History is a history made to break an invariant: a small fleet, updates, and
// faults of every kind at random moments; then quiet, in which everything must
// come right. It is a function of its seed, but for what is left out of it.
type History struct {
	Seed    uint64
	Config  world.Config
	Faults  []world.Fault
	Updates []Update
	// Keep and KeepUpdates, if not nil, are the numbers of the faults and updates
	// that happen; the others don't.
	Keep, KeepUpdates []int
}

// Update is a move of a config's pointers at a moment.
type Update struct {
	At      time.Duration
	Config  string
	Back    bool  // to an older version
	Percent uint8 // of a candidate's wave; 0: everyone at once
	Body    int64
}

// Phases of a hostile history.
const (
	hostilePhase = 60 * time.Second
	quietPhase   = 90 * time.Second
)

// New makes the history of a seed.
func New(seed uint64) *History {
	r := rand.New(rand.NewPCG(seed, 0x686f7374696c65))
	regions := 1 + r.IntN(3)
	agents := make([]int, regions)
	for i := range agents {
		agents[i] = 2 + r.IntN(20)
	}
	matrix, err := world.Preset("ibm-2024")
	if err != nil {
		panic(err) // embedded
	}
	if matrix, err = matrix.First(regions); err != nil {
		panic(err)
	}
	h := &History{Seed: seed, Config: world.Config{Seed: seed, Agents: agents, Fanout: 1 + r.IntN(5), Heads: time.Second,
		Idle: 2*time.Second + time.Duration(r.Int64N(int64(10*time.Second))), Join: 5 * time.Second,
		Network: world.Network{Matrix: matrix, Loss: r.Float64() * 0.2 * float64(r.IntN(2)), Jitter: r.Float64() * 0.5 * float64(r.IntN(2))}}}
	for range 4 + r.IntN(12) {
		h.Faults = append(h.Faults, h.randomFault(r))
	}
	// Kinds that came later draw from a source of their own, so that a seed's other
	// faults stay what they were.
	for l := rand.New(rand.NewPCG(seed, 0x6c617465)); l.IntN(3) == 0; {
		at := time.Duration(l.Int64N(int64(hostilePhase - time.Second)))
		h.Faults = append(h.Faults, world.Fault{At: at, For: time.Duration(1 + l.Int64N(int64(hostilePhase-at))), Kind: world.FaultLate, Target: h.randomAgent(l), Factor: 10 * l.Float64()})
	}
	for range 3 + r.IntN(15) {
		h.Updates = append(h.Updates, randomUpdate(r))
	}
	b := rand.New(rand.NewPCG(seed, 0x626f6479))
	for i := range h.Updates {
		if b.IntN(4) == 0 {
			h.Updates[i].Body = tradedBody
		}
	}
	for b.IntN(3) == 0 {
		at := time.Duration(b.Int64N(int64(hostilePhase - time.Second)))
		h.Faults = append(h.Faults, world.Fault{At: at, For: time.Duration(1 + b.Int64N(int64(hostilePhase-at))), Kind: world.FaultPoison, Target: h.randomAgent(b)})
	}
	if s := rand.New(rand.NewPCG(seed, 0x73756273)); s.IntN(3) == 0 {
		h.Config.RelayShare = 0.8 * s.Float64()
		h.Config.CacheLimit = 1 + s.Int64N(2*tradedBody) // there may be room for nothing
	}
	return h
}

// tradedBody is a body that goes by the shard.
const tradedBody = mesh.WholeLimit + 200_000

func randomUpdate(r *rand.Rand) Update {
	u := Update{At: time.Duration(r.Int64N(int64(hostilePhase))), Config: fmt.Sprintf("config-%d", r.IntN(4)), Back: r.IntN(4) == 0, Body: 200}
	if r.IntN(3) == 0 {
		u.Percent = uint8(1 + r.IntN(99))
	}
	if r.IntN(3) == 0 {
		u.Body = 50_000 // too large to be pushed
	}
	return u
}

// earlyKinds is how many of world.FaultKinds randomFault draws from. Kinds that were added
// later are drawn from sources of their own.
const earlyKinds = 8

// randomFault is a fault that ends before the quiet phase; but a relay that lies
// may lie for good.
func (h *History) randomFault(r *rand.Rand) world.Fault {
	f := world.Fault{At: time.Duration(r.Int64N(int64(hostilePhase - time.Second))), Kind: world.FaultKinds()[r.IntN(earlyKinds)]}
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

func (h *History) randomAgent(r *rand.Rand) string {
	region := r.IntN(len(h.Config.Agents))
	return fmt.Sprintf("agent:%s/%d", h.Config.Network.Matrix.Regions[region], r.IntN(h.Config.Agents[region]))
}

func (h *History) randomTarget(r *rand.Rand) string {
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

// Outcome is how a hostile history went.
type Outcome struct {
	Seed       uint64
	Violations []string
	History    string // a hash of every effect
	Events     uint64
	Effects    uint64
	Trace      []string // if asked for
}

// Run runs the history. trace keeps what happened, in words.
func (h *History) Run(trace bool) (Outcome, error) {
	w, err := world.New(h.Config)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Seed: h.Seed}
	if trace {
		w.Trace(func(line string) { out.Trace = append(out.Trace, line) })
	}
	m, r := measure.NewMeter(w), newReferee(w)
	w.Boot()
	w.BeginHeads()
	start := step.Time(h.Config.Join + 2*time.Second)
	h.schedule(w, start)
	w.Run(start.Add(hostilePhase + quietPhase))
	r.atRest()
	out.Violations, out.History, out.Events, out.Effects = r.violations, m.History(), w.Events(), m.Effects()
	if trace {
		for _, v := range r.violations {
			out.Trace = append(out.Trace, "VIOLATION "+v)
		}
	}
	return out, nil
}

func (h *History) schedule(w *world.World, start step.Time) {
	for i, f := range h.Faults {
		if keeps(h.Keep, i) {
			w.Strike(f, start, i, func(string) {})
		}
	}
	versions := map[string]uint64{}
	for i, u := range h.Updates {
		if !keeps(h.KeepUpdates, i) {
			continue
		}
		w.At(start.Add(u.At), func() { u.move(w, versions) })
	}
	// A last update of each config, when all is quiet, so that nothing hides behind
	// an update that nobody heard of.
	w.At(start.Add(hostilePhase+20*time.Second), func() {
		for _, config := range slices.Sorted(maps.Keys(versions)) {
			Update{Config: config, Body: 200}.move(w, versions)
		}
	})
}

func (u Update) move(w *world.World, versions map[string]uint64) {
	last := versions[u.Config]
	c := world.Change{Config: u.Config, Version: last + 1}
	switch {
	case u.Back && last > 1:
		c.Version = last - 1
	case u.Percent > 0 && last > 0:
		c = world.Change{Config: u.Config, Version: last, Candidate: last + 1, Wave: record.Wave{Share: uint16(u.Percent) * 100}}
	}
	if newest := max(c.Version, c.Candidate); newest > last {
		versions[u.Config] = newest
		w.SetBodySize(record.VersionKey{Config: u.Config, Version: newest}, u.Body)
	}
	w.Move(c)
}

func keeps(kept []int, i int) bool { return kept == nil || slices.Contains(kept, i) }

// Shrink leaves faults and updates out, one after another, for as long as the
// history still breaks an invariant.
func (h *History) Shrink() *History {
	best := *h
	best.Keep, best.KeepUpdates = numbers(h.Keep, len(h.Faults)), numbers(h.KeepUpdates, len(h.Updates))
	for _, list := range []*[]int{&best.Keep, &best.KeepUpdates} {
		for i := len(*list) - 1; i >= 0; i-- {
			whole := *list
			*list = slices.Delete(slices.Clone(whole), i, i+1)
			if out, err := best.Run(false); err != nil || len(out.Violations) == 0 {
				*list = whole
			}
		}
	}
	return &best
}

func numbers(kept []int, n int) []int {
	if kept != nil {
		return slices.Clone(kept)
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// Command is the command line that runs the history again.
func (h *History) Command() string {
	s := fmt.Sprintf("banyan simulate fuzz --seed %d", h.Seed)
	if h.Keep != nil {
		s += " --faults " + joined(h.Keep)
	}
	if h.KeepUpdates != nil {
		s += " --updates " + joined(h.KeepUpdates)
	}
	return s + " --trace"
}

func joined(list []int) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
}

// Describe tells the story that the history makes: the fleet, and what is done to it.
func (h *History) Describe() (lines []string) {
	lines = append(lines, fmt.Sprintf("fleet: %v agents in %v, fan-out %d, loss %.1f%%, jitter %.0f%%, links idle out after %s",
		h.Config.Agents, h.Config.Network.Matrix.Regions, h.Config.Fanout, 100*h.Config.Network.Loss, 100*h.Config.Network.Jitter, h.Config.Idle.Round(time.Millisecond)))
	for i, f := range h.Faults {
		if keeps(h.Keep, i) {
			lines = append(lines, fmt.Sprintf("fault %d at %.3fs: %s", i, (h.Config.Join+2*time.Second+f.At).Seconds(), f))
		}
	}
	for i, u := range h.Updates {
		if keeps(h.KeepUpdates, i) {
			what := "new version"
			switch {
			case u.Back:
				what = "rollback"
			case u.Percent > 0:
				what = fmt.Sprintf("candidate for %d%%", u.Percent)
			}
			lines = append(lines, fmt.Sprintf("update %d at %.3fs: %s: %s", i, (h.Config.Join+2*time.Second+u.At).Seconds(), u.Config, what))
		}
	}
	return lines
}
