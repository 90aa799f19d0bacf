package coordinator_test

import (
	"os"
	"strings"
	"testing"

	"banyan/coordinator/api"
	"banyan/internal/fleet/fleettest"
	"banyan/rollout"
)

// One of two regions is rolled back by hand during a rollout: the region leaves the rollout,
// and the rollout waits for a person. The rollout then ends in the other region, and an undo
// returns the other region, too.
func TestARegionLeavesARolloutAndTheOtherIsUndone(t *testing.T) {
	const long = "waves: [{share: 50%, bake: 1h}, {share: 100%, bake: 1h}]"
	f := fleettest.Start(t, fleettest.Canaries(10))
	f.Install("a", "one")
	f.RollOut("a", f.Store("a", "two"), long)
	f.WaitBaking("a")
	f.RollOut("a", f.Store("a", "three"), long)
	all, err := f.Client.Rollouts(t.Context(), "a")
	if err != nil || len(all) != 3 || all[1].Status != rollout.Superseded || all[0].Version != 3 || all[0].Regions["eu"].Baseline != 1 {
		t.Fatalf("rollouts after superseding: %+v, %v", all, err)
	}
	f.WaitBaking("a")

	if _, err := f.Client.Rollback(t.Context(), "a", api.Rollback{Regions: []string{"us"}}); err != nil {
		t.Fatal(err)
	}
	r, err := f.Client.Rollout(t.Context(), "a")
	if err != nil || r.Status != rollout.Paused || !r.Regions["us"].Left {
		t.Errorf("after the rollback of a region: %s, %+v, %v", r.Title, r.Regions["us"], err)
	}
	_, err = f.Client.AskRollout(t.Context(), "a", rollout.Promote, api.RolloutRequest{Full: true})
	if err != nil {
		t.Fatal(err)
	}
	f.WaitRollout("a", rollout.Done)
	pointers, err := f.Client.Pointers(t.Context(), "a")
	if err != nil || len(pointers) != 2 || pointers[0].Baseline.Version != 3 || pointers[1].Baseline.Version != 1 {
		t.Errorf("pointers: %+v, %v", pointers, err)
	}

	_, err = f.Client.AskRollout(t.Context(), "a", rollout.Undo, api.RolloutRequest{IfRollout: r.ID})
	if err != nil {
		t.Fatal(err)
	}
	f.WaitRollout("a", rollout.Aborted)
	f.WaitShown("a", "one")
}

// Each region goes back to what ran there. A region without such a version stays, and the answer
// says why.
func TestTruthEachRegionGoesBackToWhatRanThere(t *testing.T) {
	f := fleettest.Start(t, fleettest.Canaries(4))
	one := f.Store("a", "one")
	two := f.Store("a", "two")
	three := f.Store("a", "three")
	move := func(version uint64, regions ...string) {
		t.Helper()
		if _, err := f.Client.Activate(t.Context(), "a", api.Activate{Version: version, Regions: regions}); err != nil {
			t.Fatal(err)
		}
	}
	move(one, "eu")
	move(two, "us")
	f.Until("the acknowledgements", func() bool {
		s, err := f.Client.ConfigStatus(t.Context(), "a")
		return err == nil && s.Regions[0].Applied == 2 && s.Regions[1].Applied == 2
	})
	move(three)
	// The second time, eu and us have come back from version 3 and stay.
	for round := range 2 {
		back, err := f.Client.Rollback(t.Context(), "a", api.Rollback{})
		if err != nil || len(back.Regions) != 2 || back.Moved() != (round == 0) {
			t.Fatalf("round %d: %+v, %v", round, back, err)
		}
		for i, want := range []uint64{one, two} {
			if got := back.Regions[i]; got.To != want || back.Pointers[i].Baseline.Version != want {
				t.Errorf("round %d: %+v; want version %d", round, got, want)
			}
		}
	}
	f.Until("what each region shows", func() bool {
		shown := true
		for i, a := range f.Agents {
			want := "two"
			if strings.HasPrefix(a.Name(), "eu-") {
				want = "one"
			}
			raw, _ := os.ReadFile(f.Path(i, "a", "value"))
			shown = shown && string(raw) == want
		}
		return shown
	})
	// Version 1 never ran in us, and version 2 never ran in eu.
	if _, err := f.Client.Rollback(t.Context(), "a", api.Rollback{To: one}); !api.IsCode(err, api.CodeRejected) {
		t.Errorf("a version that ran in one of two regions: %v", err)
	}
	move(three, "eu")
	back, err := f.Client.Rollback(t.Context(), "a", api.Rollback{From: three})
	if err != nil || !back.Regions[0].Moved || back.Regions[1].Moved || back.Regions[1].To != two {
		t.Errorf("only eu runs version 3: %+v, %v", back, err)
	}
	move(three, "eu")
	_, err = f.Client.Rollback(t.Context(), "a", api.Rollback{From: two, Regions: []string{"us"}})
	if !api.IsCode(err, api.CodeRejected) {
		t.Errorf("nothing ran well in us before version 2: %v", err)
	}
}

// A new term issues every pointer anew. A rollout goes on over it, and a rollback works at once.
func TestTruthARolloutGoesOnInANewTerm(t *testing.T) {
	const plan = "regions: [[eu], [us]]\nwaves: [{share: 50%, bake: 1h}, {share: 100%}]"
	f := fleettest.Start(t, fleettest.Canaries(4))
	f.Install("a", "one")
	newTerm := func() {
		t.Helper()
		if _, err := f.Client.BeginTerm(t.Context(), api.NewTerm{Message: "a drill"}); err != nil {
			t.Fatal(err)
		}
	}
	f.RollOut("a", f.Store("a", "two"), plan)
	f.WaitBaking("a")
	newTerm()
	f.Until("the rollout knows of the new term", func() bool {
		r, err := f.Client.Rollout(t.Context(), "a")
		if err != nil || r.Status != rollout.Running {
			t.Fatalf("in the new term the rollout is %s (%s), %v", r.Title, r.Why, err)
		}
		return strings.Contains(fleettest.Log(r), "issued anew")
	})
	if _, err := f.Client.AskRollout(t.Context(), "a", rollout.Promote, api.RolloutRequest{Full: true}); err != nil {
		t.Fatal(err)
	}
	f.WaitRollout("a", rollout.Done)
	f.WaitShown("a", "two")

	f.RollOut("a", f.Store("a", "three"), plan)
	f.WaitBaking("a")
	if _, err := f.Client.AskRollout(t.Context(), "a", rollout.Pause, api.RolloutRequest{}); err != nil {
		t.Fatal(err)
	}
	newTerm()
	back, err := f.Client.Rollback(t.Context(), "a", api.Rollback{})
	if err != nil || len(back.Regions) != 1 || !back.Regions[0].Moved || back.Pointers[0].Candidate.Version != 0 {
		t.Fatalf("rollback in the new term: %+v, %v", back, err)
	}
	f.WaitRollout("a", rollout.Aborted)
	f.WaitShown("a", "two")
}
