package coordinator_test

import (
	"os"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/internal/fleet/fleettest"
	"banyan/rollout"
)

// An agent whose disk is broken is listed with a reason, does not count in a rollout that starts
// later, and is released by its first success.
func TestAFailingAgentIsQuarantinedAndReleased(t *testing.T) {
	const broken = 2
	f := fleettest.Start(t, fleettest.Canaries(12))
	f.Install("a", "one")
	// A file stands where the agent would make the directory of config b.
	place := f.Path(broken, "b")
	if err := os.WriteFile(place, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	name := f.Agents[broken].Name()
	quarantined := func() []api.Quarantined {
		all, err := f.Client.Quarantined(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if _, err := f.Activate(t.Context(), "b", f.Store("b", "one")); err != nil {
		t.Fatal(err)
	}
	f.Until("the quarantine", func() bool { return len(quarantined()) == 1 })
	if q := quarantined()[0]; q.Name != name || q.Config != "b" || q.Reason == "" || time.Since(q.Since) > 2*fleettest.Patience {
		t.Errorf("quarantined: %+v", q)
	}
	agents, err := f.Client.Agents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range agents {
		if a.Confined != (a.Name == name) {
			t.Errorf("%s is listed as quarantined: %t", a.Name, a.Confined)
		}
	}
	// The plan allows no failure, and the rollout still ends.
	plan := "waves: [{share: 100%, bake: 100ms}]\ngates: {minSuccess: 100%, maxFailures: 0}"
	f.RollOut("b", f.Store("b", "two"), plan)
	f.WaitRollout("b", rollout.Done)
	if err := os.Remove(place); err != nil {
		t.Fatal(err)
	}
	f.Until("the release", func() bool { return len(quarantined()) == 0 })
	if got, err := os.ReadFile(f.Path(broken, "b", "value")); err != nil || string(got) != "two" {
		t.Errorf("after the release the agent shows %q, %v", got, err)
	}
}
