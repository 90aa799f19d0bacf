package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"banyan/internal/quantity"
	"banyan/record"
)

const (
	// checkpoint is the time within a part after which a step without other changes is
	// written, of a rollout of up to checkpointRegions regions. It is longer for more regions, because
	// the state is larger. Less time than that is lost when the controller dies.
	checkpoint        = 5 * time.Second
	checkpointRegions = 10
	// maxStep is the maximum time that one step may add to a part. If more time passed
	// since the last step, the controller did not run in between.
	maxStep = 10 * time.Second
	// returnLimit is the maximum time to wait for hosts to go back.
	returnLimit = 2 * time.Minute
	// frozenPrefix begins the reason of a rollout that a freeze holds.
	frozenPrefix = "frozen: "
)

// Decide decides a step of the controller, given the view and the time since the last step.
// It returns the next state and the pointers to move. changed reports whether the caller
// has to write both; if not, the caller keeps next in memory.
func Decide(s State, v View, elapsed time.Duration) (next State, moves []Move, changed bool) {
	if s.Status.Over() || s.Status == Waiting {
		return s, nil, false
	}
	n := s.clone()
	d := &decision{judge: judge{State: &n, view: v}}
	d.follow()
	if d.overtaken() {
		return n, nil, true
	}
	d.expose()
	d.count()
	elapsed = min(max(elapsed, 0), maxStep)
	switch n.Status {
	case Returning:
		n.Spent += elapsed
		d.awaitReturn()
	case Running:
		d.step(elapsed)
	case Paused:
		d.watch(elapsed)
	}
	every := checkpoint * time.Duration(max(1, len(n.Regions)/checkpointRegions))
	due := n.Spent/every != s.Spent/every || n.Short/every != s.Short/every
	return n, d.moves, d.changed || due
}

// decision is a step in the making: the next state and the moves so far.
type decision struct {
	judge
	moves   []Move
	changed bool
}

// say adds a line to the history.
func (d *decision) say(format string, args ...any) {
	d.note(d.view.Now, fmt.Sprintf(format, args...))
	d.changed = true
}

// follow takes over the positions of pointers that were issued anew because a new term began. Such a
// pointer has the content that the rollout wrote, at a later epoch.
func (d *decision) follow() {
	var anew []string
	for region, r := range d.Regions {
		seen := d.view.Regions[region]
		if r.Began != 0 && r.Term == 0 && seen.Epoch == r.Epoch {
			r.Term = seen.Term
		}
		if !r.Left && seen.Epoch > r.Epoch && seen.Content == r.Content {
			anew = append(anew, region)
		}
	}
	slices.Sort(anew)
	for _, region := range anew {
		seen := d.view.Regions[region]
		d.Regions[region].Epoch = seen.Epoch
		d.say("the pointer of region %s was issued anew, at epoch %d of term %d", region, seen.Epoch, seen.Term)
	}
}

// overtaken reports whether another writer has moved a pointer of the rollout. If so, it
// pauses the rollout.
func (d *decision) overtaken() bool {
	if d.Status == Paused {
		return false
	}
	lost := d.lost()
	if len(lost) == 0 {
		return false
	}
	d.pause(fmt.Sprintf("the pointer of region %s was moved by another hand, to epoch %d",
		lost[0], d.view.Regions[lost[0]].Epoch))
	return true
}

// lost returns the regions of the rollout whose pointer another writer has moved, sorted.
func (d *decision) lost() (lost []string) {
	for region, r := range d.Regions {
		if r.touched() && d.view.Regions[region].Epoch != r.Epoch {
			lost = append(lost, region)
		}
	}
	slices.Sort(lost)
	return lost
}

func (d *decision) pause(why string) {
	d.Status = Paused
	d.Vacant = false
	d.Why = why
	d.say("paused: %s", why)
}

