package rollout

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"banyan/record"
)

// ErrNotPossible means that the rollout is in no state for a request.
var ErrNotPossible = errors.New("not possible now")

// Request is a person's request of a rollout.
type Request struct {
	// What is one of the constants below.
	What string
	// By is the person.
	By      string
	Message string
	// Full makes Promote skip the gates of all further waves, too.
	Full bool
	// Regions applies to Supersede and Leave.
	Regions []string
}

// The requests.
const (
	Pause  = "pause"
	Resume = "resume"
	// Promote skips the gates, and the rest of the bake, of the part in progress.
	Promote = "promote"
	// Abort takes the version back.
	Abort = "abort"
	// Undo takes back the version of a rollout that is done.
	Undo = "undo"
	// Approve approves the rollout as a second person.
	Approve = "approve"
	// Supersede ends the rollout because a newer rollout takes over in Regions.
	Supersede = "supersede"
	// Leave takes Regions out of the rollout, because another writer moves their pointers
	// in the same transaction.
	Leave = "leave"
)

// Apply carries out a request. It returns the next state and the moves. The caller must
// write both in one transaction.
func Apply(s State, r Request, v View) (State, []Move, error) {
	undo := r.What == Undo && s.Status == Done
	if s.Status.Over() && !undo {
		return s, nil, overError(fmt.Sprintf("cannot %s rollout %d of %s: it ended (%s)",
			r.What, s.ID, s.Config, s.ending()))
	}
	n := s.clone()
	o := &order{decision: decision{judge: judge{State: &n, view: v}}, Request: r, by: r.By}
	if r.Message != "" {
		o.by += ": " + r.Message
	}
	o.follow()
	err := o.carryOut()
	return n, o.moves, err
}

// overError is the error of a request to a rollout that has ended. It wraps ErrNotPossible.
type overError string

func (e overError) Error() string { return string(e) }
func (e overError) Unwrap() error { return ErrNotPossible }

// ending describes the end of a rollout: "rolled back at 15:49:38Z: 5 of 5 hosts failed".
func (s *State) ending() string {
	text := strings.ReplaceAll(string(s.Status), "_", " ") + " at " + s.Ended.UTC().Format(time.RFC3339)
	if s.Why != "" {
		text += ": " + s.Why
	}
	return text
}

// order is a request and the step that carries the request out.
type order struct {
	decision
	Request
	by string // the person and the message, for the history
}

// carryOut changes the state as the request asks.
func (o *order) carryOut() error {
	switch o.What {
	case Pause:
		return o.askPause()
	case Resume:
		return o.askResume()
	case Promote:
		return o.askPromote()
	case Undo:
		return o.askUndo()
	case Abort:
		return o.askAbort()
	case Approve:
		return o.askApprove()
	case Supersede:
		o.supersede()
		return nil
	case Leave:
		o.leave()
		return nil
	}
	return o.refuse("unknown request")
}

// refuse returns the error of a request that is not possible.
func (o *order) refuse(why string) error {
	return fmt.Errorf("%s of rollout %d of %s, which is %s: %w: %s",
		o.What, o.ID, o.Config, o.Status, ErrNotPossible, why)
}

// adrift returns the reason for which the rollout can't go on, if another writer has moved
// one of its pointers; "" otherwise.
func (o *order) adrift() string {
	if len(o.lost()) > 0 {
		return "a pointer was moved by another hand; abort it or start another"
	}
	return ""
}

// Lost returns the regions of the rollout whose pointer another writer has moved, given the view.
func (s State) Lost(v View) []string {
	n := s.clone()
	d := decision{judge: judge{State: &n, view: v}}
	d.follow()
	return d.lost()
}

func (o *order) askPause() error {
	if o.Status != Running {
		return o.refuse("only one that runs can be paused")
	}
	o.pause("by " + o.by)
	return nil
}

func (o *order) askResume() error {
	if o.Status != Paused {
		return o.refuse("it is not paused")
	}
	if why := o.adrift(); why != "" {
		return o.refuse(why)
	}
	o.unpause("resumed by %s", o.by)
	return nil
}

func (o *order) askPromote() error {
	if o.Status != Running && o.Status != Paused {
		return o.refuse("there is nothing to promote")
	}
	if why := o.adrift(); why != "" {
		return o.refuse(why)
	}
	o.Status = Running
	o.Why = ""
	o.Vacant = false
	o.Skipped = true
	o.State.Full = o.State.Full || o.Request.Full
	o.say("promoted past %s by %s", o.place(), o.by)
	return nil
}

func (o *order) askUndo() error {
	if o.Status != Done {
		return o.refuse("it is not done; abort it")
	}
	if why := o.replaced(); why != "" {
		return o.refuse(why)
	}
	o.Ended = time.Time{}
	o.goBack(Aborted, "undone by "+o.by)
	return nil
}

// replaced returns the reason for which nothing is left to undo: after the rollout, another
// writer has moved the pointer of every region; "" otherwise.
func (o *order) replaced() string {
	for _, region := range o.touched() {
		if o.view.Regions[region].Epoch == o.State.Regions[region].Epoch {
			return ""
		}
	}
	return fmt.Sprintf("every region has been moved since, by hand or by a rollback, and none "+
		"runs version %d because of it; 'banyan rollback' takes back what runs", o.Version)
}

func (o *order) askAbort() error {
	if o.Status == Returning {
		return o.refuse("it is being taken back already")
	}
	o.goBack(Aborted, "by "+o.by)
	return nil
}

func (o *order) askApprove() error {
	if o.Status != Waiting {
		return o.refuse("it waits for no approval")
	}
	if o.Request.By == o.State.By {
		return o.refuse(o.State.By + " started it; another person must approve")
	}
	o.Status = Running
	o.Why = ""
	o.Approver = o.Request.By
	o.say("approved by %s", o.by)
	return nil
}

// supersede ends the rollout. The newer rollout moves the pointers of the regions in the
// request; the other regions go back to the version before.
func (o *order) supersede() {
	lost := o.lost()
	back := slices.DeleteFunc(o.touched(), func(region string) bool {
		return slices.Contains(o.Request.Regions, region) || slices.Contains(lost, region)
	})
	o.end(Superseded, o.by)
	o.move(back, func(r *RegionState) Move { return Move{Baseline: r.Baseline, Phase: record.PhaseActive} })
}

// leave takes regions out. A rollout without regions ends. A rollout with other regions is
// paused for a decision, unless the version is being taken back.
func (o *order) leave() {
	regions := o.Request.Regions
	for _, region := range regions {
		r := o.State.Regions[region]
		if r != nil {
			r.Left = true
		}
	}
	if o.Status == Returning {
		o.say("regions %v were taken out by %s", regions, o.by)
		return
	}
	waits := o.Status == Waiting
	for _, r := range o.State.Regions {
		if !r.Left && waits {
			// A pause would end with resume, without the approval.
			o.say("regions %v were taken out by %s", regions, o.by)
			return
		}
		if !r.Left {
			o.pause(fmt.Sprintf("regions %v were taken out by %s", regions, o.by))
			return
		}
	}
	o.end(Superseded, "by "+o.by)
}
