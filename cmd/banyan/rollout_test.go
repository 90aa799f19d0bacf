package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"banyan/agent"
	"banyan/coordinator"
	"banyan/coordinator/api"
	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
	"banyan/rollout"
	"banyan/versionstore"
	"banyan/versionstore/storetest"
)

// killAt, in the environment of a coordinator that a test runs, is the step of a rollout
// at which it kills itself: "3 before" or "3 after" the commit.
const killAt = "BANYAN_TEST_KILL_AT"

// killingStore returns an OpenStore of a coordinator whose process kills itself before or
// after a step of a rollout, as the value of killAt says; nil if killAt is not set.
func killingStore() func(context.Context, string, int64) (versionstore.Store, error) {
	at := strings.Fields(os.Getenv(killAt))
	if len(at) != 2 {
		return nil
	}
	os.Unsetenv(killAt)
	kill := func(t versionstore.Transaction, committed bool) error {
		for _, d := range t.Documents {
			step := strconv.FormatUint(d.IfSeq+1, 10)
			if d.Kind == "rollout" && step == at[0] && committed == (at[1] == "after") {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // until the signal arrives
			}
		}
		return nil
	}
	return func(_ context.Context, dir string, reserve int64) (versionstore.Store, error) {
		store, err := coordinator.OpenEmbedded(dir, reserve)
		return storetest.Observed{Replica: store, OnCommit: kill}, err
	}
}

// A leader is killed with kill -9 before and after each commit of a rollout; started anew on
// the same data, it ends the rollout as if nothing had happened.
func TestALeaderKilledAtEveryStepEndsTheRollout(t *testing.T) {
	h := newHome(t, "eu")
	plan := file(t, "plan.yaml", "waves: [{share: 10%, bake: 50ms}, {share: 100%, bake: 50ms}]\n")
	for step, more := 1, true; more; step++ {
		for _, when := range []string{"before", "after"} {
			data := t.TempDir()
			t.Setenv(killAt, fmt.Sprintf("%d %s", step, when))
			leader, _, at := startLeader(t, h, data, []string{"eu"})
			os.Unsetenv(killAt)
			cli := func(args ...string) result {
				return runCLI(t, "{}", append([]string{"--home", h.Dir, "--coordinator", at}, args...)...)
			}
			expect(t, cli("publish", "a", "-", "--type", "application/json", "--no-activate"), 0, nil, nil)
			r := cli("rollout", "start", "a", "--plan", plan, "--watch")
			if more = r.code != 0; !more {
				break // it ended in fewer steps
			}
			<-leader.done
			_, _, at = startLeader(t, h, data, []string{"eu"})
			if step == 1 && when == "before" { // there is no rollout yet
				expect(t, cli("rollout", "start", "a", "--plan", plan), 0, nil, nil)
			}
			expect(t, cli("rollout", "status", "a", "--watch"), 0, []string{"wave 1 of 2 (10%)", "wave 2 of 2 (100%)", "done"}, nil)
			var status api.ConfigStatus
			if err := json.Unmarshal([]byte(cli("status", "a", "-o", "json").stdout), &status); err != nil {
				t.Fatal(err)
			}
			if got := status.Regions[0]; got.Epoch != 4 || got.Version != 1 || got.Candidate != 0 {
				t.Errorf("killed %s step %d: ends at epoch %d, version %d, candidate %d", when, step, got.Epoch, got.Version, got.Candidate)
			}
		}
		if step > 50 {
			t.Fatal("the rollout does not end")
		}
	}
}

