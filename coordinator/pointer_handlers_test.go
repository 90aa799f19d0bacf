package coordinator

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/mesh/wire"
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
	if err != nil || len(moved) != 1 || moved[0].Epoch != 1 || moved[0].Baseline.Version != 1 || moved[0].MovedBy != "alice" {
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

// activate makes a version live, and lets a host acknowledge it.
func (f *fixture) activate(config string, version uint64) {
	f.t.Helper()
	if _, err := f.alice.Activate(f.ctx, config, api.Activate{Version: version}); err != nil {
		f.t.Fatal(err)
	}
	f.acknowledge(config)
}

// acknowledge lets a host acknowledge the pointer of config.
func (f *fixture) acknowledge(config string) {
	f.t.Helper()
	p, err := f.ledger.Pointer(f.ctx, config, "eu")
	if err != nil {
		f.t.Fatal(err)
	}
	e := wire.NewAckEntry(p.Pointer.Key(), p.Pointer.Position(), p.Pointer.Digest())
	e.Applied.Add(1)
	f.tracker.with(func(t *rollout.Tracker) {
		t.Moved(p.Pointer) // the watch of the store may not have come to it
		t.Acked(e)
	})
}

// back rolls a config back and returns what happened in the only region.
func (f *fixture) back(config string, in api.Rollback) api.RegionBack {
	f.t.Helper()
	back, err := f.alice.Rollback(f.ctx, config, in)
	if err != nil || len(back.Regions) != 1 || len(back.Pointers) != 1 {
		f.t.Fatalf("rollback %+v: %+v, %v", in, back, err)
	}
	if got := back.Pointers[0].Baseline.Version; got != back.Regions[0].To {
		f.t.Errorf("rollback %+v says version %d, the pointer says %d", in, back.Regions[0].To, got)
	}
	return back.Regions[0]
}

func TestARollbackNeedsAVersionToGoTo(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", `{"n": 1}`)
	_, err := f.alice.Rollback(f.ctx, "a", api.Rollback{})
	f.refuses("a config that runs nowhere", err, api.CodeNotFound)
	_, err = f.alice.Rollback(f.ctx, "a", api.Rollback{Regions: []string{"eu"}})
	f.refuses("a region that runs nothing", err, api.CodeRejected)
	_, err = f.alice.Rollback(f.ctx, "none", api.Rollback{})
	f.refuses("a config that does not exist", err, api.CodeNotFound)
	f.activate("a", 1)
	_, err = f.alice.Rollback(f.ctx, "a", api.Rollback{})
	f.refuses("the first version", err, api.CodeRejected)
	_, err = f.alice.Rollback(f.ctx, "a", api.Rollback{To: 9})
	f.refuses("a version that does not exist", err, api.CodeNotFound)
	_, err = f.alice.Rollback(f.ctx, "a", api.Rollback{Regions: []string{"mars"}})
	f.refuses("an unknown region", err, api.CodeInvalid)
}

// Version 1 runs; 2 is taken back by its gate; 3 runs. A rollback goes to 1 and not to 2. Said
// twice, the rollback does nothing the second time.
func TestTruthARollbackGoesToWhatRanLastAndWell(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", `{"n": 1}`)
	f.activate("a", 1)
	f.failByGate("a", `{"n": 2}`)
	f.publish("a", `{"n": 3}`)
	f.activate("a", 3)
	got := f.back("a", api.Rollback{Message: "checkout is broken"})
	if !got.Moved || got.From != 3 || got.To != 1 || got.Ran == nil || got.Ran.Until.IsZero() {
		t.Errorf("rollback: %+v", got)
	}
	if len(got.Skipped) != 1 || got.Skipped[0].Version != 2 || got.Skipped[0].Text != "taken back by its gate" {
		t.Errorf("skipped: %+v", got.Skipped)
	}
	epoch := f.epoch("a")
	again := f.back("a", api.Rollback{})
	if again.Moved || again.To != 1 || !strings.Contains(again.Why, "rolled back by alice") ||
		!strings.Contains(again.Why, "checkout is broken") || !strings.Contains(again.Why, "--from 1") {
		t.Errorf("said twice: %+v", again)
	}
	from := f.back("a", api.Rollback{From: 3})
	if from.Moved || !strings.Contains(from.Why, "version 1 runs, not 3") {
		t.Errorf("from 3, said twice: %+v", from)
	}
	_, err := f.alice.Rollback(f.ctx, "a", api.Rollback{IfEpoch: map[string]uint64{"eu": epoch - 1}})
	f.refuses("an epoch that has passed", err, api.CodeConflict)
	_, err = f.alice.Rollback(f.ctx, "a", api.Rollback{From: 1})
	f.refuses("nothing ran well before version 1", err, api.CodeRejected)
	if n := f.epoch("a"); n != epoch {
		t.Errorf("the pointer moved from epoch %d to %d", epoch, n)
	}
	entries, err := f.alice.Log(f.ctx, api.LogQuery{Prefix: "a", Limit: 1})
	if err != nil || entries[0].By != "alice" || entries[0].Why != "checkout is broken" || !strings.Contains(entries[0].What, "to version 1") {
		t.Errorf("log: %+v, %v", entries, err)
	}
}

// failByGate publishes a version and waits until a gate has taken the version back.
func (f *fixture) failByGate(config, body string) {
	f.t.Helper()
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	}))
	defer gate.Close()
	plan := "waves: [{share: 50%, bake: 1h}, {share: 100%}]\n" +
		"gates: {webhooks: [{name: budget, url: " + gate.URL + ", every: 1s}]}\n"
	f.rollOut(config, f.publish(config, body), plan)
	f.reaches(config, "the end of the rollout", func(r api.Rollout) bool { return r.Status == rollout.RolledBack })
}

