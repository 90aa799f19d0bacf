package coordinator

import (
	"testing"

	"banyan/coordinator/api"
	"banyan/rollout"
)

// A deletion is for every host at once, so it is refused wherever a move without a rollout is, and
// during a rollout.
func TestADeletionIsRefused(t *testing.T) {
	f := newFixture(t, nil)
	refused := func(why, code string) {
		t.Helper()
		_, err := f.alice.Delete(f.ctx, "a", api.Delete{})
		f.refuses(why, err, code)
	}
	refused("a config that there is not", api.CodeNotFound)
	f.publish("a", "1")
	refused("a config that runs nowhere", api.CodeNotFound)
	f.activate("a", 1)
	hold, err := f.alice.Hold(f.ctx, api.Hold{Scope: "a", Reason: "holiday"})
	if err != nil {
		t.Fatal(err)
	}
	refused("a freeze", api.CodeRejected)
	if err := f.alice.Lift(f.ctx, hold); err != nil {
		t.Fatal(err)
	}
	f.rollOut("a", f.publish("a", "2"), longPlan)
	refused("a rollout", api.CodeConflict)
	if _, err := f.alice.Rollback(f.ctx, "a", api.Rollback{}); err != nil {
		t.Fatal(err)
	}
	f.reaches("a", "its end", func(r api.Rollout) bool { return r.Status.Over() })
	epoch := f.epoch("a")
	_, err = f.alice.Delete(f.ctx, "a", api.Delete{IfEpoch: map[string]uint64{"eu": epoch + 1}})
	f.refuses("another epoch", err, api.CodeConflict)
	if _, err := f.alice.SetTwoPersons(f.ctx, api.SetTwoPersons{Prefix: "a", On: true}); err != nil {
		t.Fatal(err)
	}
	refused("the rule of two persons", api.CodeRejected)
	if got := f.epoch("a"); got != epoch {
		t.Errorf("the pointer moved from epoch %d to %d", epoch, got)
	}
}

// What was deleted before anything ran can't be brought back, and can be published.
func TestADeletedConfigThatNeverRanIsPublishedAgain(t *testing.T) {
	f := newFixture(t, nil)
	f.rollOut("a", f.publish("a", "1"), longPlan)
	if _, err := f.alice.AskRollout(f.ctx, "a", rollout.Abort, api.RolloutRequest{}); err != nil {
		t.Fatal(err)
	}
	f.reaches("a", "its end", func(r api.Rollout) bool { return r.Status.Over() })
	if _, err := f.alice.Delete(f.ctx, "a", api.Delete{}); err != nil {
		t.Fatal(err)
	}
	_, err := f.alice.Rollback(f.ctx, "a", api.Rollback{})
	f.refuses("a rollback", err, api.CodeRejected)
	f.activate("a", f.publish("a", "2"))
	if s, err := f.alice.ConfigStatus(f.ctx, "a"); err != nil || s.Regions[0].Deleted || s.Regions[0].Version != 2 {
		t.Errorf("status %+v, %v", s, err)
	}
}
