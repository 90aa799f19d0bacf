package fleet

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"banyan/agent"
	"banyan/coordinator"
	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/rollout"
	"banyan/versionstore"
	"banyan/versionstore/storetest"
)

const canaryPlan = "waves: [{labels: {canary: true}, bake: 300ms}, {share: 50%, bake: 100ms}, {share: 100%, bake: 100ms}]\ngates: {minSuccess: 100%, timeout: 30s}\n"

func TestAGoodVersionGoesOutInWavesAndABadOneIsTakenBack(t *testing.T) {
	s := newStage(t, 20, func(c *Config) {
		c.OnAgent = func(_ int, a *agent.Config) {
			check := `! grep -q bad "$BANYAN_PATH" || { echo "no good: $BANYAN_CONFIG version $BANYAN_VERSION"; exit 1; }`
			a.Hooks, _ = agent.NewHooks(agent.Rule{Config: "*", Check: &agent.Check{Command: []string{"/bin/sh", "-c", check}}})
		}
	})
	s.rollOut("a", s.publish("a", "one"), "{}")
	s.ends("a", rollout.Done)
	s.everywhere("a", "one")

	s.rollOut("a", s.publish("a", "two"), canaryPlan)
	r := s.ends("a", rollout.Done)
	s.everywhere("a", "two")
	for _, want := range []string{"staged in eu, us", "wave 1 of 3 (canary=true) runs on 4 of 4 hosts", "wave 3 of 3 (100%) runs on 20 of 20 hosts"} {
		if !strings.Contains(logOf(r), want) {
			t.Errorf("the history lacks %q:\n%s", want, logOf(r))
		}
	}

	bad := s.publish("a", "bad")
	s.rollOut("a", bad, canaryPlan)
	r = s.ends("a", rollout.RolledBack)
	if !strings.Contains(r.Why, "no good: a version 3") {
		t.Errorf("the hook's output is not in the reason: %s", r.Why)
	}
	s.everywhere("a", "two")
	if n := s.runners(bad); n != 0 {
		t.Errorf("%d hosts ran the bad version, which their check refuses", n)
	}
	pointers, err := s.Client.Pointers(s.ctx, "a")
	if err != nil || len(pointers) != 2 || pointers[0].Baseline != 2 || pointers[0].Candidate != 0 {
		t.Errorf("pointers after the rollback: %+v, %v", pointers, err)
	}
}

// A body that is not pushed is on every disk before any host runs it.
func TestNoHostRunsWhatIsNotStagedEverywhere(t *testing.T) {
	s := newStage(t, 10, nil)
	body := strings.Repeat("x", 100_000)
	version := s.publish("big", body)
	s.rollOut("big", version, "{}")
	s.ends("big", rollout.Done)
	s.mu.Lock()
	defer s.mu.Unlock()
	staged := map[string]bool{}
	for _, e := range s.events {
		if e.Kind != agent.EventApplied || e.Pointer.Config != "big" {
			continue
		}
		if e.Version == 0 {
			staged[e.Agent] = true
		} else if len(staged) != len(s.Agents) {
			t.Fatalf("%s ran the version when %d of %d hosts had its staging pointer", e.Agent, len(staged), len(s.Agents))
		}
	}
}

