package simulator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"banyan/mesh"
	"banyan/record"
)

// RolloutDef is a version that goes out in waves, and what is wrong with it.
type RolloutDef struct {
	At          Duration  `yaml:"at"`
	Config      string    `yaml:"config"`
	Waves       []Percent `yaml:"waves"`       // of the fleet, growing
	Bake        Duration  `yaml:"bake"`        // how long a wave must be well before the next
	MaxFailures Percent   `yaml:"maxFailures"` // of a wave; more roll back
	Refusing    Percent   `yaml:"refusing"`    // of the hosts: their check command refuses the version
	Breaking    Percent   `yaml:"breaking"`    // of the hosts that run it: they report a failure after a while
	After       Duration  `yaml:"after"`       // how long after
	Body        Size      `yaml:"body"`
}

func (d *RolloutDef) check() error {
	if err := record.ValidateConfig(d.Config); err != nil {
		return err
	}
	last := Percent(0)
	for _, wave := range d.Waves {
		if wave <= last {
			return fmt.Errorf("%w: rollout of %s: waves must grow", record.ErrInvalid, d.Config)
		}
		if _, exact := wave.Hundredths(); !exact {
			return fmt.Errorf("%w: rollout of %s: a wave of %s; hundredths of a percent are possible", record.ErrInvalid, d.Config, wave)
		}
		last = wave
	}
	if last != 1 {
		return fmt.Errorf("%w: rollout of %s: the last wave must be 100%%", record.ErrInvalid, d.Config)
	}
	return nil
}

// RolloutResult is how a rollout went.
type RolloutResult struct {
	Config     string `json:"config"`
	Plan       string `json:"plan"`
	RolledBack bool   `json:"rolled_back"`
	Reached    string `json:"reached"` // the last wave
	Refused    int    `json:"refused"` // hosts whose check refused it
	Exposed    int    `json:"exposed"` // hosts that ran it
	// ExposedShare of the fleet ran it.
	ExposedShare float64 `json:"exposed_share"`
	// DetectSeconds is from the first host that ran or refused it to the decision.
	DetectSeconds float64 `json:"detect_s"`
	// RecoverySeconds is from the decision to the last exposed host's return.
	RecoverySeconds float64 `json:"recovery_s"`
	Seconds         float64 `json:"duration_s"` // from the start to the last wave's end, or to the recovery
}

// rollout moves a config's pointers wave by wave and takes the version back when
// too many fail. It decides by what the acknowledgements say, as a coordinator does.
type rollout struct {
	r         *run
	def       RolloutDef
	rand      *rand.Rand
	version   uint64
	baseline  uint64
	wave      int
	began     mesh.Time
	waveAt    mesh.Time
	first     mesh.Time // the first effect of the version
	decided   mesh.Time
	recovered mesh.Time
	done      mesh.Time
	refusing  map[int32]bool
	running   map[int32]bool // hosts that run it now
	exposed   map[int32]bool
	failed    map[int32]bool // as reported
	back      bool
}

func startRollout(r *run, def RolloutDef, n int) *rollout {
	o := &rollout{r: r, def: def, rand: rand.New(rand.NewPCG(r.w.cfg.Seed, uint64(n)+0x726f6c6c)),
		refusing: map[int32]bool{}, running: map[int32]bool{}, exposed: map[int32]bool{}, failed: map[int32]bool{}}
	for i := range r.w.agents() {
		if o.rand.Float64() < float64(def.Refusing) {
			o.refusing[i] = true
		}
	}
	w := r.w
	before := w.accepts
	w.accepts = func(i int32, v mesh.VersionKey) bool {
		if v.Config == def.Config && v.Version == o.version && o.version != 0 && o.refusing[i] {
			o.report(i)
			return false
		}
		return before == nil || before(i, v)
	}
	w.watch.applied = append(w.watch.applied, o.applied)
	w.call(r.start.Add(time.Duration(def.At)), o.begin)
	return o
}

// begin starts the first wave over what the config's pointers name now.
func (o *rollout) begin() {
	w := o.r.w
	for _, region := range w.cfg.Network.Matrix.Regions {
		if a := w.current(o.def.Config, region); a != nil {
			o.baseline = a.Pointer.Baseline
		}
		o.version = max(o.version, w.store.newest[ackKey{o.def.Config, region}])
	}
	o.version++
	if o.def.Body > 0 {
		w.store.sizes[versionKey(o.def.Config, o.version)] = int64(o.def.Body)
	}
	o.began = w.now
	o.step()
}

