package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"banyan/coordinator"
	"banyan/coordinator/api"
	"banyan/internal/fleet/fleettest"
	"banyan/rollout"
	"banyan/versionstore"
	"banyan/versionstore/storetest"
)

// assassin stops a leader at a step of the rollout of config "a".
type assassin struct {
	stop func() // stops the leader without waiting for its end

	mu     sync.Mutex
	target uint64 // step at which the leader dies; 0 means never; guarded by mu
	before bool   // the leader dies before the commit of the step, not after; guarded by mu
	stored uint64 // newest step that was committed; guarded by mu
	dead   bool   // the leader stores nothing more; guarded by mu
}

// openStore opens the store of a leader and watches the commits of rollouts.
func (a *assassin) openStore(_ context.Context, dir string, reserve int64) (versionstore.Store, error) {
	store, err := coordinator.OpenEmbedded(dir, reserve)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dead = false
	return storetest.Observed{Replica: store, OnCommit: a.onCommit}, nil
}

func (a *assassin) onCommit(t versionstore.Transaction, committed bool) error {
	for _, d := range t.Documents {
		if d.Kind == "rollout" && d.Name == "a" {
			a.onStep(d.IfSeq+1, committed)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dead && !committed {
		return errors.New("the leader is dead")
	}
	return nil
}

// onStep is called before and after the commit of each step. A dead leader stores nothing more.
func (a *assassin) onStep(step uint64, committed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if committed {
		a.stored = step
	}
	if step == a.target && committed != a.before {
		a.target = 0
		a.dead = true
		a.stop()
	}
}

// aim makes the leader die at the given step of the next rollout, counted from 1.
func (a *assassin) aim(step uint64, before bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.target = a.stored + step
	a.before = before
}

// done reports whether the leader has died since the last call of aim.
func (a *assassin) done() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.target == 0
}

// steps returns the number of steps that were ever committed.
func (a *assassin) steps() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stored
}

const deathPlan = `
waves: [{labels: {canary: true}, bake: 100ms}, {share: 100%, bake: 100ms}]
gates: {minSuccess: 100%, timeout: 1m}
`

// The leader dies before or after the commit of every step of a rollout, and starts again.
// Whatever the step, the rollout ends as if the leader had not died.
func TestALeaderMayDieAtEveryStepOfARollout(t *testing.T) {
	killer := &assassin{}
	cfg := fleettest.Canaries(6)
	cfg.OnCoordinator = func(region string, c *coordinator.Config) {
		if region == "eu" {
			c.OpenStore = killer.openStore
			c.HostWait = -1 // its store is never an old copy
		}
	}
	f := fleettest.Start(t, cfg)
	killer.stop = func() { f.StopCoordinator(0) }
	f.Install("a", "one")

	// A rollout without a death counts the steps and the epochs.
	first := killer.steps()
	f.RollOut("a", f.Store("a", "two"), deathPlan)
	whole := f.WaitRollout("a", rollout.Done)
	steps := killer.steps() - first
	epochs := whole.Regions["us"].Epoch - whole.Regions["us"].Began
	t.Logf("%d steps, %d epochs:\n%s", steps, epochs+1, fleettest.Log(whole))

	deaths := 0
	for step := uint64(1); step <= steps; step++ {
		for _, before := range []bool{true, false} {
			if rollOutWithDeath(t, f, killer, step, before, epochs) {
				deaths++
			}
		}
	}
	if deaths < int(steps) {
		t.Errorf("the leader died %d times in %d steps", deaths, steps)
	}
}

// rollOutWithDeath rolls out a version whose leader dies at a step, and checks the end of the
// rollout. epochs is the number of epochs of a rollout without a death. rollOutWithDeath
// reports whether the leader died: a rollout that sees two reports at once has a step less, and
// may end before the step comes.
func rollOutWithDeath(t *testing.T, f *fleettest.Fleet, killer *assassin, step uint64, before bool, epochs uint64) bool {
	t.Helper()
	name := fmt.Sprintf("step %d, before the commit %t", step, before)
	version := f.Store("a", name)
	killer.aim(step, before)
	_, err := f.Client.StartRollout(t.Context(), "a", api.StartRollout{Version: version, Plan: deathPlan})
	if err != nil && !killer.done() { // a leader that dies may not have the time to answer
		t.Error(err)
	}
	died := false
	f.Until("the death of the leader, or the end of the rollout", func() bool {
		died = killer.done()
		r, err := f.Client.Rollout(t.Context(), "a")
		return died || err == nil && r.Version == version && r.Status.Over()
	})
	if !died {
		return false
	}
	if err := f.RestartCoordinator(0); err != nil {
		t.Fatal(err)
	}
	f.Client.Close()
	f.WaitCounted()
	if step == 1 && before { // the leader died before the rollout was stored
		f.RollOut("a", version, deathPlan)
	}
	r := f.WaitRollout("a", rollout.Done)
	if r.Version != version {
		t.Fatalf("%s: the rollout of version %d is gone", name, version)
	}
	for region, got := range r.Regions {
		if got.Epoch-got.Began != epochs {
			t.Errorf("%s: %d epochs in %s, want %d\n%s", name, got.Epoch-got.Began+1, region, epochs+1, fleettest.Log(r))
		}
	}
	expectLog(t, []string{
		"wave 1 of 2 (canary=true) runs on 2 of 2 hosts",
		"wave 2 of 2 (100%) runs on 6 of 6 hosts",
	}, fleettest.Log(r))
	f.WaitShown("a", name)
	return true
}
