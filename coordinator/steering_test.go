package coordinator_test

import (
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
	if err != nil || len(pointers) != 2 || pointers[0].Baseline != 3 || pointers[1].Baseline != 1 {
		t.Errorf("pointers: %+v, %v", pointers, err)
	}

	_, err = f.Client.AskRollout(t.Context(), "a", rollout.Undo, api.RolloutRequest{IfRollout: r.ID})
	if err != nil {
		t.Fatal(err)
	}
	f.WaitRollout("a", rollout.Aborted)
	f.WaitShown("a", "one")
}
