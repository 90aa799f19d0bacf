package rollout

import "time"

const (
	// Tick is the longest time between two wakes. A bake ends, a gate times out and a hold
	// expires without any event that would wake the controller.
	Tick = 250 * time.Millisecond
	// Gather is the time from a wake to the step. Acknowledgements that arrive together
	// are judged in one step.
	Gather = 5 * time.Millisecond
)

// Pace tells a controller when to decide the next step. The caller calls Wake every Tick
// and whenever the view of the fleet changes. Times are as for Driver.
type Pace struct {
	due   time.Duration
	awake bool
}

// Wake asks for a step and returns the time of the step. first reports whether the caller has
// to arrange for the step; if not, an earlier call asked for the step.
func (p *Pace) Wake(now time.Duration) (due time.Duration, first bool) {
	if p.awake {
		return p.due, false
	}
	p.awake = true
	p.due = now + Gather
	return p.due, true
}

// Due reports whether a step is due at now. If so, the caller must decide the step: another
// step needs another wake.
func (p *Pace) Due(now time.Duration) bool {
	if !p.awake || now < p.due {
		return false
	}
	p.awake = false
	return true
}
