package rollout

import (
	"fmt"
	"strings"
	"time"

	"banyan/record"
)

// View is what is seen of the fleet when a step is decided.
type View struct {
	Now     time.Time // for the history alone: nothing is decided by it
	Regions map[string]Region
	// Uptime is how long the controller has run: at first not all agents are counted.
	Uptime time.Duration
	// Frozen is why rollouts of the config must not go on; "": they may.
	Frozen string
	// Answers of gates that are asked elsewhere, by name, since the wave began to bake.
	Answers map[string]Answer
}

// Region is what is seen of a config in one region.
type Region struct {
	Epoch uint64 // of the pointer in the store
	// Known: the agents below were counted for that epoch.
	Known   bool
	Placed  int // subscribers that are attached
	Agents  int // those of them that count
	InWave  int // those of them that are to run the candidate
	Applied int // those that applied, or staged, the epoch
	Running int // those that run the candidate
	Failed  int // those that failed it, and have not recovered
	Skew    time.Duration
	Reasons []string // of some failures
}

// Verdict is a gate's answer.
type Verdict uint8

// The verdicts.
const (
	Unknown Verdict = iota
	Pass
	Fail
)

// Answer is the newest answer of a gate.
type Answer struct {
	Verdict Verdict
	Detail  string
}

// Move is a pointer to be written, conditional on the epoch before its own.
type Move = record.Pointer

const (
	// checkpoint is how much time of a part is worth a write of its own.
	checkpoint = 5 * time.Second
	// maxStep is how much time one step may claim: more, and the controller did not run.
	maxStep = 10 * time.Second
	// returnLimit is how long hosts are waited for on their way back.
	returnLimit = 2 * time.Minute
	// gathering is how long a controller that has just started waits for all agents that
	// were counted before to be counted again.
	gathering = 30 * time.Second
)

// Decide is one step of the controller: what to store and which pointers to move, given
// what is seen and the time since the last step. changed tells whether there is anything
// to write; if not, next is to be kept in memory all the same.
func Decide(s State, v View, elapsed time.Duration) (next State, moves []Move, changed bool) {
	if s.Status.Over() || s.Status == Waiting {
		return s, nil, false
	}
	n := s.clone()
	d := &decision{State: &n, view: v}
	if d.overtaken() {
		return n, nil, true
	}
	d.expose()
	d.count()
	elapsed = min(max(elapsed, 0), maxStep)
	switch n.Status {
	case Returning:
		n.Spent += elapsed
		d.returning()
	case Running:
		d.step(elapsed)
	}
	return n, d.moves, d.changed || n.Spent/checkpoint != s.Spent/checkpoint
}

// decision is a step in the making.
type decision struct {
	*State
	view    View
	moves   []Move
	changed bool
}

func (d *decision) say(format string, args ...any) {
	d.note(d.view.Now, fmt.Sprintf(format, args...))
	d.changed = true
}

// overtaken pauses a rollout whose pointer another hand has moved.
func (d *decision) overtaken() bool {
	if d.Status == Paused {
		return false
	}
	for _, region := range d.touched() {
		if seen := d.view.Regions[region]; seen.Epoch != d.Regions[region].Epoch {
			d.pause(fmt.Sprintf("the pointer of region %s was moved by another hand, to epoch %d", region, seen.Epoch))
			return true
		}
	}
	return false
}

func (d *decision) pause(why string) {
	d.Status, d.Why = Paused, why
	d.say("paused: %s", why)
}

// step goes on with the part under way. A frozen rollout goes no further, but is taken
// back if a gate fails.
func (d *decision) step(elapsed time.Duration) {
	switch held := "frozen: " + d.view.Frozen; {
	case d.view.Frozen != "" && d.Why != held:
		d.Why = held
		d.say("held: %s", held)
	case d.view.Frozen == "" && strings.HasPrefix(d.Why, "frozen: "):
		d.Why = ""
		d.say("goes on")
	}
	if d.Part == "" {
		if d.view.Frozen == "" {
			d.enterGroup()
		}
		return
	}
	if why := d.failure(elapsed); why != "" {
		d.fail(why)
		return
	}
	if d.view.Frozen != "" {
		return
	}
	d.Spent += elapsed
	if !d.passed() {
		d.timeout()
		return
	}
	d.recount()
	switch d.Part {
	case Staging:
		d.say("staged in %s", strings.Join(d.group(), ", "))
		d.enterWave(0)
	case Applying:
		d.say("%s runs on %s", d.WaveName(), d.counts())
		d.Part, d.Spent, d.Skipped, d.Overdue = Baking, 0, false, nil
		d.changed = true
		if d.wave().Bake == 0 && !d.asksGates() {
			d.advance()
		}
	case Baking:
		d.say("%s baked for %s", d.WaveName(), d.Spent.Round(time.Millisecond))
		d.advance()
	}
}

// count remembers how many agents there are.
func (d *decision) count() {
	for _, region := range d.group() {
		r, seen := d.Regions[region], d.seen(region)
		if !seen.Known {
			continue
		}
		if r.Counted != r.Epoch {
			r.Counted, r.InWave, d.changed = r.Epoch, 0, true
		}
		r.Agents, r.InWave = max(r.Agents, seen.Placed), max(r.InWave, seen.InWave)
	}
}

