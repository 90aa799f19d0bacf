package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/rollout"
)

// withHooks gives every agent rules, for which rule is called with the agent's directory.
func withHooks(rule func(dir string) agent.Rule) func(c *Config) {
	return func(c *Config) {
		c.OnAgent = func(_ int, a *agent.Config) {
			hooks, err := agent.NewHooks(rule(filepath.Dir(a.StateDir)))
			if err != nil {
				panic(err)
			}
			a.Hooks, a.DriftInterval = hooks, 50*time.Millisecond
		}
	}
}

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

func linesOf(t *testing.T, path string) []string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
}

// A check sees the new file before it shows, a reload sees it shown; each is told what it
// is about, and runs once for each version that comes.
func TestHooksRunAroundTheSwap(t *testing.T) {
	s := newStage(t, 2, withHooks(func(dir string) agent.Rule {
		note := fmt.Sprintf(`echo "$BANYAN_HOOK $BANYAN_CONFIG $BANYAN_VERSION<$BANYAN_PREVIOUS_VERSION new=$(cat "$BANYAN_PATH") shown=$(cat %[1]s/configs/a/value 2>/dev/null)" >> %[1]s/hooks`, dir)
		return agent.Rule{Config: "a", Check: &agent.Check{Command: shell(note)}, Reload: &agent.Reload{Command: shell(note)}}
	}))
	for _, body := range []string{"one", "two"} {
		s.rollOut("a", s.publish("a", body), "waves: [{share: 50%, bake: 50ms}, {share: 100%, bake: 50ms}]")
		s.ends("a", rollout.Done)
	}
	if _, err := s.Client.Rollback(s.ctx, "a", api.Rollback{To: 1}); err != nil {
		t.Fatal(err)
	}
	s.everywhere("a", "one")
	want := []string{"check a 1<0 new=one shown=", "reload a 1<0 new=one shown=one", "check a 2<1 new=two shown=one", "reload a 2<1 new=two shown=two",
		"reload a 1<2 new=one shown=one"} // what has passed its check here is not checked again
	for i := range s.Agents {
		path := filepath.Join(s.AgentDir(i), "hooks")
		s.until("the last reload", func() bool { return len(linesOf(t, path)) >= len(want) })
		if got := linesOf(t, path); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("agent %d: hooks ran as\n%s\nwant\n%s", i, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// A check that hangs does not stand in the way of what comes after it.
func TestAHangingCheckGivesWayToARollback(t *testing.T) {
	s := newStage(t, 2, withHooks(func(string) agent.Rule {
		return agent.Rule{Config: "*", Check: &agent.Check{Command: shell(`! grep -q hang "$BANYAN_PATH" || exec sleep 1000`), Timeout: 3_600_000_000_000}}
	}))
	s.rollOut("a", s.publish("a", "one"), "{}")
	s.ends("a", rollout.Done)
	s.rollOut("a", s.publish("a", "hang"), "waves: [{share: 100%, bake: 1h}]")
	s.until("the wave", func() bool { r, _ := s.Client.Rollout(s.ctx, "a"); return r.Part == rollout.Applying })
	began := time.Now()
	if _, err := s.Client.Rollback(s.ctx, "a", api.Rollback{}); err != nil {
		t.Fatal(err)
	}
	s.ends("a", rollout.Aborted)
	s.everywhere("a", "one")
	t.Logf("taken back in %s", time.Since(began))
}

// A reload that a crash cut short runs again; the config shows all the while.
func TestAReloadIsDoneAgainAfterACrash(t *testing.T) {
	s := newStage(t, 1, withHooks(func(dir string) agent.Rule {
		script := fmt.Sprintf(`echo "$BANYAN_EPOCH" >> %[1]s/reloads; test -e %[1]s/go || exec sleep 1000`, dir)
		return agent.Rule{Config: "*", Reload: &agent.Reload{Command: shell(script)}}
	}))
	version := s.publish("a", "one")
	if _, err := s.Client.Activate(s.ctx, "a", api.Activate{Version: version}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.AgentDir(0), "reloads")
	s.until("the first reload", func() bool { return linesOf(t, path)[0] == "1" })
	s.everywhere("a", "one")
	if a, _ := s.Agents[0].Applied("a"); !a.Pending {
		t.Error("a reload under way is not told of as pending")
	}
	s.stops[s.Agents[0].Name()]()
	s.until("the agent's end", func() bool { return s.Ended(s.Agents[0]) })
	if err := os.WriteFile(filepath.Join(s.AgentDir(0), "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Agents = nil
	if _, err := s.StartAgent(0); err != nil {
		t.Fatal(err)
	}
	s.until("the reload done again", func() bool {
		a, _ := s.Agents[0].Applied("a")
		return len(linesOf(t, path)) == 2 && a.Version == version && !a.Pending
	})
	if got := linesOf(t, path); got[1] != "1" {
		t.Errorf("reloads ran with epochs %v: the key must be the same", got)
	}
}

// An agent that keeps failing is listed with its reason, does not count against a rollout
// that begins later, and is released by its first success.
func TestAFailingAgentIsQuarantinedAndReleased(t *testing.T) {
	s := newStage(t, 12, nil)
	s.rollOut("a", s.publish("a", "one"), "{}")
	s.ends("a", rollout.Done)
	broken := filepath.Join(s.AgentDir(2), "configs", "b") // a file where the config's directory is to be
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	name := s.Agents[2].Name()
	quarantined := func() (out []api.Quarantined) {
		all, err := s.Client.Quarantined(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	version := s.publish("b", "one")
	if _, err := s.Client.Activate(s.ctx, "b", api.Activate{Version: version}); err != nil {
		t.Fatal(err)
	}
	s.until("the quarantine", func() bool { return len(quarantined()) == 1 })
	if q := quarantined()[0]; q.Name != name || q.Config != "b" || q.Reason == "" || time.Since(q.Since) > time.Minute {
		t.Errorf("quarantined: %+v", q)
	}
	agents, err := s.Client.Agents(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range agents {
		if a.Confined != (a.Name == name) {
			t.Errorf("%s is listed as quarantined: %t", a.Name, a.Confined)
		}
	}
	// Every agent must run the next version, but those that were broken before.
	s.rollOut("b", s.publish("b", "two"), "waves: [{share: 100%, bake: 100ms}]\ngates: {minSuccess: 100%, maxFailures: 0}")
	s.ends("b", rollout.Done)
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	s.until("the release", func() bool { return len(quarantined()) == 0 })
	if got, err := os.ReadFile(filepath.Join(broken, "value")); err != nil || string(got) != "two" {
		t.Errorf("after its release it runs %q, %v", got, err)
	}
}

// A file that another hand changed is noticed, told of, and put right where a rule says so.
func TestDriftIsNoticedAndRepaired(t *testing.T) {
	s := newStage(t, 2, withHooks(func(string) agent.Rule { return agent.Rule{Config: "a", Drift: agent.DriftRepair} }))
	for _, config := range []string{"a", "b"} {
		s.rollOut(config, s.publish(config, "applied"), "{}")
		s.ends(config, rollout.Done)
	}
	path := func(config string) string { return filepath.Join(s.AgentDir(1), "configs", config, "value") }
	drifts := func() map[string]api.Drift {
		all, err := s.Client.Drifts(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		by := map[string]api.Drift{}
		for _, d := range all {
			by[d.Config] = d
		}
		return by
	}
	// In place, of the same length: only the content tells.
	for _, config := range []string{"a", "b"} {
		if err := os.WriteFile(path(config), []byte("APPLIED"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.until("a is repaired and b told of", func() bool {
		all := drifts()
		got, err := os.ReadFile(path("a"))
		return err == nil && string(got) == "applied" && all["a"].Repaired && all["b"].Agent == s.Agents[1].Name()
	})
	if got, _ := os.ReadFile(path("b")); string(got) != "APPLIED" {
		t.Errorf("without a rule to repair, the file is %q", got)
	}
	if a, _ := s.Agents[1].Applied("b"); a.Drift == "" {
		t.Error("the agent's own status does not tell of the drift")
	}
	// The link itself replaced by a file, as an editor does.
	if err := os.Remove(path("a")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path("a"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.until("the link is back", func() bool {
		got, err := os.ReadFile(path("a"))
		target, linkErr := os.Readlink(path("a"))
		return err == nil && linkErr == nil && string(got) == "applied" && target != ""
	})
	// What is put right by hand is drift no more.
	if err := os.WriteFile(path("b"), []byte("applied"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.until("no drift of b", func() bool { _, is := drifts()["b"]; return !is })
}
