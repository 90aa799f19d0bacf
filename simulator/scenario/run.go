package scenario

import (
	"slices"
	"time"

	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// Report is the result of a scenario: the measurements of the fleet, the timeline, and the
// results of the rollouts and assertions.
type Report struct {
	Scenario string `json:"scenario,omitempty"`
	About    string `json:"about,omitempty"`
	measure.Report
	Timeline   []Sample        `json:"timeline,omitempty"`
	Notes      []Note          `json:"events_on_timeline,omitempty"`
	Rollouts   []RolloutResult `json:"rollouts,omitempty"`
	Assertions []Assertion     `json:"assertions,omitempty"`
}

// Failed returns the assertions that do not hold.
func (r *Report) Failed() (failed []Assertion) {
	return slices.DeleteFunc(slices.Clone(r.Assertions), func(a Assertion) bool { return a.Holds })
}

// Sample is the state of the fleet at a moment.
type Sample struct {
	// Second is the time since the fleet had joined.
	Second   float64 `json:"s"`
	Coverage float64 `json:"coverage"`
	// Up is the share of agents that are up.
	Up float64 `json:"up"`
}

// Note is an event on the timeline.
type Note struct {
	Second float64 `json:"s"`
	Text   string  `json:"text"`
	Fault  bool    `json:"fault,omitempty"`
}

// run is a fleet that goes through a scenario.
type run struct {
	*measure.Run
	w        *world.World
	timeline []Sample
	notes    []Note
}

// begin makes a fleet and lets it join. running names the configs whose version 1 every
// host runs already.
func begin(cfg world.Config, running ...string) (*run, error) {
	r, err := measure.Begin(cfg, running...)
	if err != nil {
		return nil, err
	}
	return &run{Run: r, w: r.World}, nil
}

// second returns the virtual time since the fleet had joined, in seconds.
func (r *run) second() float64 { return time.Duration(r.w.Now() - r.Start).Seconds() }

// sample adds the state of the fleet to the timeline.
func (r *run) sample() {
	up, _ := r.w.Attached()
	agents := max(r.w.Hosts()-r.w.Regions(), 1)
	r.timeline = append(r.timeline, Sample{
		Second:   r.second(),
		Coverage: r.Meter.Coverage(),
		Up:       float64(up) / float64(agents),
	})
}

// note adds an event to the timeline. fault is true for a fault or a failed rollout.
func (r *run) note(text string, fault bool) {
	r.notes = append(r.notes, Note{r.second(), text, fault})
}
