package scenario

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"banyan/internal/quantity"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
	"banyan/simulator/world"
)

// RolloutDef is a version that goes out by a plan, and what is wrong with it.
type RolloutDef struct {
	At          quantity.Duration  `yaml:"at"`
	Config      string             `yaml:"config"`
	Waves       []quantity.Percent `yaml:"waves"`       // of the fleet, growing
	Bake        quantity.Duration  `yaml:"bake"`        // how long a wave must be well before the next
	MaxFailures quantity.Percent   `yaml:"maxFailures"` // of a wave; more roll back
	Sequential  bool               `yaml:"sequential"`  // one region after the other
	Refusing    quantity.Percent   `yaml:"refusing"`    // of the hosts: their check command refuses the version
	Breaking    quantity.Percent   `yaml:"breaking"`    // of the hosts that run it: their health shows it after a while
	After       quantity.Duration  `yaml:"after"`       // how long after
	Look        quantity.Duration  `yaml:"look"`        // time between two looks at hosts' health; default 5s
	Body        quantity.Size      `yaml:"body"`
}

// healthGate is the gate by which what monitoring sees of hosts comes into a rollout.
const healthGate = "health"

// Plan is the plan that the definition describes.
func (d *RolloutDef) Plan(regions []string) (rollout.Plan, error) {
	p := rollout.Plan{Gates: rollout.Gates{MinSuccess: 1 - d.MaxFailures}}
	if d.Breaking > 0 {
		p.Gates.Webhooks = []rollout.Webhook{{Name: healthGate, URL: "http://health", Every: d.look(), Limit: quantity.Duration(time.Minute)}}
	}
	for _, share := range d.Waves {
		p.Waves = append(p.Waves, rollout.Wave{Share: share, Bake: d.Bake})
	}
	if d.Sequential {
		for _, region := range regions {
			p.Regions = append(p.Regions, []string{region})
		}
	}
	return p, p.Validate()
}

func (d *RolloutDef) look() quantity.Duration {
	if d.Look > 0 {
		return d.Look
	}
	return quantity.Duration(5 * time.Second)
}

func (d *RolloutDef) check() error {
	if err := record.ValidateConfig(d.Config); err != nil {
		return err
	}
	if len(d.Waves) == 0 {
		return fmt.Errorf("%w: rollout of %s has no waves", record.ErrInvalid, d.Config)
	}
	if _, err := d.Plan(nil); err != nil {
		return fmt.Errorf("rollout of %s: %w", d.Config, err)
	}
	return nil
}

// RolloutResult is how a rollout went.
type RolloutResult struct {
	Config     string `json:"config"`
	Plan       string `json:"plan"`
	Status     string `json:"status"`
	RolledBack bool   `json:"rolled_back"`
	Why        string `json:"why,omitempty"`
	Reached    string `json:"reached"` // the last wave
	Refused    int    `json:"refused"` // hosts whose check refused it
	Exposed    int    `json:"exposed"` // hosts that ran it
	// ExposedShare of the fleet ran it.
	ExposedShare float64 `json:"exposed_share"`
	// DetectSeconds is from the first host that ran or refused it to the decision.
	DetectSeconds float64 `json:"detect_s"`
	// RecoverySeconds is from the decision to the last exposed host's return.
	RecoverySeconds float64 `json:"recovery_s"`
	Seconds         float64 `json:"duration_s"` // from the start to the end, or to the recovery
	Steps           int     `json:"steps"`      // transactions of the controller
}

// censusPace is the time between two censuses of a coordinator. In production each head
// carries a census, and DefaultHeadInterval is 3 s.
const censusPace = 3 * time.Second

// simulated is a rollout under way: the controller that a coordinator runs, and what is
// wrong with the version.
type simulated struct {
	r    *run
	def  RolloutDef
	rand *rand.Rand
	stop func() // removes the rollout's watcher

	driver  *rollout.Driver // nil before begin
	pace    rollout.Pace
	tracker *rollout.Tracker
	boots   uint32 // the leader's boot count when tracker was made
	upSince step.Time
	looked  step.Time // time of the last look at the hosts' health
	health  rollout.Verdict

	version uint64 // the version that rolls out; 0 before begin

	began, first, decided, recovered, done step.Time
	steps                                  int
	refusing, refused                      map[int32]bool
	running, exposed, broken               map[int32]bool
}

