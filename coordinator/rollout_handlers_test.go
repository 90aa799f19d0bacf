package coordinator

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"banyan/coordinator/api"
	"banyan/rollout"
	"banyan/versionstore"
)

func isDone(r api.Rollout) bool   { return r.Status == rollout.Done }
func isBaking(r api.Rollout) bool { return r.Status == rollout.Running && r.Part == rollout.Baking }

// baking starts a rollout of a new version of config over a version that runs, and waits for
// its first bake.
func (f *fixture) baking(config string) api.Rollout {
	f.t.Helper()
	f.rollOut(config, f.publish(config, `{"n": 1}`), "")
	f.reaches(config, "the end of the first rollout", isDone)
	f.rollOut(config, f.publish(config, `{"n": 2}`), longPlan)
	return f.reaches(config, "the first bake", isBaking)
}

func TestARolloutIsStartedAndEnds(t *testing.T) {
	f := newFixture(t, nil)
	started := f.rollOut("a", f.publish("a", `{}`), "waves: [{share: 10%, bake: 10ms}, {share: 100%}]\n")
	if started.ID != 1 || started.By != "alice" || started.Version != 1 || started.Status.Over() {
		t.Errorf("started %+v", started)
	}
	r := f.reaches("a", "the end", isDone)
	if r.Title != "done" || r.Ended.IsZero() || len(r.Log) < 4 || r.Seen != nil {
		t.Errorf("done %+v", r)
	}
	if n := f.epoch("a"); n != r.Regions["eu"].Epoch {
		t.Errorf("the pointer is at epoch %d, the rollout at %d", n, r.Regions["eu"].Epoch)
	}
	all, err := f.alice.Rollouts(f.ctx, "")
	if err != nil || len(all) != 1 || all[0].ID != 1 {
		t.Errorf("rollouts of all configs: %+v, %v", all, err)
	}
}

func TestStartingARolloutChecksTheRequest(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", `{}`)
	for name, c := range map[string]struct {
		in   api.StartRollout
		code string
	}{
		"no version":                      {api.StartRollout{}, api.CodeInvalid},
		"a version that does not exist":   {api.StartRollout{Version: 7}, api.CodeNotFound},
		"immediate, with a plan":          {api.StartRollout{Version: 1, Immediate: true, Plan: longPlan}, api.CodeInvalid},
		"a plan that is none":             {api.StartRollout{Version: 1, Plan: "waves: 7"}, api.CodeRejected},
		"a plan whose waves do not end":   {api.StartRollout{Version: 1, Plan: "waves: [{share: 10%}]"}, api.CodeRejected},
		"a plan with an unknown region":   {api.StartRollout{Version: 1, Plan: "regions: [[mars]]"}, api.CodeRejected},
		"a plan with a label of no agent": {api.StartRollout{Version: 1, Plan: "waves: [{labels: {x: y}}, {share: 100%}]"}, api.CodeRejected},
		"a plan that is not stored":       {api.StartRollout{Version: 1, PlanName: "none"}, api.CodeNotFound},
		"an unknown region":               {api.StartRollout{Version: 1, Regions: []string{"mars"}}, api.CodeInvalid},
	} {
		_, err := f.alice.StartRollout(f.ctx, "a", c.in)
		f.refuses(name, err, c.code)
	}
	_, err := f.alice.Rollout(f.ctx, "a")
	f.refuses("no rollout was started", err, api.CodeNotFound)
}