// The leader dies before or after every step that it commits. Whatever the step, the
// rollout ends as if nothing had happened.
func TestALeaderMayDieAtEveryStepOfARollout(t *testing.T) {
	var (
		mu     sync.Mutex
		target uint64 // the step of config "a" at which the leader dies; 0 for none
		before bool   // the leader dies before the commit
		stored uint64 // the newest step that was committed
		die    func()
	)
	s := newStage(t, 6, func(c *Config) {
		c.OnCoordinator = func(region string, cc *coordinator.Config) {
			if region != "eu" {
				return
			}
			cc.OpenStore = observedStore(func(config string, step uint64, committed bool) {
				mu.Lock()
				defer mu.Unlock()
				if config != "a" {
					return
				}
				if committed {
					stored = step
				}
				if step == target && committed != before {
					target = 0
					die() // the context of its commits ends: nothing more is committed
				}
			})
		}
	})
	die = func() { s.StopCoordinator("eu") }
	s.publish("a", "one")
	s.rollOut("a", 1, "{}")
	s.ends("a", rollout.Done)

	// Once without harm, to count the steps and to see where it ends.
	seqOf := func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return stored
	}
	first := seqOf()
	plan := "waves: [{labels: {canary: true}, bake: 100ms}, {share: 100%, bake: 100ms}]\ngates: {minSuccess: 100%, timeout: 1m}\n"
	s.rollOut("a", s.publish("a", "two"), plan)
	whole := s.ends("a", rollout.Done)
	steps := seqOf() - first
	epochs := whole.Regions["us"].Epoch - whole.Regions["us"].Began
	t.Logf("%d steps, %d epochs:\n%s", steps, epochs+1, logOf(whole))

	deaths := 0
	for step := uint64(1); step <= steps; step++ {
		for _, early := range []bool{true, false} {
			version := s.publish("a", fmt.Sprintf("step %d %t", step, early))
			mu.Lock()
			target, before = stored+step, early
			mu.Unlock()
			_, err := s.Client.StartRollout(s.ctx, "a", api.StartRollout{Version: version, Plan: plan})
			mu.Lock()
			if target != 0 && err != nil { // one that died may not have had time to answer
				t.Error(err)
			}
			mu.Unlock()
			died := false
			s.until("the leader's death, or the end", func() bool {
				mu.Lock()
				died = target == 0
				mu.Unlock()
				r, err := s.Client.Rollout(s.ctx, "a")
				return died || err == nil && r.Version == version && r.Status.Over()
			})
			if !died {
				continue // what is seen together saves a step now and then
			}
			deaths++
			if err := s.RestartCoordinator(0); err != nil {
				t.Fatal(err)
			}
			s.Client.Close()
			s.attach()
			if step == 1 && early { // it died before there was a rollout
				s.rollOut("a", version, plan)
			}
			r := s.ends("a", rollout.Done)
			if r.Version != version {
				t.Fatalf("step %d (before: %t): the rollout of version %d is gone", step, early, version)
			}
			for region, got := range r.Regions {
				if got.Epoch-got.Began != epochs {
					t.Errorf("step %d (before: %t): %d epochs in %s, want %d\n%s", step, early, got.Epoch-got.Began+1, region, epochs+1, logOf(r))
				}
			}
			for _, want := range []string{"wave 1 of 2 (canary=true) runs on 2 of 2 hosts", "wave 2 of 2 (100%) runs on 6 of 6 hosts"} {
				if !strings.Contains(logOf(r), want) {
					t.Errorf("step %d (before: %t): the history lacks %q:\n%s", step, early, want, logOf(r))
				}
			}
			s.everywhere("a", fmt.Sprintf("step %d %t", step, early))
		}
	}
	if deaths < int(steps) {
		t.Errorf("the leader died %d times in %d steps", deaths, steps)
	}
}

// observedStore returns a coordinator's OpenStore that calls onStep before and after each
// commit of a rollout's step.
func observedStore(onStep func(config string, step uint64, committed bool)) func(string, int64) (versionstore.Replica, error) {
	return func(dir string, reserve int64) (versionstore.Replica, error) {
		store, err := coordinator.OpenEmbedded(dir, reserve)
		if err != nil {
			return nil, err
		}
		return storetest.Observed{Replica: store, OnCommit: func(t versionstore.Transaction, committed bool) {
			for _, d := range t.Documents {
				if d.Kind == "rollout" {
					onStep(d.Name, d.IfSeq+1, committed)
				}
			}
		}}, nil
	}
}