// A version that never ran well in a region is brought live by a rollout, with its rules.
func TestTruthARollbackIsNoWayAroundTheRulesOfARollout(t *testing.T) {
	f := newFixture(t, nil)
	for n := range 4 {
		f.publish("a", fmt.Sprintf(`{"n": %d}`, n+1))
	}
	f.activate("a", 1)
	f.activate("a", 2)
	f.activate("a", 4)
	if _, err := f.alice.SetTwoPersons(f.ctx, api.SetTwoPersons{Prefix: "*", On: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.alice.Hold(f.ctx, api.Hold{Scope: "*", Reason: "sale"}); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, to uint64, words ...string) {
		t.Helper()
		_, err := f.alice.Rollback(f.ctx, "a", api.Rollback{To: to})
		f.refuses(what, err, api.CodeRejected)
		var e *api.Error
		if !errors.As(err, &e) {
			return
		}
		for _, word := range append(words, fmt.Sprintf("banyan rollout start a %d", to)) {
			if !strings.Contains(e.Message+" "+e.Hint, word) {
				t.Errorf("%s: %q with the hint %q does not say %q", what, e.Message, e.Hint, word)
			}
		}
	}
	refused("a version that never was live", 3, "never live")
	if got := f.back("a", api.Rollback{To: 1}); !got.Moved || got.From != 4 {
		t.Errorf("a version that ran well, in a freeze: %+v", got)
	}
	refused("a version that was rolled back", 4, "rolled back by alice")
	if got := f.back("a", api.Rollback{To: 1}); got.Moved || !strings.Contains(got.Why, "runs already") {
		t.Errorf("said twice: %+v", got)
	}
}

func TestARollbackAbortsARolloutInProgress(t *testing.T) {
	f := newFixture(t, nil)
	f.rollOut("a", f.publish("a", `{"n": 1}`), "")
	f.reaches("a", "the end of the first rollout", func(r api.Rollout) bool { return r.Status == rollout.Done })
	f.rollOut("a", f.publish("a", `{"n": 2}`), longPlan)
	f.reaches("a", "the first bake", func(r api.Rollout) bool { return r.Part == rollout.Baking })
	back, err := f.bob.Rollback(f.ctx, "a", api.Rollback{Message: "too slow"})
	if err != nil || len(back.Pointers) != 1 || back.Pointers[0].Baseline.Version != 1 || back.Pointers[0].Candidate.Version != 0 {
		t.Errorf("back: %+v, %v", back, err)
	}
	if got := back.Regions[0]; !got.Moved || got.From != 2 || got.To != 1 {
		t.Errorf("back: %+v", got)
	}
	// Said twice, while the hosts go back or after that, it does not go back further.
	if again := f.back("a", api.Rollback{}); again.Moved || again.To != 1 {
		t.Errorf("said twice: %+v", again)
	}
	f.reaches("a", "the abort", func(r api.Rollout) bool { return r.Status == rollout.Aborted })
	if again := f.back("a", api.Rollback{}); again.Moved || !strings.Contains(again.Why, "taken back by bob") {
		t.Errorf("said a third time: %+v", again)
	}
}

// A version that was live while no host was there did not run: it is no target of a rollback.
func TestTruthAVersionThatNoHostAcknowledgedDidNotRun(t *testing.T) {
	dir := t.TempDir()
	f := newFixture(t, func(c *Config) { c.DataDir = dir })
	for n := range 4 {
		f.publish("a", fmt.Sprintf(`{"n": %d}`, n+1))
	}
	f.activate("a", 1)
	f.rollouts.runs.acked(record.PointerKey{Config: "a", Region: "eu"})
	f.rollouts.signal()
	f.eventually("the note that a host runs version 1", func() bool {
		all, err := f.alice.Activations(f.ctx, "a")
		return err == nil && all.Regions["eu"][0].Ran
	})
	f.stop()
	f.start(dir, nil) // and nobody acknowledges version 1 again
	f.connect()
	for _, version := range []uint64{2, 3} {
		if _, err := f.alice.Activate(f.ctx, "a", api.Activate{Version: version}); err != nil {
			t.Fatal(err)
		}
	}
	f.activate("a", 4)
	_, err := f.alice.Rollback(f.ctx, "a", api.Rollback{To: 3})
	f.refuses("a version that no host ran", err, api.CodeRejected)
	got := f.back("a", api.Rollback{})
	if got.From != 4 || got.To != 1 || len(got.Skipped) != 2 || !strings.Contains(got.Skipped[0].Text, "before a host") {
		t.Errorf("rollback: %+v", got)
	}
}

// A version that was replaced within moments ran, if a host says so after the pointer has moved on.
func TestTruthALateAcknowledgementCounts(t *testing.T) {
	f := newFixture(t, nil)
	for n := range 3 {
		f.publish("a", fmt.Sprintf(`{"n": %d}`, n+1))
	}
	f.activate("a", 1)
	moved, err := f.alice.Activate(f.ctx, "a", api.Activate{Version: 2})
	if err != nil {
		t.Fatal(err)
	}
	f.tracker.with(func(t *rollout.Tracker) { t.Moved(moved[0].Pointer) })
	f.activate("a", 3)
	late := wire.NewAckEntry(moved[0].Key(), moved[0].Position(), moved[0].Digest())
	late.Applied.Add(1)
	f.tracker.with(func(t *rollout.Tracker) { t.Acked(late) })
	f.rollouts.runs.acked(moved[0].Key())
	f.rollouts.signal()
	f.eventually("the note that a host ran version 2", func() bool {
		all, err := f.alice.Activations(f.ctx, "a")
		return err == nil && all.Regions["eu"][1].Version == 2 && all.Regions["eu"][1].Ran
	})
	if got := f.back("a", api.Rollback{}); got.From != 3 || got.To != 2 || len(got.Skipped) != 0 {
		t.Errorf("rollback: %+v", got)
	}
}

// Another writer moved the pointer of a rollout, which pauses. A rollback takes the region back at the
// first call, and the rollout ends.
func TestTruthARollbackOfAPausedRolloutWorksAtOnce(t *testing.T) {
	f := newFixture(t, nil)
	r := f.baking("a")
	held, err := f.ledger.Pointer(f.ctx, "a", "eu")
	if err != nil {
		t.Fatal(err)
	}
	p := held.Pointer
	p.Epoch++
	p.Wave = record.Wave{Share: record.WholeFleet}
	err = f.ledger.Update(func(w *ledger.Writer) error {
		_, err := w.Commit(f.ctx, ledger.Act{By: "another process"}, ledger.Changes{Moves: []record.Pointer{p}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	f.reaches("a", "the pause", func(r api.Rollout) bool { return r.Status == rollout.Paused })
	got := f.back("a", api.Rollback{Message: "no good"})
	if !got.Moved || got.From != r.Version || got.To != 1 {
		t.Errorf("rollback: %+v", got)
	}
	p2, err := f.ledger.Pointer(f.ctx, "a", "eu")
	if err != nil || !p2.Pointer.Candidate.IsZero() || p2.Pointer.Baseline.Version != 1 {
		t.Errorf("the pointer after the rollback: %s, %v", p2.Pointer, err)
	}
	f.reaches("a", "the end", func(r api.Rollout) bool { return r.Status == rollout.Superseded })
	if again := f.back("a", api.Rollback{}); again.Moved || !strings.Contains(again.Why, "already back") {
		t.Errorf("said twice: %+v", again)
	}
}

// A rollout that waits for a second person has moved nothing. A rollback takes back what runs,
// and the rollout still needs its approval.
func TestTruthARollbackLooksPastARolloutThatWaits(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", `{"n": 1}`)
	f.publish("a", `{"n": 2}`)
	f.activate("a", 1)
	f.activate("a", 2)
	if _, err := f.alice.SetTwoPersons(f.ctx, api.SetTwoPersons{Prefix: "a", On: true}); err != nil {
		t.Fatal(err)
	}
	f.rollOut("a", f.publish("a", `{"n": 3}`), "")
	if got := f.back("a", api.Rollback{}); !got.Moved || got.From != 2 || got.To != 1 {
		t.Errorf("rollback: %+v", got)
	}
	r, err := f.alice.Rollout(f.ctx, "a")
	if err != nil || r.Status == rollout.Running || r.Status == rollout.Paused {
		t.Errorf("the waiting rollout is %s, %v", r.Status, err)
	}
}

// An undo after a rollback by hand has nothing to undo, and says so.
func TestTruthAnUndoWithNothingToUndoIsRefused(t *testing.T) {
	f := newFixture(t, nil)
	f.rollOut("a", f.publish("a", `{"n": 1}`), "")
	f.reaches("a", "the end of the first rollout", isDone)
	f.acknowledge("a")
	f.rollOut("a", f.publish("a", `{"n": 2}`), "")
	f.reaches("a", "the end of the second rollout", func(r api.Rollout) bool { return r.ID == 2 && isDone(r) })
	f.back("a", api.Rollback{})
	epoch := f.epoch("a")
	_, err := f.alice.AskRollout(f.ctx, "a", rollout.Undo, api.RolloutRequest{})
	f.refuses("undo", err, api.CodeConflict)
	if err == nil || !strings.Contains(err.Error(), "moved since") {
		t.Errorf("undo: %v", err)
	}
	if r, err := f.alice.Rollout(f.ctx, "a"); err != nil || r.Status != rollout.Done || f.epoch("a") != epoch {
		t.Errorf("after the refused undo: %s, %v", r.Status, err)
	}
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
	if err != nil || pointers[0].Baseline.Version != 2 || pointers[0].Phase != record.PhaseActive {
		t.Errorf("pointers %+v, %v", pointers, err)
	}
}
