package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
	"banyan/internal/quantity"
	"banyan/rollout"
)

// withHooks returns the configuration of a fleet of n agents with one rule each. rule is called
// with the directory of an agent.
func withHooks(n int, rule func(dir string) agent.Rule) fleet.Config {
	cfg := fleettest.Canaries(n)
	cfg.OnAgent = func(_ int, a *agent.Config) {
		hooks, err := agent.NewHooks(rule(filepath.Dir(a.StateDir)))
		if err != nil {
			panic(err)
		}
		a.Hooks = hooks
		a.DriftInterval = 50 * time.Millisecond
	}
	return cfg
}

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

// linesOf returns the lines of a file; one empty line if the file does not exist.
func linesOf(t *testing.T, path string) []string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
}

// A check runs before the swap and sees the new file; a reload runs after the swap and sees the
// file as programs see it. Each hook runs once for each new version. A version that has passed
// its check on a host is not checked again.
func TestHooksRunAroundTheSwap(t *testing.T) {
	f := fleettest.Start(t, withHooks(2, func(dir string) agent.Rule {
		note := shell(fmt.Sprintf(`echo "$BANYAN_HOOK $BANYAN_CONFIG $BANYAN_VERSION<$BANYAN_PREVIOUS_VERSION`+
			` new=$(cat "$BANYAN_PATH") shown=$(cat %[1]s/configs/a/value 2>/dev/null)" >> %[1]s/hooks`, dir))
		return agent.Rule{
			Config: "a",
			Check:  &agent.Check{Command: note},
			Reload: &agent.Reload{Command: note},
		}
	}))
	for _, body := range []string{"one", "two"} {
		f.RollOut("a", f.Store("a", body), "waves: [{share: 50%, bake: 50ms}, {share: 100%, bake: 50ms}]")
		f.WaitRollout("a", rollout.Done)
	}
	if _, err := f.Client.Rollback(t.Context(), "a", api.Rollback{To: 1}); err != nil {
		t.Fatal(err)
	}
	f.WaitShown("a", "one")
	want := []string{
		"check a 1<0 new=one shown=",
		"reload a 1<0 new=one shown=one",
		"check a 2<1 new=two shown=one",
		"reload a 2<1 new=two shown=two",
		"reload a 1<2 new=one shown=one",
	}
	for i := range f.Agents {
		path := filepath.Join(f.AgentDir(i), "hooks")
		f.Until("the last reload", func() bool { return len(linesOf(t, path)) >= len(want) })
		if got := linesOf(t, path); !slices.Equal(got, want) {
			t.Errorf("agent %d: hooks ran as\n%s\nwant\n%s", i, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// The check of the second version hangs, with a timeout of an hour. A rollback does not wait for
// the check.
func TestAHangingCheckGivesWayToARollback(t *testing.T) {
	f := fleettest.Start(t, withHooks(2, func(string) agent.Rule {
		check := shell(`! grep -q hang "$BANYAN_PATH" || exec sleep 1000`)
		return agent.Rule{Config: "*", Check: &agent.Check{Command: check, Timeout: quantity.Duration(time.Hour)}}
	}))
	f.Install("a", "one")
	f.RollOut("a", f.Store("a", "hang"), "waves: [{share: 100%, bake: 1h}]")
	f.Until("the wave", func() bool {
		r, _ := f.Client.Rollout(t.Context(), "a")
		return r.Part == rollout.Applying
	})
	if _, err := f.Client.Rollback(t.Context(), "a", api.Rollback{}); err != nil {
		t.Fatal(err)
	}
	f.WaitRollout("a", rollout.Aborted)
	f.WaitShown("a", "one")
}

// An agent ends during a reload. The new version shows meanwhile, and the agent runs the
// reload again after its restart, for the same epoch.
func TestAReloadIsDoneAgainAfterACrash(t *testing.T) {
	f := fleettest.Start(t, withHooks(1, func(dir string) agent.Rule {
		reload := shell(fmt.Sprintf(`echo "$BANYAN_EPOCH" >> %[1]s/reloads; test -e %[1]s/go || exec sleep 1000`, dir))
		return agent.Rule{Config: "*", Reload: &agent.Reload{Command: reload}}
	}))
	version := f.Store("a", "one")
	if _, err := f.Activate(t.Context(), "a", version); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(f.AgentDir(0), "reloads")
	f.Until("the first reload", func() bool { return linesOf(t, path)[0] == "1" })
	f.WaitShown("a", "one")
	if a, _ := f.Agents[0].Applied("a"); !a.Pending {
		t.Error("the status does not show that a reload runs")
	}
	f.StopAgent(f.Agents[0])
	if err := os.WriteFile(filepath.Join(f.AgentDir(0), "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.Agents = nil
	if _, err := f.StartAgent(0); err != nil {
		t.Fatal(err)
	}
	f.Until("the second reload", func() bool {
		a, _ := f.Agents[0].Applied("a")
		return len(linesOf(t, path)) == 2 && a.Version == version && !a.Pending
	})
	if got := linesOf(t, path); got[1] != "1" {
		t.Errorf("reloads ran with epochs %v, want 1 twice", got)
	}
}
