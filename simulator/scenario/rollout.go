package scenario

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"banyan/internal/quantity"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
	"banyan/simulator/world"
)

// RolloutDef is a rollout in a scenario: a version, the plan of its rollout, and what is
// wrong with the version.
type RolloutDef struct {
	At     quantity.Duration `yaml:"at"`
	Config string            `yaml:"config"`
	// Waves are growing shares of the fleet; the last is 100%.
	Waves []quantity.Percent `yaml:"waves"`
	// Bake is how long a wave must be healthy before the next wave.
	Bake quantity.Duration `yaml:"bake"`
	// MaxFailures is the share of a wave above which failures cause a rollback.
	MaxFailures quantity.Percent `yaml:"maxFailures"`
	// Sequential rolls out one region after the other.
	Sequential bool `yaml:"sequential"`
	// Refusing is the share of hosts whose check command refuses the version.
	Refusing quantity.Percent `yaml:"refusing"`
	// Breaking is the share of hosts that the version makes unhealthy.
	Breaking quantity.Percent `yaml:"breaking"`
	// After is the time from the apply at a host to the moment at which the host becomes
	// unhealthy.
	After quantity.Duration `yaml:"after"`
	// Look is the time between two looks at the health of hosts; default 5s.
	Look quantity.Duration `yaml:"look"`
	Body quantity.Size     `yaml:"body"`
}

// healthGate is the name of the gate that reports the health of hosts to a rollout, as
// monitoring does.
const healthGate = "health"

// Plan returns the rollout's plan.
func (d *RolloutDef) Plan(regions []string) (rollout.Plan, error) {
	p := rollout.Plan{Gates: rollout.Gates{MinSuccess: 1 - d.MaxFailures}}
	if d.Breaking > 0 {
		p.Gates.Webhooks = []rollout.Webhook{{
			Name:  healthGate,
			URL:   "http://health",
			Every: d.look(),
			Limit: quantity.Duration(time.Minute),
		}}
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
		return fmt.Errorf("%w: rollout of %s has no waves", world.ErrInvalid, d.Config)
	}
	if _, err := d.Plan(nil); err != nil {
		return fmt.Errorf("rollout of %s: %w", d.Config, err)
	}
	return nil
}

// RolloutResult is the result of a rollout.
type RolloutResult struct {
	Config     string `json:"config"`
	Plan       string `json:"plan"`
	Status     string `json:"status"`
	RolledBack bool   `json:"rolled_back"`
	Why        string `json:"why,omitempty"`
	// Reached is the share of the last wave that began.
	Reached string `json:"reached"`
	// Refused counts the hosts whose check command refused the version.
	Refused int `json:"refused"`
	// Exposed counts the hosts that ran the version.
	Exposed int `json:"exposed"`
	// ExposedShare is the share of the fleet that ran the version.
	ExposedShare float64 `json:"exposed_share"`
	// DetectSeconds is the time from the first host that ran or refused the version to the
	// decision to roll back.
	DetectSeconds float64 `json:"detect_s"`
	// RecoverySeconds is the time from the decision to the return of the last host.
	RecoverySeconds float64 `json:"recovery_s"`
	// Seconds is the time from the start to the end, or to the return of the last host.
	Seconds float64 `json:"duration_s"`
	// Steps counts the transactions of the controller.
	Steps int `json:"steps"`
}

// censusPace is the time between two censuses of a coordinator. In production each head
// carries a census, and DefaultHeadInterval is 3 s.
const censusPace = 3 * time.Second

// simulated is a rollout in progress: the controller that a coordinator runs in production,
// and the hosts that the version breaks.
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

