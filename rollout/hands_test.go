package rollout

import (
	"errors"
	"slices"
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

// A new term issues every pointer anew, with the same content. That is no other hand: the rollout goes
// on, and is resumed, also in regions that it has not reached yet. A quarantine for what the rollout
// did in the term before is still a failure of the rollout.
func TestTruthPointersOfANewTermAreNoOtherHand(t *testing.T) {
	pointers := map[string]record.Pointer{}
	for _, region := range []string{"eu", "us"} {
		pointers[region] = record.Pointer{Config: "a", Region: region, Term: 1, Epoch: 3, Baseline: ref(1), Phase: record.PhaseActive}
	}
	view := func() View {
		v := View{Now: time.Unix(1, 0), Regions: map[string]Region{}}
		for region, p := range pointers {
			v.Regions[region] = Stored(p)
		}
		return v
	}
	plan := Plan{Regions: [][]string{{"eu"}, {"us"}}}
	s, err := Start(1, "a", ref(2), plan, pointers, nil, "alice", "", time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	s, moves, _ := Decide(s, view(), 0)
	pointers["eu"] = moves[0]
	p := pointers["eu"]
	p.Term = 1
	pointers["eu"] = p
	s, _, _ = Decide(s, view(), time.Second)
	for region, p := range pointers {
		p.Term = 2
		p.Epoch++
		pointers[region] = p
	}
	next, _, changed := Decide(s, view(), time.Second)
	if !changed || next.Status != Running || next.Regions["eu"].Epoch != 5 || next.Regions["us"].Epoch != 4 {
		t.Errorf("after a new term: %s (%s), %+v, %+v", next.Status, next.Why, next.Regions["eu"], next.Regions["us"])
	}
	if first := next.Regions["eu"].First(pointers["eu"]); first != record.At(1, 4) {
		t.Errorf("the rollout began at %s", first)
	}
	if lost := s.Lost(view()); len(lost) > 0 {
		t.Errorf("lost %v", lost)
	}
	paused, _, err := Apply(s, Request{What: Pause, By: "bob"}, view())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Apply(paused, Request{What: Resume, By: "bob"}, view()); err != nil {
		t.Errorf("resume: %v", err)
	}
	back, moves, err := Apply(paused, Request{What: Abort, By: "bob"}, view())
	if err != nil || back.Status != Returning || len(moves) != 1 || moves[0].Epoch != 6 || moves[0].Baseline != ref(1) {
		t.Errorf("abort: %s, %+v, %v", back.Status, moves, err)
	}
	p = pointers["eu"]
	p.Baseline = ref(9)
	p.Epoch++
	pointers["eu"] = p
	if next, _, _ := Decide(next, view(), time.Second); next.Status != Paused || !slices.Equal(next.Lost(view()), []string{"eu"}) {
		t.Errorf("another version: %s", next.Status)
	}
}