// step goes on with the part in progress. A frozen rollout does not go forward, but is taken
// back if a gate fails.
func (d *decision) step(elapsed time.Duration) {
	d.noteFreeze()
	frozen := d.view.Frozen != ""
	if d.Part == "" {
		if !frozen {
			d.enterGroup()
		}
		return
	}
	if d.failed(elapsed) || frozen {
		return
	}
	d.Spent += elapsed
	if why := d.vacant(); why != "" {
		d.pause(why)
		d.Vacant = true
		return
	}
	if d.fill() {
		return
	}
	if d.passed() {
		d.recount()
		d.endPart()
		return
	}
	late := d.late()
	if late != "" {
		d.fail(late)
	}
}

// unpause makes a paused rollout run again, and adds a line to the history. The part in progress has
// its whole time again.
func (d *decision) unpause(format string, args ...any) {
	d.Status = Running
	d.Why = ""
	d.Vacant = false
	d.Spent = 0
	d.Short = 0
	d.Overdue = nil
	d.say(format, args...)
}

// watch judges a paused rollout: it does not go forward, but is taken back if a gate fails. If
// the plan says to pause, it is paused already. A pause for want of hosts ends when there are hosts.
func (d *decision) watch(elapsed time.Duration) {
	if d.Vacant && d.occupied() {
		d.unpause("goes on: %s has hosts", d.WaveName())
		return
	}
	if d.Part != "" && d.Plan.OnFailure != FailPause {
		d.failed(elapsed)
	}
}

// failed reports whether a gate fails. If so, it takes the version back or pauses.
func (d *decision) failed(elapsed time.Duration) bool {
	d.countOverdue(elapsed)
	d.countShort(elapsed)
	why := d.failure()
	if why == "" {
		return false
	}
	d.fail(why)
	return true
}

// countShort adds to the time for which too few of the hosts that ran the version run it.
func (d *decision) countShort(elapsed time.Duration) {
	switch {
	case d.view.Uptime < gathering:
		// The hosts are still being counted.
	case d.short() == "":
		d.Short = 0
	default:
		d.Short += elapsed
	}
}

// fill takes more hosts into the wave in the regions in which the wave has fewer hosts than its
// share of all, and reports whether it did. The leader may not know the names of all hosts when the
// wave begins, and without the names it does not know which places hold the share. A wave that has
// had its hosts once is not filled again: its bound stays when hosts come or go.
func (d *decision) fill() bool {
	var short []string
	if d.Part != Applying || d.promoted() || d.direct() {
		return false
	}
	for _, region := range d.group() {
		r := d.Regions[region]
		switch {
		case r.Filled || !d.present(region):
		case d.missing(region) > 0:
			short = append(short, region)
		default:
			r.Filled = true
			d.changed = true
		}
	}
	if len(short) == 0 {
		return false
	}
	for _, region := range short {
		d.widen(region)
	}
	d.move(short, d.waveMove(d.Wave))
	return true
}

// widen raises the bound of the wave in progress in a region. It raises the bound by the places of
// the hosts if those are known, else in steps.
func (d *decision) widen(region string) {
	r := d.Regions[region]
	seen := d.seen(region)
	want := seen.InWave + d.missing(region)
	exact := d.bound(region)
	if exact > r.Bound {
		r.Bound = exact
	} else {
		r.Bound = raised(r.Bound, seen.InWave, want)
	}
	d.say("%s has %d of the %s of %s and needs %d; it takes in more",
		d.WaveName(), seen.InWave, quantity.Of(seen.Agents, "host"), region, want)
}

// raised returns the bound to try after a bound with which a wave has in hosts and needs want.
func raised(bound uint32, in, want int) uint32 {
	next := 2 * uint64(bound)
	if in > 0 {
		next = min(next, uint64(bound)*uint64(want)/uint64(in))
	}
	return uint32(min(max(next, uint64(bound)+1), record.WavePlaces))
}

// noteFreeze writes the beginning and the end of a freeze into the history.
func (d *decision) noteFreeze() {
	held := frozenPrefix + d.view.Frozen
	switch {
	case d.view.Frozen != "" && d.Why != held:
		d.Why = held
		d.say("held: %s", held)
	case d.view.Frozen == "" && strings.HasPrefix(d.Why, frozenPrefix):
		d.Why = ""
		d.say("goes on")
	}
}