// step opens the wave under way and arranges the gate behind it.
func (o *rollout) step() {
	wave := o.def.Waves[o.wave]
	o.waveAt = o.r.w.now
	o.r.note(fmt.Sprintf("rollout of %s: wave of %s", o.def.Config, wave), false)
	share, _ := wave.Hundredths()
	change := Change{Config: o.def.Config, Version: o.baseline, Candidate: o.version, Wave: record.Wave{Share: share}}
	if wave == 1 {
		change = Change{Config: o.def.Config, Version: o.version}
	}
	o.r.meter.move(change, false)
	at := o.wave
	o.r.w.call(o.r.w.now.Add(time.Duration(o.def.Bake)), func() {
		if o.back || o.wave != at {
			return
		}
		if o.wave++; o.wave < len(o.def.Waves) {
			o.step()
			return
		}
		o.wave--
		o.done = o.r.w.now
	})
}

// applied hears of every effect: hosts take the version up, and leave it.
func (o *rollout) applied(a Applied) {
	if a.Config != o.def.Config || o.version == 0 {
		return
	}
	if a.Version != o.version {
		if o.running[a.Host] {
			delete(o.running, a.Host)
			if o.back && len(o.running) == 0 {
				o.recovered = o.r.w.now
			}
		}
		return
	}
	o.touch()
	if o.running[a.Host] {
		return
	}
	o.running[a.Host], o.exposed[a.Host] = true, true
	if o.rand.Float64() < float64(o.def.Breaking) {
		o.r.w.call(o.r.w.now.Add(time.Duration(o.def.After)), func() {
			if o.running[a.Host] {
				o.report(a.Host)
			}
		})
	}
}

func (o *rollout) touch() {
	if o.first == 0 {
		o.first = o.r.w.now
	}
}

// report lets a host's failure travel to the leader, and the leader decide.
func (o *rollout) report(i int32) {
	o.touch()
	w := o.r.w
	way := w.oneWay(i, int32(w.hosts[i].region)) + w.oneWay(int32(w.hosts[i].region), 0)
	// Acknowledgements are gathered at each of the hops on the way up.
	const gathering = 25 * time.Millisecond
	w.call(w.now.Add(way+gathering*time.Duration(1+w.depthOf(i))), func() {
		if o.failed[i] {
			return
		}
		o.failed[i] = true
		o.judge()
	})
}

// depthOf is the number of hops from an agent to its coordinator.
func (w *World) depthOf(i int32) (hops int) {
	for at := i; !w.isRoot(at) && !w.hosts[at].down && hops < 64; hops++ {
		parent, ok := w.parentOf(at)
		if !ok {
			return hops
		}
		at = parent
	}
	return hops
}

// judge rolls back when more of the wave failed than may.
func (o *rollout) judge() {
	if o.back || o.done != 0 {
		return
	}
	all := float64(o.r.w.Hosts() - o.r.w.regions())
	allowed := float64(o.def.MaxFailures) * float64(o.def.Waves[o.wave]) * all
	if float64(len(o.failed)) <= allowed {
		return
	}
	o.back, o.decided = true, o.r.w.now
	o.recovered = o.decided
	o.r.note(fmt.Sprintf("rollout of %s: %d failures, rolled back", o.def.Config, len(o.failed)), true)
	o.r.meter.move(Change{Config: o.def.Config, Version: o.baseline}, true)
}

func (o *rollout) result() RolloutResult {
	all := float64(max(o.r.w.Hosts()-o.r.w.regions(), 1))
	out := RolloutResult{Config: o.def.Config, Plan: o.def.plan(), RolledBack: o.back, Exposed: len(o.exposed),
		ExposedShare: float64(len(o.exposed)) / all, Reached: o.def.Waves[o.wave].String()}
	for i := range o.failed {
		if o.refusing[i] {
			out.Refused++
		}
	}
	end := max(o.done, o.recovered, o.waveAt)
	out.Seconds = time.Duration(end - o.began).Seconds()
	if o.back {
		out.DetectSeconds = time.Duration(o.decided - o.first).Seconds()
		out.RecoverySeconds = time.Duration(o.recovered - o.decided).Seconds()
	}
	return out
}

// plan shows a rollout in a few words.
func (d *RolloutDef) plan() string {
	s := ""
	for i, wave := range d.Waves {
		if i > 0 {
			s += " → "
		}
		s += wave.String()
	}
	return fmt.Sprintf("%s, baking %s, at most %s failing", s, time.Duration(d.Bake), d.MaxFailures)
}

func versionKey(config string, version uint64) mesh.VersionKey {
	return mesh.VersionKey{Config: config, Version: version}
}

// parentOf is the host that an agent hangs on.
func (w *World) parentOf(i int32) (int32, bool) {
	who, ok := w.hosts[i].node.Parent()
	if !ok {
		return 0, false
	}
	for _, id := range slices.Backward(w.hosts[i].links) {
		if l := &w.links[id]; l.alive && w.hosts[l.remote].ident == who {
			return l.remote, true
		}
	}
	return 0, false
}
