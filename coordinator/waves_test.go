package coordinator_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/internal/fleet/fleettest"
	"banyan/rollout"
)

const canaryPlan = `
waves: [{labels: {canary: true}, bake: 300ms}, {share: 50%, bake: 100ms}, {share: 100%, bake: 100ms}]
gates: {minSuccess: 100%, timeout: 30s}
`

// expectLog checks that the log of a rollout has each of the lines.
func expectLog(t *testing.T, lines []string, log string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains(log, want) {
			t.Errorf("the log of the rollout lacks %q:\n%s", want, log)
		}
	}
}

// Version 2 goes out in waves. Version 3 fails its check on the canaries, and the rollout takes
// the version back before any host has run it.
func TestAGoodVersionGoesOutInWavesAndABadOneIsTakenBack(t *testing.T) {
	cfg := fleettest.Canaries(20)
	label := cfg.OnAgent
	cfg.OnAgent = func(i int, c *agent.Config) {
		label(i, c)
		script := `! grep -q bad "$BANYAN_PATH" || { echo "no good: $BANYAN_CONFIG version $BANYAN_VERSION"; exit 1; }`
		check := &agent.Check{Command: []string{"/bin/sh", "-c", script}}
		hooks, err := agent.NewHooks(agent.Rule{Config: "*", Check: check})
		if err != nil {
			panic(err)
		}
		c.Hooks = hooks
	}
	f := fleettest.Start(t, cfg)
	f.Install("a", "one")
	f.WaitShown("a", "one")

	f.RollOut("a", f.Store("a", "two"), canaryPlan)
	r := f.WaitRollout("a", rollout.Done)
	f.WaitShown("a", "two")
	expectLog(t, []string{
		"staged in eu, us",
		"wave 1 of 3 (canary=true) runs on 4 of 4 hosts",
		"wave 3 of 3 (100%) runs on 20 of 20 hosts",
	}, fleettest.Log(r))

	bad := f.Store("a", "bad")
	f.RollOut("a", bad, canaryPlan)
	r = f.WaitRollout("a", rollout.RolledBack)
	if !strings.Contains(r.Why, "no good: a version 3") {
		t.Errorf("the output of the check is not in the reason: %s", r.Why)
	}
	f.WaitShown("a", "two")
	for _, e := range f.Events() {
		if e.Kind == agent.EventApplied && e.Version == bad {
			t.Errorf("%s ran the bad version, which its check refuses", e.Agent)
		}
	}
	pointers, err := f.Client.Pointers(t.Context(), "a")
	if err != nil || len(pointers) != 2 || pointers[0].Baseline.Version != 2 || pointers[0].Candidate.Version != 0 {
		t.Errorf("pointers after the rollback: %+v, %v", pointers, err)
	}
}

// A wave of 50% is half of the hosts of each region, rounded up: lint says so before, the status while
// the wave bakes, and the files of the hosts show it.
func TestTruthAWaveOfHalfTheHostsHasHalfTheHosts(t *testing.T) {
	const plan = "waves: [{share: 10%, bake: 100ms}, {share: 50%, bake: 1h}, {share: 100%}]\n"
	f := fleettest.Start(t, fleettest.Canaries(14)) // 7 in each region
	f.Install("a", "one")
	f.WaitShown("a", "one")
	f.Until("the leader to know every host by name", func() bool {
		hosts, err := f.Client.Hosts(t.Context())
		gone := func(h api.Host) bool { return !h.Attached }
		return err == nil && len(hosts) == len(f.Agents) && !slices.ContainsFunc(hosts, gone)
	})
	linted, err := f.Client.LintPlan(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	f.RollOut("a", f.Store("a", "two"), plan)
	f.Until("the bake of the second wave", func() bool {
		r, err := f.Client.Rollout(t.Context(), "a")
		return err == nil && r.Wave == 1 && r.Part == rollout.Baking
	})
	status, err := f.Client.ConfigStatus(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]int{}
	for i, a := range f.Agents {
		text, err := os.ReadFile(f.Path(i, "a", "value"))
		if err != nil {
			t.Fatal(err)
		}
		if string(text) == "two" {
			region, _, _ := strings.Cut(a.Name(), "-")
			shown[region]++
		}
	}
	for _, r := range status.Regions {
		said := linted.Waves[1]
		if said.AtLeast || said.Hosts[r.Region] != 4 || r.Running != 4 || shown[r.Region] != 4 {
			t.Errorf("lint says %+v, the status %d hosts of %s, and %d show the version; want 4",
				said, r.Running, r.Region, shown[r.Region])
		}
	}
}

// A body that is too large to be pushed is on every disk before any host runs the version. An
// event of version 0 reports the staging pointer.
func TestNoHostRunsWhatIsNotStagedEverywhere(t *testing.T) {
	f := fleettest.Start(t, fleettest.Canaries(10))
	f.Install("big", strings.Repeat("x", 100_000))
	staged := map[string]bool{}
	for _, e := range f.Events() {
		if e.Kind != agent.EventApplied || e.Pointer.Config != "big" {
			continue
		}
		if e.Version == 0 {
			staged[e.Agent] = true
		} else if len(staged) != len(f.Agents) {
			t.Fatalf("%s ran the version when %d of %d hosts had the staging pointer", e.Agent, len(staged), len(f.Agents))
		}
	}
}