// countOverdue adds to the time for which queries and webhooks have given no answer.
func (d *decision) countOverdue(elapsed time.Duration) {
	if d.Part != Baking || d.promoted() || d.Plan.Immediate {
		return
	}
	for _, name := range d.Gates().names() {
		if d.view.Answers[name].Verdict != Unknown {
			delete(d.Overdue, name)
			continue
		}
		if d.Overdue == nil {
			d.Overdue = map[string]time.Duration{}
		}
		d.Overdue[name] += elapsed
	}
}

// endPart ends a part that passed and enters the next part.
func (d *decision) endPart() {
	if d.promoted() && d.Wave == len(d.Plan.Waves)-1 {
		for _, region := range d.group() {
			d.Regions[region].Waived = true
		}
	}
	switch d.Part {
	case Staging:
		d.say("staged in %s", strings.Join(d.group(), ", "))
		d.enterWave(0)
	case Applying:
		if d.Plan.Immediate {
			d.say("sent to %s without gates: this rollout waits for nobody", d.sent())
		} else {
			d.say("%s runs on %s", d.WaveName(), d.counts())
		}
		d.enter(Baking, d.Wave)
		if d.wave().Bake == 0 && !d.asksGates() {
			d.advance()
		}
	case Baking:
		d.say("%s baked for %s", d.WaveName(), d.Spent.Round(time.Millisecond))
		d.advance()
	}
}

// sent describes the hosts to which the pointers of the group go: those in the tree, or the regions if
// those are not counted.
func (d *decision) sent() string {
	hosts := 0
	for _, region := range d.group() {
		seen := d.seen(region)
		if !seen.Known {
			return strings.Join(d.group(), ", ")
		}
		hosts += seen.Placed
	}
	return quantity.Of(hosts, "host")
}

// count raises the numbers of agents that the part in progress expects to what is seen.
func (d *decision) count() {
	for _, region := range d.group() {
		r := d.Regions[region]
		seen := d.seen(region)
		if !seen.Known {
			continue
		}
		if r.Counted != r.Epoch {
			r.Counted = r.Epoch
			r.InWave = 0
			d.changed = true
		}
		r.Agents = max(r.Agents, seen.Placed)
		r.InWave = max(r.InWave, seen.InWave)
	}
}

// recount makes the next part expect the agents that are in the tree now.
func (d *decision) recount() {
	for _, region := range d.group() {
		seen := d.seen(region)
		if seen.Known {
			d.Regions[region].Agents = seen.Placed
		}
	}
}

// advance enters the next wave or the next group, or ends the rollout.
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

// enterGroup begins to stage the version in the regions of the group.
func (d *decision) enterGroup() {
	if d.Plan.Immediate || d.Plan.Stage.Skip {
		d.enterWave(0)
		return
	}
	d.enter(Staging, 0)
	d.move(d.group(), func(r *RegionState) Move {
		return Move{Baseline: r.Baseline, Candidate: d.ref(), Phase: record.PhaseStage}
	})
	d.say("staging in %s", strings.Join(d.group(), ", "))
}

// enterWave moves the pointers of the group to wave i.
func (d *decision) enterWave(i int) {
	d.enter(Applying, i)
	for _, region := range d.group() {
		r := d.Regions[region]
		r.Bound = max(r.Bound, d.bound(region)) // hosts of the waves before stay in
		r.Filled = false
	}
	d.move(d.group(), d.waveMove(i))
	if !d.Plan.Immediate {
		d.say("%s begins in %s", d.WaveName(), strings.Join(d.group(), ", "))
	}
}

// waveMove returns the shape of the pointers of wave i.
func (d *decision) waveMove(i int) func(r *RegionState) Move {
	return func(r *RegionState) Move {
		if d.direct() {
			return Move{Baseline: d.ref(), Phase: record.PhaseActive}
		}
		return Move{
			Baseline:  r.Baseline,
			Candidate: d.ref(),
			Wave:      d.Plan.waveIn(i, r.Bound),
			Phase:     record.PhaseActive,
		}
	}
}

