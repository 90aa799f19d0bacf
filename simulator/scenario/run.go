package scenario

import (
	"slices"
	"time"

	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// Report is what a scenario found: the measurements of its fleet, and how its faults,
// rollouts and assertions went.
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
	Second   float64 `json:"s"` // since the run began
	Coverage float64 `json:"coverage"`
	Up       float64 `json:"up"` // share of the agents
}

// Note is something that happened, for the timeline.
type Note struct {
	Second float64 `json:"s"`
	Text   string  `json:"text"`
	Fault  bool    `json:"fault,omitempty"`
}

// run is a fleet on its way through a scenario.
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

func (r *run) note(text string, fault bool) {
	r.notes = append(r.notes, Note{r.second(), text, fault})
}