// startRollout arranges a rollout at its time.
func startRollout(r *run, def RolloutDef, n int) *simulated {
	o := &simulated{r: r, def: def, rand: rand.New(rand.NewPCG(r.w.Config().Seed, uint64(n)+0x726f6c6c)), refusing: map[int32]bool{},
		refused: map[int32]bool{}, running: map[int32]bool{}, exposed: map[int32]bool{}, broken: map[int32]bool{}}
	for i := range r.w.Agents() {
		if o.rand.Float64() < float64(def.Refusing) {
			o.refusing[i] = true
		}
	}
	w := r.w
	accepts := func(i int32, v record.VersionKey) bool {
		if v.Config == def.Config && v.Version == o.version && v.Version != 0 && o.refusing[i] {
			o.refused[i] = true
			o.touch()
			return false
		}
		return true
	}
	o.stop = w.Watch(world.Watcher{Applied: o.applied, Leader: o.hear, Accepts: accepts})
	w.At(r.Start.Add(time.Duration(def.At)), o.begin)
	return o
}

// begin starts the rollout over what the config's pointers name now.
func (o *simulated) begin() {
	w := o.r.w
	version, pointers, agents := uint64(0), map[string]record.Pointer{}, map[string]int{}
	for _, region := range w.Config().Network.Matrix.Regions {
		if a := w.Current(o.def.Config, region); a != nil {
			pointers[region] = a.Pointer
		} else {
			pointers[region] = record.Pointer{}
		}
		agents[region] = w.Audience(region)
		version = max(version, w.NewestVersion(o.def.Config, region))
	}
	version++
	if o.def.Body > 0 {
		w.SetBodySize(record.VersionKey{Config: o.def.Config, Version: version}, int64(o.def.Body))
	}
	var state rollout.State
	plan, err := o.def.Plan(w.Config().Network.Matrix.Regions)
	if err == nil {
		state, err = rollout.Start(1, o.def.Config, version, plan, pointers, agents, "simulator", "", o.wall())
	}
	if err != nil {
		o.r.note(fmt.Sprintf("rollout of %s: %s", o.def.Config, err), true)
		return
	}
	o.driver = rollout.NewDriver(state, time.Duration(w.Now()))
	o.version = version
	o.began = w.Now()
	o.wake()
	o.tick()
	o.census()
}

// wall is the time that histories show.
func (o *simulated) wall() time.Time { return time.Unix(0, int64(o.r.w.Now())).UTC() }

// tick wakes the controller at regular intervals.
func (o *simulated) tick() {
	if !o.driver.Over() {
		o.wake()
		o.r.w.At(o.r.w.Now().Add(rollout.Tick), o.tick)
	}
}

// census has every coordinator count its agents now and then, as heads make a real one do.
func (o *simulated) census() {
	if o.driver.Over() {
		return
	}
	w := o.r.w
	for i := range w.Regions() {
		if !w.Host(int32(i)).Down() {
			w.Census(int32(i))
		}
	}
	w.At(w.Now().Add(censusPace), o.census)
}

// hear takes what reaches the leader.
func (o *simulated) hear(out *step.Output) {
	o.restart()
	switch out.Op {
	case step.OpAcked:
		entries := out.Message.(*wire.Ack).Entries
		for i := range entries {
			o.tracker.Acked(&entries[i])
		}
	case step.OpCensus:
		o.tracker.Counted(out.Name, out.Region, out.Message.(*wire.Census), o.wall())
	}
	if o.began != 0 {
		o.wake()
	}
}

// restart loses what a leader that died had in memory.
func (o *simulated) restart() {
	w := o.r.w
	boots := w.Host(0).Boots()
	if o.tracker != nil && o.boots == boots {
		return
	}
	o.boots = boots
	o.tracker = rollout.NewTracker()
	o.upSince = w.Now()
	if o.driver != nil {
		o.driver.Restart(time.Duration(w.Now()))
	}
}

// wake arranges for a step of the controller.
func (o *simulated) wake() {
	if o.driver.Over() {
		return
	}
	due, first := o.pace.Wake(time.Duration(o.r.w.Now()))
	if first {
		o.r.w.At(step.Time(due), o.step)
	}
}

// step decides, and sends the transaction on its way to the store's quorum.
func (o *simulated) step() {
	w := o.r.w
	now := time.Duration(w.Now())
	if !o.pace.Due(now) || w.Host(0).Down() || o.driver.Over() {
		return
	}
	o.restart()
	if o.driver.Writing() {
		return
	}
	before := o.driver.State().Status
	next, moves, changed := o.driver.Step(now, o.view())
	if next.Status == rollout.Returning && before != rollout.Returning {
		o.decided = w.Now()
		o.recovered = w.Now()
		o.r.note(fmt.Sprintf("rollout of %s: rolled back: %s", o.def.Config, next.Why), true)
	}
	if !changed {
		return
	}
	boots := o.boots
	w.At(w.Now().Add(w.Config().Commit()), func() {
		if w.Host(0).Down() || w.Host(0).Boots() != boots {
			return // the transaction died with its writer
		}
		o.commit(moves)
	})
}