func TestRolloutsByTheCommandLine(t *testing.T) {
	c := newCLI(t, 4)
	body := func(n int) string { return file(t, "a.json", fmt.Sprintf(`{"n": %d}`, n)) }
	long := file(t, "long.yaml", "waves: [{share: 50%, bake: 1h}, {share: 100%, bake: 1h}]\n")
	c.expect(0, []string{"2 waves", "2h0m0s"}, "rollout", "lint", long)
	c.expect(3, []string{"100%", "hint: "}, "rollout", "lint", file(t, "bad.yaml", "waves: [{share: 50%}]\n"), "--offline")
	c.expect(3, []string{"mars"}, "rollout", "lint", file(t, "mars.yaml", "regions: [[mars]]\n"))
	c.expect(0, []string{`"$schema"`}, "rollout", "schema")
	c.expect(0, []string{"version 1 published", "2/2"}, "publish", "a", body(1))

	// A plan that bakes goes on by itself.
	c.expect(0, []string{"version 2 published", "rollout status a --watch"}, "publish", "a", body(2), "--plan", long, "-m", "half first")
	c.expect(7, []string{"timed out"}, "publish", "b", body(1), "--plan", long, "--wait", "200ms")
	c.expect(0, []string{"rollout 2 of version 2", "IN WAVE"}, "rollout", "status", "a")
	c.expect(5, []string{"not newer"}, "rollout", "start", "a", "1")
	c.expect(0, []string{"paused"}, "rollout", "pause", "a", "-m", "lunch")
	c.expect(5, []string{"only one that runs"}, "rollout", "pause", "a")
	c.expect(0, []string{"running"}, "rollout", "resume", "a")
	c.expect(0, []string{"running"}, "rollout", "promote", "a", "--full")
	c.expect(0, []string{"promoted past", "done"}, "rollout", "status", "a", "--watch")
	c.expect(0, []string{"returning"}, "rollout", "undo", "a")
	c.expect(6, []string{"undone", "taken back"}, "rollout", "status", "a", "--watch")
	c.expect(0, []string{"half first"}, "history", "a")
	c.expect(0, []string{"aborted", "done"}, "rollout", "history", "a")
	c.expect(0, []string{"a ", "b "}, "rollout", "status")
	c.expect(0, []string{"returning"}, "rollout", "abort", "b")

	// A plan made of flags.
	c.expect(0, []string{"wave 1 of 2 (50%)", "wave 2 of 2 (100%)", "done"}, "rollout", "start", "a", "2", "--wave", "50%:10ms", "--wave", "100%", "--max-failures", "0", "--watch")
	for want, flags := range map[string][]string{
		"neither a share": {"--wave", "some:5m"}, "is not a duration": {"--wave", "5%:later"}, "is not a label": {"--wave", "=x"},
		"exclude each other": {"--wave", "100%", "--immediate"},
	} {
		c.expect(2, []string{want}, append([]string{"rollout", "start", "a", "2"}, flags...)...)
	}
	c.expect(3, []string{"canary=yes"}, "rollout", "start", "a", "2", "--wave", "canary=yes:1m", "--wave", "100%")
	c.expect(2, []string{"must be 100%"}, "rollout", "start", "a", "2", "--wave", "5%")
	c.expect(0, []string{"back from version 2 to version 1"}, "rollback", "a", "--to", "1")

	// Plans that are stored, and a default.
	c.expect(0, nil, "plan", "put", "careful", long)
	c.expect(0, nil, "plan", "default", "web", "careful")
	c.expect(0, []string{"careful", "web"}, "plan", "list")
	c.expect(0, []string{"bake: 1h"}, "plan", "get", "careful")
	c.expect(0, []string{"rollout 1 of web/x", "rollout status web/x --watch"}, "publish", "web/x", body(1), "--wait", "0")
	c.expect(3, []string{"default of web"}, "plan", "delete", "careful")
	c.expect(0, []string{"version 2 published", "2/2"}, "publish", "web/x", body(2), "--immediate")

	// Freezes and locks.
	c.expect(2, []string{"--reason"}, "freeze", "a")
	c.expect(0, []string{"black friday"}, "freeze", "a", "--reason", "black friday", "--for", "1h")
	c.expect(3, []string{"nothing was stored", "black friday", "--lift"}, "publish", "a", body(3))
	c.expect(0, []string{"black friday"}, "freeze")
	c.expect(0, nil, "freeze", "a", "--lift")
	c.expect(0, []string{"audit"}, "lock", "a", "--reason", "audit")
	c.expect(3, []string{"locked", "banyan unlock a"}, "rollback", "a", "--to", "1")
	c.expect(0, nil, "unlock", "a")
	c.expect(0, []string{"version 1 runs already"}, "rollback", "a", "--to", "1")
	c.expect(0, []string{"rollout 4 of a version 3"}, "publish", "a", body(3), "--plan", long)
	c.expect(5, []string{"no approval"}, "approve", "a")
}

// A version that hosts can't apply is taken back, and the command says so.
func TestPublishThatIsTakenBack(t *testing.T) {
	cfg := fleet.Config{Agents: 4, Publisher: "admin"}
	cfg.OnAgent = func(i int, a *agent.Config) {
		if i > 0 {
			return
		}
		check := []string{"/bin/sh", "-c", `! grep -q 2 "$BANYAN_PATH"`}
		hooks, err := agent.NewHooks(agent.Rule{Config: "*", Check: &agent.Check{Command: check}})
		if err != nil {
			t.Error(err)
		}
		a.Hooks = hooks
	}
	c := &cli{t, fleettest.Start(t, cfg)}
	c.expect(0, nil, "publish", "a", file(t, "a.json", "{}"))
	quick := file(t, "plan.yaml", "stage: {skip: true}\ngates: {timeout: 20s, maxFailures: 0}\n")
	r := c.expect(6, []string{"taken back"}, "publish", "a", file(t, "b.json", `{"n": 2}`), "--plan", quick, "--wait", "1m")
	if !strings.Contains(r.stderr, "failed") {
		t.Errorf("the reason is not told: %s", r.stderr)
	}
	var got api.Rollout
	if err := json.Unmarshal([]byte(c.expect(0, nil, "rollout", "status", "a", "-o", "json").stdout), &got); err != nil {
		t.Fatal(err)
	}
	if got.Status != rollout.RolledBack || got.Ended.Sub(got.Started) > time.Minute {
		t.Errorf("%s after %s", got.Title, got.Ended.Sub(got.Started))
	}
}
