package rollout

import (
	"errors"
	"strings"
	"testing"
	"time"

	"banyan/record"
)

// twoRegions returns a new rollout of version 2 in two regions that run version 1.
func twoRegions(t *testing.T) (State, View) {
	t.Helper()
	pointers := map[string]record.Pointer{}
	v := View{Now: time.Unix(1, 0), Regions: map[string]Region{}}
	for _, region := range []string{"eu", "us"} {
		pointers[region] = record.Pointer{Config: "a", Region: region, Epoch: 3, Baseline: ref(1)}
		v.Regions[region] = Region{Epoch: 3}
	}
	s, err := Start(1, "a", ref(2), Plan{}, pointers, nil, "alice", "", v.Now)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

// A rollout that waits for a second person still waits after one of its regions was moved by
// hand. If it were paused, resume would start it without the approval.
func TestTruthAMoveByHandIsNoApproval(t *testing.T) {
	s, v := twoRegions(t)
	s.Wait(v.Now)
	s, _, err := Apply(s, Request{What: Leave, By: "alice", Regions: []string{"eu"}}, v)
	if err != nil || s.Status != Waiting || !s.Regions["eu"].Left {
		t.Fatalf("%s, %v", s.Status, err)
	}
	if _, _, err := Apply(s, Request{What: Resume, By: "alice"}, v); !errors.Is(err, ErrNotPossible) {
		t.Errorf("resume: %v", err)
	}
	s, _, err = Apply(s, Request{What: Leave, By: "alice", Regions: []string{"us"}}, v)
	if err != nil || s.Status != Superseded {
		t.Errorf("after every region left: %s, %v", s.Status, err)
	}
}

// An undo does what it says in the regions that nobody has moved since, and is refused if there
// is none.
func TestTruthAnUndoDoesWhatItSays(t *testing.T) {
	s, v := twoRegions(t)
	s.Plan.Immediate = true
	s, moves, _ := Decide(s, v, 0)
	if len(moves) != 2 {
		t.Fatalf("moves: %+v", moves)
	}
	s.Status = Done
	v.Regions["eu"] = Region{Epoch: 9}
	v.Regions["us"] = Region{Epoch: 4}
	undone, moves, err := Apply(s, Request{What: Undo, By: "bob"}, v)
	if err != nil || len(moves) != 1 || moves[0].Region != "us" || moves[0].Baseline != ref(1) || undone.Status != Returning {
		t.Errorf("one region was moved since: %s, %+v, %v", undone.Status, moves, err)
	}
	v.Regions["us"] = Region{Epoch: 5}
	undone, moves, err = Apply(s, Request{What: Undo, By: "bob"}, v)
	if !errors.Is(err, ErrNotPossible) || !strings.Contains(err.Error(), "moved since") || len(moves) != 0 {
		t.Errorf("every region was moved since: %s, %+v, %v", undone.Status, moves, err)
	}
}

// A second document of a plan would be ignored without a word.
func TestTruthAPlanIsOneDocument(t *testing.T) {
	if _, err := ParsePlan([]byte("waves: [{share: 10%}]\n---\nwaves: [{share: 100%}]\n")); !errors.Is(err, ErrPlan) {
		t.Errorf("a plan of two documents: %v", err)
	}
	for _, text := range []string{"{}", "", "waves: [{share: 100%}]\n", "---\nwaves: [{share: 100%}]\n"} {
		if _, err := ParsePlan([]byte(text)); err != nil && text != "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}