// enter begins a part.
func (d *decision) enter(part Part, wave int) {
	d.Part = part
	d.Wave = wave
	d.Spent = 0
	d.Short = 0
	d.Skipped = false
	d.Overdue = nil
	d.changed = true
}

// finish makes the version the baseline of every region.
func (d *decision) finish() {
	if !d.direct() {
		d.move(d.touched(), func(*RegionState) Move { return Move{Baseline: d.ref(), Phase: record.PhaseActive} })
	}
	d.end(Done, "")
}

// end ends the rollout.
func (d *decision) end(status Status, why string) {
	d.Status = status
	d.Why = why
	d.Ended = d.view.Now
	if why != "" {
		why = ": " + why
	}
	d.say("%s%s", strings.ReplaceAll(string(status), "_", " "), why)
}

// move adds a move for the pointer of each region, as shape says.
func (d *decision) move(regions []string, shape func(r *RegionState) Move) {
	for _, region := range regions {
		r := d.Regions[region]
		p := shape(r)
		p.Config = d.Config
		p.Region = region
		p.Epoch = r.Epoch + 1
		if p.Baseline.IsZero() && p.Candidate.IsZero() {
			// The region ran nothing before. A pointer must name a version, so the
			// version becomes a candidate whose wave contains no agent.
			p.Candidate = d.ref()
			p.Wave = record.Wave{}
		}
		if r.Began == 0 {
			r.Began = p.Epoch
		}
		r.Epoch = p.Epoch
		r.Content = p.Content()
		d.moves = append(d.moves, p)
	}
	d.changed = true
}

// fail takes the version back or pauses, as the plan says, because a gate failed.
func (d *decision) fail(why string) {
	if d.Plan.OnFailure == FailPause {
		d.pause(why)
		return
	}
	d.goBack(RolledBack, why)
}

// goBack moves the pointers of the rollout to the version before. After the hosts have gone
// back, the status becomes end. A pointer that another writer has moved stays.
func (d *decision) goBack(end Status, why string) {
	d.Status = Returning
	d.End = end
	d.Why = why
	d.Spent = 0
	d.Decided = d.view.Now
	for _, region := range d.lost() {
		d.Regions[region].Left = true
		d.say("region %s stays as another hand left it, at epoch %d", region, d.view.Regions[region].Epoch)
	}
	d.say("taken back in %s: %s", strings.Join(d.touched(), ", "), why)
	d.move(d.touched(), func(r *RegionState) Move { return Move{Baseline: r.Baseline, Phase: record.PhaseActive} })
	if len(d.touched()) == 0 {
		d.end(end, why)
	}
}

// awaitReturn ends the rollout when every agent that counts has applied the epoch that takes
// the version back, or after returnLimit.
func (d *decision) awaitReturn() {
	back := 0
	agents := 0
	known := true
	for _, region := range d.touched() {
		seen := d.view.Regions[region]
		known = known && d.present(region)
		back += seen.Applied
		agents += seen.Agents
	}
	switch {
	case known && back >= agents:
		d.Recovered = d.view.Now
		d.say("%d of %s %s back", back, quantity.Of(agents, "host"), quantity.Is(back))
		d.end(d.End, d.Why)
	case d.Spent >= returnLimit:
		d.say("%d of %s %s known to be back; the others take the pointer up when they can",
			back, quantity.Of(agents, "host"), quantity.Is(back))
		d.end(d.End, d.Why)
	}
}

// expose raises Exposed to the number of agents that run the version now.
func (d *decision) expose() {
	if d.Part != Applying && d.Part != Baking || d.Status == Returning {
		return
	}
	running := 0
	for region, r := range d.Regions {
		if r.touched() {
			running += d.runs(d.seen(region))
		}
	}
	if running > d.Exposed {
		d.Exposed = running
		d.changed = true
	}
}