func TestPeopleSteerARollout(t *testing.T) {
	f := newFixture(t, nil)
	r := f.baking("a")
	if seen := r.Seen["eu"]; !seen.Known || seen.Epoch != r.Regions["eu"].Epoch {
		t.Errorf("seen of a running rollout: %+v", r.Seen)
	}
	ask := func(what string, in api.RolloutRequest, want rollout.Status) {
		t.Helper()
		r, err := f.bob.AskRollout(f.ctx, "a", what, in)
		if err != nil || r.Status != want {
			t.Errorf("%s: %s, %v; want %s", what, r.Status, err, want)
		}
	}
	ask(rollout.Pause, api.RolloutRequest{Message: "wait"}, rollout.Paused)
	_, err := f.bob.AskRollout(f.ctx, "a", rollout.Pause, api.RolloutRequest{})
	f.refuses("pausing a paused rollout", err, api.CodeConflict)
	ask(rollout.Resume, api.RolloutRequest{}, rollout.Running)
	ask(rollout.Promote, api.RolloutRequest{IfRollout: 2}, rollout.Running)
	f.reaches("a", "the bake of the second wave", func(r api.Rollout) bool { return r.Wave == 1 && isBaking(r) })
	_, err = f.bob.AskRollout(f.ctx, "a", rollout.Abort, api.RolloutRequest{IfRollout: 1})
	f.refuses("another rollout than the newest", err, api.CodeConflict)
	_, err = f.bob.AskRollout(f.ctx, "a", rollout.Undo, api.RolloutRequest{})
	f.refuses("undoing a rollout that is not done", err, api.CodeConflict)
	_, err = f.bob.AskRollout(f.ctx, "a", "supersede", api.RolloutRequest{})
	f.refuses("a request that is not for people", err, api.CodeInvalid)
	ask(rollout.Abort, api.RolloutRequest{Message: "enough"}, rollout.Returning)
	r = f.reaches("a", "the abort", func(r api.Rollout) bool { return r.Status == rollout.Aborted })
	if !strings.Contains(r.Why, "bob: enough") || r.Decided.IsZero() || r.Recovered.IsZero() {
		t.Errorf("aborted: why %q, decided %s, recovered %s", r.Why, r.Decided, r.Recovered)
	}
	_, err = f.bob.AskRollout(f.ctx, "a", rollout.Abort, api.RolloutRequest{})
	f.refuses("aborting a rollout that has ended", err, api.CodeConflict)
}

func TestADoneRolloutIsUndone(t *testing.T) {
	f := newFixture(t, nil)
	f.rollOut("a", f.publish("a", `{"n": 1}`), "")
	f.reaches("a", "the end of the first rollout", isDone)
	f.rollOut("a", f.publish("a", `{"n": 2}`), "")
	f.reaches("a", "the end of the second rollout", func(r api.Rollout) bool { return r.ID == 2 && isDone(r) })
	if _, err := f.bob.AskRollout(f.ctx, "a", rollout.Undo, api.RolloutRequest{}); err != nil {
		t.Fatal(err)
	}
	f.reaches("a", "the undo", func(r api.Rollout) bool { return r.Status == rollout.Aborted })
	if p, err := f.alice.Pointers(f.ctx, "a"); err != nil || p[0].Baseline.Version != 1 {
		t.Errorf("after the undo: %+v, %v", p, err)
	}
}

func TestANewerVersionSupersedesARollout(t *testing.T) {
	f := newFixture(t, nil)
	f.baking("a")
	_, err := f.bob.StartRollout(f.ctx, "a", api.StartRollout{Version: 2})
	f.refuses("the version that rolls out already", err, api.CodeConflict)
	_, err = f.bob.StartRollout(f.ctx, "a", api.StartRollout{Version: 1})
	f.refuses("an older version", err, api.CodeConflict)
	f.rollOut("a", f.publish("a", `{"n": 3}`), longPlan)
	r := f.reaches("a", "the bake of the newer rollout", func(r api.Rollout) bool { return r.ID == 3 && isBaking(r) })
	if r.Regions["eu"].Baseline != 1 {
		t.Errorf("the newer rollout goes back to version %d, want 1: version 2 was never the baseline", r.Regions["eu"].Baseline)
	}
	history, err := f.alice.Rollouts(f.ctx, "a")
	if err != nil || len(history) != 3 || history[0].ID != 3 || history[1].Status != rollout.Superseded || history[2].Status != rollout.Done {
		t.Errorf("history: %+v, %v", history, err)
	}
}

