package main

import (
	"encoding/json"
	"strings"
	"testing"

	"banyan/coordinator/api"
	"banyan/versionstore/etcdstore/etcdtest"
)

// A leader whose store is in etcd is killed with kill -9 in the middle of a rollout. The coordinator that
// stands by takes over and ends the rollout, and nothing is issued twice.
func TestTruthAStandbyEndsTheRolloutOfAKilledLeader(t *testing.T) {
	etcd := etcdtest.Start(t, 3)
	store := "etcd://" + strings.Join(etcd.Endpoints(), ",")
	h := newHome(t, "eu")
	plan := file(t, "plan.yaml", "waves: [{share: 10%, bake: 2s}, {share: 100%, bake: 50ms}]\n")
	leader, _, at := startLeader(t, h, t.TempDir(), []string{"eu"}, "--store", store)
	standby := start(t, "coordinator", "--identity", h.CoordinatorDir("eu"), "--data-dir", t.TempDir(),
		"--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--head-interval", "200ms",
		"--activation-key", h.ActivationKey("eu"), "--store", store)
	cli := func(args ...string) result {
		return runCLI(t, "{}", append([]string{"--home", h.Dir, "--coordinator", at}, args...)...)
	}
	expect(t, cli("publish", "a", "-", "--type", "application/json", "--no-activate"), 0, nil, nil)
	expect(t, cli("rollout", "start", "a", "--plan", plan), 0, nil, nil)
	if len(standby.logged("coordinator runs")) > 0 {
		t.Error("two coordinators lead")
	}
	leader.kill()
	at = standby.waitLog("coordinator runs")["api"].(string)
	expect(t, cli("rollout", "status", "a", "--watch"), 0, []string{"wave 1 of 2 (10%)", "wave 2 of 2 (100%)", "done"}, nil)
	var status api.ConfigStatus
	if err := json.Unmarshal([]byte(cli("status", "a", "-o", "json").stdout), &status); err != nil {
		t.Fatal(err)
	}
	if got := status.Regions[0]; got.Epoch != 4 || got.Version != 1 || got.Candidate != 0 {
		t.Errorf("the rollout ends at epoch %d, version %d, candidate %d", got.Epoch, got.Version, got.Candidate)
	}
	expect(t, cli("publish", "a", "-", "--type", "application/json", "--no-activate", "--force"), 0, []string{"version 2"}, nil)
}

// A URL that names no store is a usage error that says what is wrong.
func TestTruthAWrongStoreIsAUsageError(t *testing.T) {
	h := newHome(t, "eu")
	args := []string{"coordinator", "--identity", h.CoordinatorDir("eu"), "--data-dir", t.TempDir(),
		"--listen", "127.0.0.1:0", "--activation-key", h.ActivationKey("eu"), "--store"}
	expect(t, runCLI(t, "", append(args, "redis://a:1")...), exitUsage, []string{"redis://a:1", "etcd://"}, nil)
	expect(t, runCLI(t, "", append(args, "etcd://a")...), exitUsage, []string{"HOST:PORT"}, nil)
}
