package agent_test

import (
	"os"
	"testing"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/internal/fleet/fleettest"
)

// Somebody changes files of an agent by hand. The agent reports the drift of both configs, and
// repairs config "a", which has a rule to repair.
func TestDriftIsNoticedAndRepaired(t *testing.T) {
	f := fleettest.Start(t, withHooks(2, func(string) agent.Rule {
		return agent.Rule{Config: "a", Drift: agent.DriftRepair}
	}))
	f.Install("a", "applied")
	f.Install("b", "applied")
	a, b := f.Path(1, "a", "value"), f.Path(1, "b", "value")
	drifts := func() map[string]api.Drift {
		all, err := f.Client.Drifts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		byConfig := map[string]api.Drift{}
		for _, d := range all {
			byConfig[d.Config] = d
		}
		return byConfig
	}
	// The new content has the length of the old: only the content differs.
	for _, path := range []string{a, b} {
		if err := os.WriteFile(path, []byte("APPLIED"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.Until("the repair of a and the report of b", func() bool {
		all := drifts()
		got, err := os.ReadFile(a)
		return err == nil && string(got) == "applied" && all["a"].Repaired && all["b"].Agent == f.Agents[1].Name()
	})
	if got, _ := os.ReadFile(b); string(got) != "APPLIED" {
		t.Errorf("without a rule to repair, the file is %q", got)
	}
	if applied, _ := f.Agents[1].Applied("b"); applied.Drift == "" {
		t.Error("the status of the agent does not show the drift")
	}
	// An editor replaces the link by a file.
	if err := os.Remove(a); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.Until("the link", func() bool {
		got, err := os.ReadFile(a)
		target, linkErr := os.Readlink(a)
		return err == nil && linkErr == nil && string(got) == "applied" && target != ""
	})
	// The person undoes the change of b.
	if err := os.WriteFile(b, []byte("applied"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.Until("the end of the drift of b", func() bool {
		_, drifted := drifts()["b"]
		return !drifted
	})
}