func TestTheHistoryOfRolloutsIsBounded(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", `{}`)
	const started = keptHistory + 3
	for n := range uint64(started) {
		if _, err := f.alice.StartRollout(f.ctx, "a", api.StartRollout{Version: 1, Immediate: true}); err != nil {
			t.Fatal(err)
		}
		f.reaches("a", "the end", func(r api.Rollout) bool { return r.ID == n+1 && isDone(r) })
	}
	history, err := f.alice.Rollouts(f.ctx, "a")
	if err != nil || len(history) != keptHistory+1 || history[0].ID != started || history[keptHistory].ID != started-keptHistory {
		t.Errorf("%d rollouts, %v", len(history), err)
	}
}

func TestASecondPersonApproves(t *testing.T) {
	f := newFixture(t, nil)
	if _, err := f.alice.SetTwoPersons(f.ctx, api.SetTwoPersons{Prefix: "guarded", On: true}); err != nil {
		t.Fatal(err)
	}
	f.rollOut("guarded/x", f.publish("guarded/x", `{}`), "")
	r, err := f.alice.Rollout(f.ctx, "guarded/x")
	if err != nil || r.Status != rollout.Waiting {
		t.Errorf("a guarded rollout is %s, %v", r.Status, err)
	}
	_, err = f.alice.AskRollout(f.ctx, "guarded/x", rollout.Approve, api.RolloutRequest{})
	f.refuses("approval by the person who started the rollout", err, api.CodeConflict)
	_, err = f.bob.Activate(f.ctx, "guarded/x", api.Activate{Version: 1})
	f.refuses("a move by hand of a guarded config", err, api.CodeRejected)
	if _, err := f.bob.AskRollout(f.ctx, "guarded/x", rollout.Approve, api.RolloutRequest{}); err != nil {
		t.Fatal(err)
	}
	if r := f.reaches("guarded/x", "the end", isDone); r.Approver != "bob" {
		t.Errorf("approved by %q", r.Approver)
	}
}

// A controller that starts anew goes on with the stored state of each rollout that has not
// ended.
func TestANewControllerLoadsTheStoredRollouts(t *testing.T) {
	f := newFixture(t, nil)
	f.baking("a")
	f.rollOut("b", f.publish("b", `{}`), "")
	f.reaches("b", "the end", isDone)
	documents, err := versionstore.ListAll(f.ctx, f.ledger, kindRollout, "a")
	if err != nil || len(documents) != 1 {
		t.Fatal(documents, err)
	}
	again := &rollouts{
		ledger:  f.ledger,
		tracker: f.tracker,
		metrics: f.metrics,
		log:     f.log,
		active:  map[string]*active{},
	}
	if err := again.load(f.ctx); err != nil || again.count() != 1 {
		t.Fatalf("%d rollouts, %v", again.count(), err)
	}
	s := again.active["a"].driver.Stored()
	if s.ID != 2 || s.Part != rollout.Baking || again.active["a"].seq != documents[0].Seq {
		t.Errorf("goes on with %s of rollout %d at %d", s.Part, s.ID, again.active["a"].seq)
	}
}

// The gates of a wave are asked while the wave bakes, and decide.
func TestGatesAreAskedDuringABake(t *testing.T) {
	var failing atomic.Bool
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if failing.Load() {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer gate.Close()
	plan := "waves: [{share: 50%, bake: 10ms}, {share: 100%}]\n" +
		"gates: {webhooks: [{name: budget, url: " + gate.URL + ", every: 1s}]}\n"
	f := newFixture(t, nil)
	f.rollOut("a", f.publish("a", `{"n": 1}`), plan)
	f.reaches("a", "the end", isDone)
	failing.Store(true)
	f.rollOut("a", f.publish("a", `{"n": 2}`), plan)
	r := f.reaches("a", "the rollback", func(r api.Rollout) bool { return r.Status == rollout.RolledBack })
	if !strings.Contains(r.Why, "budget") {
		t.Errorf("rolled back because of %q", r.Why)
	}
}