func TestWhatPeopleAskOfRollouts(t *testing.T) {
	s := newStage(t, 10, func(c *Config) {
		c.OnCoordinator = func(_ string, cc *coordinator.Config) { cc.TwoPersons = []string{"guarded"} }
	})
	s.publish("a", "one")
	s.rollOut("a", 1, "{}")
	s.ends("a", rollout.Done)
	ask := func(config, what string, in api.RolloutRequest, ok bool) api.Rollout {
		t.Helper()
		r, err := s.Client.AskRollout(s.ctx, config, what, in)
		if (err == nil) != ok {
			t.Fatalf("%s: %v", what, err)
		}
		return r
	}
	long := "waves: [{share: 50%, bake: 1h}, {share: 100%, bake: 1h}]"
	s.rollOut("a", s.publish("a", "two"), long)
	s.until("baking", func() bool { r, _ := s.Client.Rollout(s.ctx, "a"); return r.Part == rollout.Baking })
	ask("a", rollout.Pause, api.RolloutRequest{Message: "lunch"}, true)
	ask("a", rollout.Pause, api.RolloutRequest{}, false)
	ask("a", rollout.Resume, api.RolloutRequest{}, true)

	// An older or the same version does not supersede, a newer one does.
	if _, err := s.Client.StartRollout(s.ctx, "a", api.StartRollout{Version: 2}); !api.IsCode(err, api.CodeConflict) {
		t.Errorf("the same version again: %v", err)
	}
	s.rollOut("a", s.publish("a", "three"), long)
	all, err := s.Client.Rollouts(s.ctx, "a")
	if err != nil || len(all) != 3 || all[1].Status != rollout.Superseded || all[0].Version != 3 || all[0].Regions["eu"].Baseline != 1 {
		t.Fatalf("rollouts after superseding: %+v, %v", all, err)
	}
	s.until("the next one bakes", func() bool { r, _ := s.Client.Rollout(s.ctx, "a"); return r.Part == rollout.Baking })

	// One region is rolled back by hand: it leaves the rollout, which waits for a decision.
	if _, err := s.Client.Rollback(s.ctx, "a", api.Rollback{Regions: []string{"us"}}); err != nil {
		t.Fatal(err)
	}
	if r, _ := s.Client.Rollout(s.ctx, "a"); r.Status != rollout.Paused || !r.Regions["us"].Left {
		t.Errorf("after the rollback of a region: %s, %+v", r.Title, r.Regions["us"])
	}
	ask("a", rollout.Promote, api.RolloutRequest{Full: true}, true)
	r := s.ends("a", rollout.Done)
	pointers, _ := s.Client.Pointers(s.ctx, "a")
	if pointers[0].Baseline != 3 || pointers[1].Baseline != 1 {
		t.Errorf("pointers: %+v", pointers)
	}
	ask("a", "undo", api.RolloutRequest{IfRollout: r.ID + 1}, false)
	ask("a", "undo", api.RolloutRequest{IfRollout: r.ID}, true)
	s.ends("a", rollout.Aborted)
	s.everywhere("a", "one")

	// A freeze holds, a lock forbids; both can be lifted.
	version := s.publish("a", "four")
	hold := func(h api.Hold) {
		t.Helper()
		if _, err := s.Client.Hold(s.ctx, h); err != nil {
			t.Fatal(err)
		}
	}
	hold(api.Hold{Scope: "*", Reason: "black friday", Until: time.Now().Add(time.Hour)})
	if _, err := s.Client.StartRollout(s.ctx, "a", api.StartRollout{Version: version}); !api.IsCode(err, api.CodeRejected) || !strings.Contains(err.Error(), "black friday") {
		t.Errorf("a rollout in a freeze: %v", err)
	}
	if _, err := s.Client.Activate(s.ctx, "a", api.Activate{Version: version}); !api.IsCode(err, api.CodeRejected) {
		t.Errorf("an immediate move in a freeze: %v", err)
	}
	if err := s.Client.Lift(s.ctx, api.Hold{Scope: "*"}); err != nil {
		t.Fatal(err)
	}
	s.rollOut("a", version, long)
	s.until("baking", func() bool { r, _ := s.Client.Rollout(s.ctx, "a"); return r.Part == rollout.Baking })
	hold(api.Hold{Scope: "a", Lock: true, Reason: "audit"})
	if _, err := s.Client.Rollback(s.ctx, "a", api.Rollback{}); !api.IsCode(err, api.CodeRejected) || !strings.Contains(err.Error(), "audit") {
		t.Errorf("a rollback of what is locked: %v", err)
	}
	if _, err := s.Client.Publish(s.ctx, api.Draft{Config: "a", Body: []byte("five"), ContentType: draft.TypeText}, s.Key); !api.IsCode(err, api.CodeRejected) {
		t.Errorf("a version of what is locked: %v", err)
	}
	ask("a", rollout.Abort, api.RolloutRequest{}, false)
	if err := s.Client.Lift(s.ctx, api.Hold{Scope: "a", Lock: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Client.Rollback(s.ctx, "a", api.Rollback{Message: "enough"}); err != nil {
		t.Fatal(err)
	}
	if r := s.ends("a", rollout.Aborted); r.Decided.IsZero() || r.Recovered.IsZero() {
		t.Errorf("when it was decided and when all were back is not known: %+v", r)
	}

	// Who starts a rollout of a guarded config can't approve it, nor go around it.
	s.rollOut("guarded/x", s.publish("guarded/x", "one"), "{}")
	if r, _ := s.Client.Rollout(s.ctx, "guarded/x"); r.Status != rollout.Waiting {
		t.Errorf("a guarded config's rollout is %s", r.Status)
	}
	ask("guarded/x", rollout.Approve, api.RolloutRequest{}, false)
	if _, err := s.Client.Activate(s.ctx, "guarded/x", api.Activate{Version: 1}); !api.IsCode(err, api.CodeRejected) {
		t.Errorf("around the second person: %v", err)
	}
}

func TestPlansAreRefusedThatTheFleetCantFollow(t *testing.T) {
	s := newStage(t, 5, nil)
	version := s.publish("a", "one")
	for plan, want := range map[string]string{
		"regions: [[mars]]": "mars",
		"waves: [{labels: {canary: maybe}}, {share: 100%}]": "canary=maybe",
		"waves: [{share: 10%}]":                             "100%",
		"waves: nonsense":                                   "/waves",
	} {
		_, err := s.Client.StartRollout(s.ctx, "a", api.StartRollout{Version: version, Plan: plan})
		if !api.IsCode(err, api.CodeRejected) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", plan, err)
		}
		if err := s.Client.PutPlan(s.ctx, "p", plan); !api.IsCode(err, api.CodeRejected) {
			t.Errorf("stored: %s: %v", plan, err)
		}
	}
	if r, err := s.Client.Rollout(s.ctx, "a"); err == nil {
		t.Errorf("a refused plan left a rollout: %s", r.Title)
	}
	// A default of a prefix is found for the configs below it, the longest first.
	for name, text := range map[string]string{"slow": "waves: [{share: 50%, bake: 1h}, {share: 100%}]", "quick": "waves: [{share: 100%}]"} {
		if err := s.Client.PutPlan(s.ctx, name, text); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, plan := range map[string]string{"*": "slow", "web": "quick"} {
		if err := s.Client.SetDefaultPlan(s.ctx, api.PlanDefault{Prefix: prefix, Plan: plan}); err != nil {
			t.Fatal(err)
		}
	}
	for config, plan := range map[string]string{"web/a": "quick", "a": "slow", "website": "slow"} {
		version := s.publish(config, "x")
		r, err := s.Client.StartRollout(s.ctx, config, api.StartRollout{Version: version})
		if err != nil || r.Plan.Name != plan {
			t.Errorf("%s: plan %q, %v; want %q", config, r.Plan.Name, err, plan)
		}
	}
	if err := s.Client.PutPlan(s.ctx, "slow", ""); !api.IsCode(err, api.CodeRejected) {
		t.Errorf("a default's plan was removed: %v", err)
	}
}

func TestAWebhookHoldsAndFailsAWave(t *testing.T) {
	var status atomic.Int64
	status.Store(http.StatusServiceUnavailable)
	var asked atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.WriteHeader(int(status.Load()))
		fmt.Fprint(w, "error budget is spent")
	})}
	address := serve(t, server)
	s := newStage(t, 5, nil)
	s.rollOut("a", s.publish("a", "one"), "{}")
	s.ends("a", rollout.Done)
	plan := fmt.Sprintf("waves: [{share: 50%%, gates: {webhooks: [{name: budget, url: 'http://%s/', every: 20ms, limit: 30s}]}}, {share: 100%%}]", address)
	s.rollOut("a", s.publish("a", "two"), plan)
	s.until("several questions", func() bool { return asked.Load() > 5 })
	if r, _ := s.Client.Rollout(s.ctx, "a"); r.Part != rollout.Baking || r.Wave != 0 {
		t.Fatalf("without an answer the rollout is %s", r.Title)
	}
	status.Store(http.StatusOK)
	s.ends("a", rollout.Done)

	status.Store(http.StatusTeapot)
	s.rollOut("a", s.publish("a", "three"), plan)
	if r := s.ends("a", rollout.RolledBack); !strings.Contains(r.Why, "error budget is spent") {
		t.Errorf("why: %s", r.Why)
	}
	// One that can't be asked fails the wave after its limit.
	server.Close()
	s.rollOut("a", s.publish("a", "four"), strings.Replace(plan, "limit: 30s", "limit: 300ms", 1))
	if r := s.ends("a", rollout.RolledBack); !strings.Contains(r.Why, "could not be asked") {
		t.Errorf("why: %s", r.Why)
	}
	s.everywhere("a", "two")
}
