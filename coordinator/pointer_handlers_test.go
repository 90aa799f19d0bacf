package coordinator

import (
	"sync"
	"testing"

	"banyan/coordinator/api"
	"banyan/record"
	"banyan/rollout"
)

func (f *fixture) epoch(config string) uint64 {
	f.t.Helper()
	pointers, err := f.alice.Pointers(f.ctx, config)
	if err != nil || len(pointers) != 1 {
		f.t.Fatalf("pointers of %s: %+v, %v", config, pointers, err)
	}
	return pointers[0].Epoch
}

func TestPointersMoveByCompareAndSwap(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", `{"n": 1}`)
	f.publish("a", `{"n": 2}`)
	moved, err := f.alice.Activate(f.ctx, "a", api.Activate{Version: 1, IfEpoch: map[string]uint64{"eu": 0}})
	if err != nil || len(moved) != 1 || moved[0].Epoch != 1 || moved[0].Baseline != 1 || moved[0].MovedBy != "alice" {
		t.Fatalf("moved %+v, %v", moved, err)
	}
	if p, err := f.Policy().VerifyPointer(moved[0].Signed); err != nil || p.Epoch != 1 {
		t.Errorf("the signed pointer: %+v, %v", p, err)
	}
	_, err = f.bob.Activate(f.ctx, "a", api.Activate{Version: 2, IfEpoch: map[string]uint64{"eu": 0}})
	f.refuses("an epoch that has passed", err, api.CodeConflict)
	_, err = f.bob.Activate(f.ctx, "a", api.Activate{Version: 3})
	f.refuses("a version that does not exist", err, api.CodeNotFound)
	_, err = f.bob.Activate(f.ctx, "a", api.Activate{})
	f.refuses("no version", err, api.CodeInvalid)
	_, err = f.bob.Activate(f.ctx, "a", api.Activate{Version: 2, Regions: []string{"mars"}})
	f.refuses("an unknown region", err, api.CodeInvalid)
	if n := f.epoch("a"); n != 1 {
		t.Errorf("refused moves left the pointer at epoch %d", n)
	}
	status, err := f.alice.ConfigStatus(f.ctx, "a")
	if err != nil || status.Last != 2 || len(status.Regions) != 1 || status.Regions[0].Version != 1 || status.Regions[0].Epoch != 1 {
		t.Errorf("status %+v, %v", status, err)
	}
}

func TestConcurrentMovesTakeOneEpochEach(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", `{}`)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := f.alice.Activate(f.ctx, "a", api.Activate{Version: 1}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := f.epoch("a"); n != 8 {
		t.Errorf("8 moves end at epoch %d", n)
	}
}

func TestARollbackGoesToTheVersionBefore(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", `{"n": 1}`)
	_, err := f.alice.Rollback(f.ctx, "a", api.Rollback{})
	f.refuses("a config that runs nowhere", err, api.CodeNotFound)
	_, err = f.alice.Rollback(f.ctx, "a", api.Rollback{Regions: []string{"eu"}})
	f.refuses("a region that runs nothing", err, api.CodeRejected)
	_, err = f.alice.Rollback(f.ctx, "none", api.Rollback{})
	f.refuses("a config that does not exist", err, api.CodeNotFound)
	if _, err := f.alice.Activate(f.ctx, "a", api.Activate{Version: 1}); err != nil {
		t.Fatal(err)
	}
	_, err = f.alice.Rollback(f.ctx, "a", api.Rollback{})
	f.refuses("the first version", err, api.CodeRejected)
	f.publish("a", `{"n": 2}`)
	f.publish("a", `{"n": 3}`)
	if _, err := f.alice.Activate(f.ctx, "a", api.Activate{Version: 3}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		to, want uint64
	}{{0, 2}, {3, 3}, {1, 1}} {
		moved, err := f.alice.Rollback(f.ctx, "a", api.Rollback{To: c.to})
		if err != nil || len(moved) != 1 || moved[0].Baseline != c.want {
			t.Errorf("rollback to %d: %+v, %v; want version %d", c.to, moved, err, c.want)
		}
	}
	_, err = f.alice.Rollback(f.ctx, "a", api.Rollback{To: 9})
	f.refuses("a version that does not exist", err, api.CodeNotFound)
	_, err = f.alice.Rollback(f.ctx, "a", api.Rollback{Regions: []string{"mars"}})
	f.refuses("an unknown region", err, api.CodeInvalid)
}

func TestARollbackAbortsARolloutInProgress(t *testing.T) {
	f := newFixture(t, nil)
	f.rollOut("a", f.publish("a", `{"n": 1}`), "")
	f.reaches("a", "the end of the first rollout", func(r api.Rollout) bool { return r.Status == rollout.Done })
	f.rollOut("a", f.publish("a", `{"n": 2}`), longPlan)
	f.reaches("a", "the first bake", func(r api.Rollout) bool { return r.Part == rollout.Baking })
	moved, err := f.bob.Rollback(f.ctx, "a", api.Rollback{Message: "too slow"})
	if err != nil || len(moved) != 1 || moved[0].Baseline != 1 || moved[0].Candidate != 0 {
		t.Errorf("moved %+v, %v", moved, err)
	}
	f.reaches("a", "the abort", func(r api.Rollout) bool { return r.Status == rollout.Aborted })
}

func TestAMoveByHandTakesTheRegionOutOfItsRollout(t *testing.T) {
	f := newFixture(t, nil)
	f.rollOut("a", f.publish("a", `{"n": 1}`), "")
	f.reaches("a", "the end of the first rollout", func(r api.Rollout) bool { return r.Status == rollout.Done })
	f.rollOut("a", f.publish("a", `{"n": 2}`), longPlan)
	f.reaches("a", "the first bake", func(r api.Rollout) bool { return r.Part == rollout.Baking })
	if status, err := f.alice.ConfigStatus(f.ctx, "a"); err != nil || status.Regions[0].Candidate != 2 || status.Regions[0].Wave != "50%" {
		t.Errorf("status during a wave: %+v, %v", status, err)
	}
	if _, err := f.bob.Activate(f.ctx, "a", api.Activate{Version: 2}); err != nil {
		t.Fatal(err)
	}
	r := f.reaches("a", "the end of the second rollout", func(r api.Rollout) bool { return r.Status.Over() })
	if r.Status != rollout.Superseded || !r.Regions["eu"].Left {
		t.Errorf("a rollout whose only region was moved by hand: %s, %+v", r.Status, r.Regions["eu"])
	}
	pointers, err := f.alice.Pointers(f.ctx, "a")
	if err != nil || pointers[0].Baseline != 2 || pointers[0].Phase != record.PhaseActive {
		t.Errorf("pointers %+v, %v", pointers, err)
	}
}