// recount lets the next part be judged by the agents that there are now.
func (d *decision) recount() {
	for _, region := range d.group() {
		if seen := d.seen(region); seen.Known {
			d.Regions[region].Agents = seen.Placed
		}
	}
}

// present tells whether the agents that were counted before are there.
func (d *decision) present(region string) bool {
	r, seen := d.Regions[region], d.seen(region)
	gone := d.Gates().MaxGone
	if d.view.Uptime < gathering {
		gone = 0
	}
	return seen.Known && seen.Placed >= needed(1-gone, r.Agents) && (r.Counted != r.Epoch || seen.InWave >= needed(1-gone, r.InWave))
}

// advance goes to the next wave, the next group, or the end.
func (d *decision) advance() {
	switch {
	case d.Wave+1 < len(d.Plan.Waves):
		d.enterWave(d.Wave + 1)
	case d.Group+1 < len(d.Plan.Regions):
		d.Group++
		d.enterGroup()
	default:
		d.finish()
	}
}

func (d *decision) enterGroup() {
	if d.Plan.Immediate || d.Plan.Stage.Skip {
		d.enterWave(0)
		return
	}
	d.enter(Staging, 0)
	d.move(d.group(), func(r *RegionState) Move {
		return Move{Baseline: r.Baseline, Candidate: d.Version, Phase: record.PhaseStage}
	})
	d.say("staging in %s", strings.Join(d.group(), ", "))
}

func (d *decision) enterWave(i int) {
	d.enter(Applying, i)
	d.move(d.group(), func(r *RegionState) Move {
		if d.direct() {
			return Move{Baseline: d.Version, Phase: record.PhaseActive}
		}
		return Move{Baseline: r.Baseline, Candidate: d.Version, Wave: d.Plan.wave(i), Phase: record.PhaseActive}
	})
	d.say("%s begins in %s", d.WaveName(), strings.Join(d.group(), ", "))
}

func (d *decision) enter(part Part, wave int) {
	d.Part, d.Wave, d.Spent, d.Skipped, d.Overdue = part, wave, 0, false, nil
	d.changed = true
}

// finish makes the version the baseline of every region.
func (d *decision) finish() {
	if !d.direct() {
		d.move(d.touched(), func(*RegionState) Move { return Move{Baseline: d.Version, Phase: record.PhaseActive} })
	}
	d.end(Done, "")
}

func (d *decision) end(status Status, why string) {
	d.Status, d.Why, d.Ended = status, why, d.view.Now
	if why != "" {
		why = ": " + why
	}
	d.say("%s%s", strings.ReplaceAll(string(status), "_", " "), why)
}

// move appends the pointers of regions, which are written with this step or not at all.
func (d *decision) move(regions []string, shape func(r *RegionState) Move) {
	for _, region := range regions {
		r := d.Regions[region]
		p := shape(r)
		p.Config, p.Region, p.Epoch = d.Config, region, r.Epoch+1
		if p.Baseline == 0 && p.Candidate == 0 { // nothing ran here before: a candidate of nobody
			p.Candidate, p.Wave = d.Version, record.Wave{}
		}
		if r.Began == 0 {
			r.Began = p.Epoch
		}
		r.Epoch = p.Epoch
		d.moves = append(d.moves, p)
	}
	d.changed = true
}

// fail does what the plan says about a failed gate.
func (d *decision) fail(why string) {
	if d.Plan.OnFailure == FailPause {
		d.pause(why)
		return
	}
	d.goBack(RolledBack, why)
}

// goBack moves every pointer of the rollout to what ran before.
func (d *decision) goBack(end Status, why string) {
	d.Status, d.End, d.Why, d.Spent, d.Decided = Returning, end, why, 0, d.view.Now
	for _, region := range d.touched() {
		if seen := d.view.Regions[region]; seen.Epoch != d.Regions[region].Epoch {
			d.Regions[region].Left = true
			d.say("region %s stays as another hand left it, at epoch %d", region, seen.Epoch)
		}
	}
	d.say("taken back in %s: %s", strings.Join(d.touched(), ", "), why)
	d.move(d.touched(), func(r *RegionState) Move { return Move{Baseline: r.Baseline, Phase: record.PhaseActive} })
	if len(d.touched()) == 0 {
		d.end(end, why)
	}
}

// returning waits until every host that counts has answered the epoch that takes the
// version back, or long enough.
func (d *decision) returning() {
	back, agents, known := 0, 0, true
	for _, region := range d.touched() {
		seen := d.view.Regions[region]
		known = known && d.present(region)
		back, agents = back+seen.Applied, agents+seen.Agents
	}
	switch {
	case known && back >= agents:
		d.Recovered = d.view.Now
		d.say("%d of %d hosts are back", back, agents)
		d.end(d.End, d.Why)
	case d.Spent >= returnLimit:
		d.say("%d of %d hosts are known to be back; the others take the pointer up when they can", back, agents)
		d.end(d.End, d.Why)
	}
}

// expose keeps the most agents that ran the version at once.
func (d *decision) expose() {
	running := 0
	if d.Part != Applying && d.Part != Baking || d.Status == Returning {
		return
	}
	for _, region := range d.touched() {
		if seen := d.view.Regions[region]; seen.Epoch == d.Regions[region].Epoch {
			running += d.runs(seen)
		}
	}
	if running > d.Exposed {
		d.Exposed, d.changed = running, true
	}
}
