package hostile

import (
	"maps"
	"slices"
	"time"

	"banyan/mesh/step"
	"banyan/record"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// History is made to break an invariant: a small fleet, and updates and faults of every
// kind at random moments. Then follows a quiet phase, at the end of which every agent must
// be current. A history is a function of its seed, and of the faults and updates that are
// left out.
type History struct {
	Seed    uint64
	Config  world.Config
	Faults  []world.Fault
	Updates []Update
	// Hostile and Quiet are the lengths of the phases. Look is the time between two looks of the referee
	// at what the leaders say.
	Hostile, Quiet, Look time.Duration
	// Days is the number of days of a history that NewLong made; 0 for another.
	Days int
	// Keep and KeepUpdates are the numbers of the faults and updates that happen; nil
	// means all.
	Keep, KeepUpdates []int
}

// Update is a move of a config's pointers.
type Update struct {
	// At is the time since the start of the hostile phase.
	At     time.Duration
	Config string
	// Back moves the config to an older version.
	Back bool
	// Delete deletes the config.
	Delete bool
	// Last is true if the config is not updated in the quiet phase: it stays as this update leaves it.
	Last bool
	// Percent is the share of a candidate's wave; 0 means every host at once.
	Percent uint8
	// Body is the size of the version in bytes.
	Body int64
}

// Outcome is the result of a history.
type Outcome struct {
	Seed       uint64
	Violations []string
	// History is a hash of every effect in order.
	History string
	Events  uint64
	Effects uint64
	// Forgotten is the number of times that an agent forgot a deletion.
	Forgotten int
	// Trace holds the events in words if Run was asked for them.
	Trace []string
}

// start returns the virtual time at which the hostile phase begins.
func (h *History) start() time.Duration { return h.Config.Join + 2*time.Second }

// Run runs the history. If trace is true, the outcome has a trace.
func (h *History) Run(trace bool) (Outcome, error) {
	w, err := world.New(h.Config)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Seed: h.Seed}
	if trace {
		w.Trace(func(line string) { out.Trace = append(out.Trace, line) })
	}
	meter := measure.NewMeter(w)
	referee := newReferee(w)
	w.Boot()
	w.BeginHeads()
	w.BeginForgetting()
	start := step.Time(h.start())
	h.schedule(w, start)
	h.watch(w, start, referee)
	w.Run(start.Add(h.Hostile + h.Quiet))
	referee.atRest()
	out.Violations = referee.violations
	out.History = meter.History()
	out.Events = w.Events()
	out.Effects = meter.Effects()
	out.Forgotten = referee.forgotten
	if trace {
		for _, v := range referee.violations {
			out.Trace = append(out.Trace, "VIOLATION "+v)
		}
	}
	return out, nil
}

// lastUpdate is the time, since the start of the quiet phase, of the last update of each
// config. Without that update, an earlier update that reached nobody could hide a fault.
const lastUpdate = 35 * time.Second

// schedule schedules the faults and updates that are kept.
func (h *History) schedule(w *world.World, start step.Time) {
	for i, f := range h.Faults {
		if keeps(h.Keep, i) {
			w.Strike(f, start, i, func(string) {})
		}
	}
	lives := map[string]bool{} // by config: whether it is updated once more in the quiet phase
	for i, u := range h.Updates {
		if keeps(h.KeepUpdates, i) {
			w.At(start.Add(u.At), func() {
				lives[u.Config] = !u.Last
				for leader := range w.Leaders() {
					u.move(w, leader)
				}
			})
		}
	}
	w.At(start.Add(h.Hostile+lastUpdate), func() {
		for _, config := range slices.Sorted(maps.Keys(lives)) {
			if lives[config] {
				Update{Config: config, Body: 200}.move(w, 0)
			}
		}
	})
}

// countBefore is the time before a look at which the coordinators count their agents, too. The leader
// does not speak of a region whose last census is old.
const countBefore = 2 * time.Second

// settles returns the time after a fault until a moment is quiet: a report of a changed file may
// be lost with a link that is dead, and is repeated after world.DriftWatch.
func (h *History) settles() time.Duration {
	return h.Config.Idle + world.DriftWatch + 5*time.Second
}

// watch makes every coordinator count its agents, and the referee compare what the leaders say
// with what the hosts run, once in a while.
func (h *History) watch(w *world.World, start step.Time, r *referee) {
	count := func() {
		for i := range int32(w.Regions()) {
			if !w.Host(i).Down() {
				w.Census(i)
			}
		}
	}
	for at := h.Look; at < h.Hostile+h.Quiet; at += h.Look {
		if h.Look > countBefore {
			w.At(start.Add(at-countBefore), count)
		}
		w.At(start.Add(at), func() {
			count()
			r.judgeClaims(h.quiet(at))
			r.judgeGhosts()
		})
	}
}

// quiet reports whether nothing has gone wrong, and nothing was updated, for a while before a
// moment. A copy of the store, and a lie that never ends, is no unrest: the leaders must tell
// the truth all the same.
func (h *History) quiet(at time.Duration) bool {
	settles := h.settles()
	near := func(from, until time.Duration) bool { return from <= at && at < until+settles }
	for i, f := range h.Faults {
		if !keeps(h.Keep, i) || f.For == 0 {
			continue
		}
		calm := f.Kind == world.FaultRestore && f.Careless || f.Kind == world.FaultRival
		switch {
		case calm && (near(f.At, f.At) || near(f.At+f.For, f.At+f.For)):
			return false
		case !calm && near(f.At, f.At+f.For):
			return false
		}
	}
	for i, u := range h.Updates {
		if keeps(h.KeepUpdates, i) && near(u.At, u.At) {
			return false
		}
	}
	return !near(h.Hostile+lastUpdate, h.Hostile+lastUpdate)
}

// move performs the update at a leader.
func (u Update) move(w *world.World, leader int32) {
	last := w.LastVersion(leader, u.Config)
	c := world.Change{Config: u.Config, Version: last + 1, Leader: leader}
	switch {
	case u.Delete && last > 0:
		c.Version = 0
		c.Deleted = true
	case u.Back && last > 1:
		c.Version = last - 1
	case u.Percent > 0 && last > 0:
		c.Version = last
		c.Candidate = last + 1
		c.Wave = record.Wave{Share: uint16(u.Percent) * 100}
	}
	if newest := max(c.Version, c.Candidate); newest > last {
		w.SetBodySize(w.Version(leader, u.Config, newest), u.Body)
	}
	w.Move(c)
}