// commit stores the state of the transaction in flight and moves its pointers. A new wave
// always moves pointers, so a note for every step with moves names every wave.
func (o *simulated) commit(moves []rollout.Move) {
	o.driver.Committed()
	o.steps++
	for _, p := range moves {
		o.r.w.CommitPointer(p)
	}
	stored := o.driver.Stored()
	if len(moves) > 0 {
		o.r.note(fmt.Sprintf("rollout of %s: %s", o.def.Config, stored.Title()), false)
	}
	if stored.Status.Over() {
		o.done = o.r.w.Now()
		return
	}
	o.wake()
}

func (o *simulated) view() rollout.View {
	w := o.r.w
	state := o.driver.State()
	v := rollout.View{Now: o.wall(), Regions: map[string]rollout.Region{}, Uptime: time.Duration(w.Now() - o.upSince),
		Answers: map[string]rollout.Answer{healthGate: {Verdict: o.look(state.Asks()), Detail: "hosts are not well"}}}
	for region, s := range state.Regions {
		p := record.Pointer{Config: o.def.Config, Region: region}
		if a := w.Current(o.def.Config, region); a != nil {
			p = a.Pointer
		}
		v.Regions[region] = o.tracker.Region(p, s.Began)
	}
	return v
}

// look returns the verdict of the health gate. While the gate is asked, it looks at the
// hosts' health at intervals, as monitoring does.
func (o *simulated) look(asked bool) rollout.Verdict {
	if !asked {
		o.health, o.looked = rollout.Unknown, o.r.w.Now()
		return o.health
	}
	if now := o.r.w.Now(); now-o.looked >= step.Time(o.def.look()) {
		o.looked = now
		if o.health = rollout.Pass; float64(len(o.broken)) > float64(o.def.MaxFailures)*float64(len(o.running)) {
			o.health = rollout.Fail
		}
	}
	return o.health
}

// applied hears of every effect: hosts take the version up, and leave it.
func (o *simulated) applied(a world.Applied) {
	if a.Config != o.def.Config || o.began == 0 {
		return
	}
	if a.Version != o.version {
		if o.running[a.Host] {
			delete(o.running, a.Host)
			delete(o.broken, a.Host)
			if o.decided != 0 && len(o.running) == 0 {
				o.recovered = o.r.w.Now()
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
		o.r.w.At(o.r.w.Now().Add(time.Duration(o.def.After)), func() {
			if o.running[a.Host] {
				o.broken[a.Host] = true
			}
		})
	}
}

// touch notes the first effect of the version.
func (o *simulated) touch() {
	if o.first == 0 {
		o.first = o.r.w.Now()
	}
}

func (o *simulated) result() RolloutResult {
	var stored rollout.State
	if o.driver != nil {
		stored = o.driver.Stored()
	}
	all := float64(max(o.r.w.Hosts()-o.r.w.Regions(), 1))
	out := RolloutResult{Config: o.def.Config, Plan: o.def.title(), Status: string(stored.Status), Why: stored.Why,
		RolledBack: o.decided != 0, Refused: len(o.refused), Exposed: len(o.exposed), ExposedShare: float64(len(o.exposed)) / all,
		Reached: o.def.Waves[stored.Wave].String(), Steps: o.steps}
	end := max(o.done, o.recovered)
	if o.decided != 0 {
		out.DetectSeconds = time.Duration(o.decided - o.first).Seconds()
		out.RecoverySeconds = time.Duration(o.recovered - o.decided).Seconds()
		end = o.recovered
	}
	out.Seconds = time.Duration(max(end, o.began) - o.began).Seconds()
	return out
}

// title shows a plan in a few words.
func (d *RolloutDef) title() string {
	var waves []string
	for _, wave := range d.Waves {
		waves = append(waves, wave.String())
	}
	s := strings.Join(waves, " → ")
	if d.Sequential {
		s += ", region by region"
	}
	bake := time.Duration(d.Bake).String()
	if whole, ok := strings.CutSuffix(bake, "m0s"); ok {
		bake = whole + "m"
	}
	return fmt.Sprintf("%s, baking %s", s, bake)
}
