package rollout

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"banyan/record"
)

// ErrNotPossible: the rollout is in no state for what was asked.
var ErrNotPossible = errors.New("not possible now")

// Request is what a person asks of a rollout.
type Request struct {
	What    string   `json:"what"` // one of the constants below
	By      string   `json:"by"`
	Message string   `json:"message,omitempty"`
	Full    bool     `json:"full,omitempty"`    // of a promotion: past all waves
	Regions []string `json:"regions,omitempty"` // of Leave: those that are taken out
}

// What may be asked.
const (
	Pause     = "pause"
	Resume    = "resume"
	Promote   = "promote"   // past the gates and the rest of the bake of this part
	Abort     = "abort"     // take it back
	Undo      = "undo"      // take back one that is done
	Approve   = "approve"   // as a second person
	Supersede = "supersede" // a newer rollout takes over, in the regions that are named
	Leave     = "leave"     // regions whose pointers another hand moves in the same transaction
)

// Apply carries out a request: the next state, and the moves to be written with it.
func Apply(s State, r Request, v View) (State, []Move, error) {
	if s.Status.Over() && !(r.What == Undo && s.Status == Done) {
		return s, nil, fmt.Errorf("rollout %d of %s is %s: %w", s.ID, s.Config, s.Status, ErrNotPossible)
	}
	n := s.clone()
	d := &decision{State: &n, view: v}
	by := r.By
	if r.Message != "" {
		by += ": " + r.Message
	}
	err := d.request(r, by)
	return n, d.moves, err
}

func (d *decision) request(r Request, by string) error {
	wrong := func(why string) error {
		return fmt.Errorf("%s of rollout %d of %s, which is %s: %w: %s", r.What, d.ID, d.Config, d.Status, ErrNotPossible, why)
	}
	switch r.What {
	case Pause:
		if d.Status != Running {
			return wrong("only one that runs can be paused")
		}
		d.pause("by " + by)
	case Resume:
		if d.Status != Paused {
			return wrong("it is not paused")
		}
		if d.adrift() {
			return wrong("a pointer was moved by another hand; abort it or start another")
		}
		d.Status, d.Why, d.Spent, d.Overdue = Running, "", 0, nil
		d.say("resumed by %s", by)
	case Promote:
		if d.Status != Running && d.Status != Paused {
			return wrong("there is nothing to promote")
		}
		if d.adrift() {
			return wrong("a pointer was moved by another hand; abort it or start another")
		}
		d.Status, d.Why, d.Skipped, d.Full = Running, "", true, d.Full || r.Full
		d.say("promoted past %s by %s", d.place(), by)
	case Undo:
		if d.Status != Done {
			return wrong("abort it, it is not done")
		}
		d.Ended = time.Time{}
		d.goBack(Aborted, "undone by "+by)
	case Abort:
		if d.Status == Returning {
			return wrong("it is on its way back")
		}
		d.goBack(Aborted, "by "+by)
	case Approve:
		if d.Status != Waiting {
			return wrong("it waits for no approval")
		}
		if r.By == d.By {
			return wrong(r.By + " started it; another person must approve")
		}
		d.Status, d.Why, d.Approver = Running, "", r.By
		d.say("approved by %s", by)
	case Supersede:
		d.supersede(r.Regions, by)
	case Leave:
		d.leave(r.Regions, by)
	default:
		return wrong("unknown request")
	}
	return nil
}

// supersede ends a rollout that another takes over: regions that the other does not reach
// go back to what they ran before.
func (d *decision) supersede(taken []string, by string) {
	left := slices.DeleteFunc(d.touched(), func(region string) bool {
		return slices.Contains(taken, region) || d.view.Regions[region].Epoch != d.Regions[region].Epoch
	})
	d.end(Superseded, by)
	d.move(left, func(r *RegionState) Move { return Move{Baseline: r.Baseline, Phase: record.PhaseActive} })
}

// adrift tells whether another hand has moved a pointer that this rollout goes on with.
func (d *decision) adrift() bool {
	for _, region := range d.touched() {
		if d.view.Regions[region].Epoch != d.Regions[region].Epoch {
			return true
		}
	}
	return false
}

// leave takes regions out, whose pointers somebody else moves now. With none left it is
// over; otherwise it waits for a decision about the others.
func (d *decision) leave(regions []string, by string) {
	for _, region := range regions {
		if r := d.Regions[region]; r != nil {
			r.Left = true
		}
	}
	if d.Status == Returning { // it goes on returning in the others
		d.say("regions %v were taken out by %s", regions, by)
		return
	}
	for _, r := range d.Regions {
		if !r.Left {
			d.pause(fmt.Sprintf("regions %v were taken out by %s", regions, by))
			return
		}
	}
	d.end(Superseded, "by "+by)
}

// Wait makes a new rollout wait for a second person.
func (s *State) Wait(at time.Time) {
	s.Status, s.Why = Waiting, "a second person must approve it"
	s.note(at, s.Why)
}