// startRollout schedules rollout number n of a run. The hosts that refuse the version follow
// from the seed and n.
func startRollout(r *run, def RolloutDef, n int) *simulated {
	o := &simulated{
		r:        r,
		def:      def,
		rand:     rand.New(rand.NewPCG(r.w.Config().Seed, uint64(n)+0x726f6c6c)),
		refusing: map[int32]bool{},
		refused:  map[int32]bool{},
		running:  map[int32]bool{},
		exposed:  map[int32]bool{},
		broken:   map[int32]bool{},
	}
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

// begin starts the rollout on top of the current pointers of the config.
func (o *simulated) begin() {
	w := o.r.w
	version := uint64(0)
	pointers := map[string]record.Pointer{}
	agents := map[string]int{}
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
		w.SetBodySize(world.Key(o.def.Config, version), int64(o.def.Body))
	}
	var state rollout.State
	plan, err := o.def.Plan(w.Config().Network.Matrix.Regions)
	if err == nil {
		state, err = rollout.Start(1, o.def.Config, world.Key(o.def.Config, version).Ref(), plan, pointers, agents, "simulator", "", o.wall())
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

// wall returns the virtual time as a time.Time.
func (o *simulated) wall() time.Time { return time.Unix(0, int64(o.r.w.Now())).UTC() }

// tick wakes the controller at regular intervals.
func (o *simulated) tick() {
	if !o.driver.Over() {
		o.wake()
		o.r.w.At(o.r.w.Now().Add(rollout.Tick), o.tick)
	}
}

// census makes every coordinator count its agents at intervals. In production a coordinator
// counts its agents with each head.
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

// hear handles acknowledgements and censuses that reach the leader.
func (o *simulated) hear(leader int32, out *step.Output) {
	if leader != 0 {
		return // a rival of the leader
	}
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

// restart resets the memory of the controller if the leader has restarted.
func (o *simulated) restart() {
	w := o.r.w
	boots := w.Host(0).Boots()
	if o.tracker != nil && o.boots == boots {
		return
	}
	o.boots = boots
	o.tracker = rollout.NewTracker()
	for _, a := range w.Pointers() {
		o.tracker.Moved(a.Pointer)
	}
	o.upSince = w.Now()
	if o.driver != nil {
		o.driver.Restart(time.Duration(w.Now()))
	}
}

// wake schedules a step of the controller.
func (o *simulated) wake() {
	if o.driver.Over() {
		return
	}
	due, first := o.pace.Wake(time.Duration(o.r.w.Now()))
	if first {
		o.r.w.At(step.Time(due), o.step)
	}
}

// step lets the controller decide, and begins the transaction that stores the decision.
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
		o.tracker.Moved(o.r.w.Current(p.Config, p.Region).Pointer)
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

// view returns what the controller knows of the fleet.
func (o *simulated) view() rollout.View {
	w := o.r.w
	state := o.driver.State()
	health := rollout.Answer{Verdict: o.look(state.Asks()), Detail: "hosts are not healthy"}
	v := rollout.View{
		Now:     o.wall(),
		Regions: map[string]rollout.Region{},
		Places:  o.places,
		Uptime:  time.Duration(w.Now() - o.upSince),
		Answers: map[string]rollout.Answer{healthGate: health},
	}
	for region, s := range state.Regions {
		p := record.Pointer{Config: o.def.Config, Region: region}
		if a := w.Current(o.def.Config, region); a != nil {
			p = a.Pointer
		}
		v.Regions[region] = o.tracker.Region(p, s.First(p))
	}
	return v
}

// places returns the places, in the order of waves, of the hosts of a region that are up and
// subscribe. In production a coordinator tells the leader which hosts are in its tree.
func (o *simulated) places(region string) []uint32 {
	w := o.r.w
	var places []uint32
	for i := w.Regions(); i < w.Hosts(); i++ {
		h := w.Host(int32(i))
		if h.Region() == region && !h.Down() && !h.RelayOnly() {
			places = append(places, record.WavePlace(o.def.Config, h.Name()))
		}
	}
	slices.Sort(places)
	return places
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
		o.health = rollout.Pass
		if float64(len(o.broken)) > float64(o.def.MaxFailures)*float64(len(o.running)) {
			o.health = rollout.Fail
		}
	}
	return o.health
}

// applied is called for every effect. It follows which hosts run the version.
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
	o.running[a.Host] = true
	o.exposed[a.Host] = true
	if o.rand.Float64() < float64(o.def.Breaking) {
		o.r.w.At(o.r.w.Now().Add(time.Duration(o.def.After)), func() {
			if o.running[a.Host] {
				o.broken[a.Host] = true
			}
		})
	}
}

// touch records the time of the first effect of the version.
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
	out := RolloutResult{
		Config:       o.def.Config,
		Plan:         o.def.title(),
		Status:       string(stored.Status),
		RolledBack:   o.decided != 0,
		Why:          stored.Why,
		Reached:      o.def.Waves[stored.Wave].String(),
		Refused:      len(o.refused),
		Exposed:      len(o.exposed),
		ExposedShare: float64(len(o.exposed)) / all,
		Steps:        o.steps,
	}
	end := max(o.done, o.recovered)
	if o.decided != 0 {
		out.DetectSeconds = time.Duration(o.decided - o.first).Seconds()
		out.RecoverySeconds = time.Duration(o.recovered - o.decided).Seconds()
		end = o.recovered
	}
	out.Seconds = time.Duration(max(end, o.began) - o.began).Seconds()
	return out
}

// title describes the plan in a few words: "1% → 100%, baking 1m".
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
