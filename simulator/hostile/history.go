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
	start := step.Time(h.start())
	h.schedule(w, start)
	w.Run(start.Add(hostilePhase + quietPhase))
	referee.atRest()
	out.Violations = referee.violations
	out.History = meter.History()
	out.Events = w.Events()
	out.Effects = meter.Effects()
	if trace {
		for _, v := range referee.violations {
			out.Trace = append(out.Trace, "VIOLATION "+v)
		}
	}
	return out, nil
}

// lastUpdate is the time, since the start of the quiet phase, of the last update of each
// config. Without that update, an earlier update that reached nobody could hide a fault.
const lastUpdate = 20 * time.Second

// schedule schedules the faults and updates that are kept.
func (h *History) schedule(w *world.World, start step.Time) {
	for i, f := range h.Faults {
		if keeps(h.Keep, i) {
			w.Strike(f, start, i, func(string) {})
		}
	}
	versions := map[string]uint64{}
	for i, u := range h.Updates {
		if keeps(h.KeepUpdates, i) {
			w.At(start.Add(u.At), func() { u.move(w, versions) })
		}
	}
	w.At(start.Add(hostilePhase+lastUpdate), func() {
		for _, config := range slices.Sorted(maps.Keys(versions)) {
			Update{Config: config, Body: 200}.move(w, versions)
		}
	})
}

// move performs the update. versions holds the newest version of each config.
func (u Update) move(w *world.World, versions map[string]uint64) {
	last := versions[u.Config]
	c := world.Change{Config: u.Config, Version: last + 1}
	switch {
	case u.Back && last > 1:
		c.Version = last - 1
	case u.Percent > 0 && last > 0:
		c.Version = last
		c.Candidate = last + 1
		c.Wave = record.Wave{Share: uint16(u.Percent) * 100}
	}
	if newest := max(c.Version, c.Candidate); newest > last {
		versions[u.Config] = newest
		w.SetBodySize(world.Key(u.Config, newest), u.Body)
	}
	w.Move(c)
}
