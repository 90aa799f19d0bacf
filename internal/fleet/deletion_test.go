package fleet_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"banyan/agent"
	"banyan/coordinator"
	"banyan/coordinator/api"
	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
)

// deletionFleet starts a fleet of one region whose nodes remember a deletion for a time. The last
// agent keeps the files of deleted configs.
func deletionFleet(t *testing.T, memory time.Duration) *fleettest.Fleet {
	return fleettest.Start(t, fleet.Config{
		Agents:      4,
		Regions:     []string{"eu"},
		Fanout:      2,
		KeepAlive:   200 * time.Millisecond,
		IdleTimeout: time.Second,
		OnAgent: func(i int, c *agent.Config) {
			c.DeletionMemory = memory
			if i == 3 {
				c.Hooks, _ = agent.NewHooks(agent.Rule{Config: "*", Deleted: agent.DeletedKeep})
			}
		},
		OnCoordinator: func(_ string, c *coordinator.Config) { c.DeletionMemory = memory },
	})
}

// removed reports whether agent i shows nothing of config.
func removed(f *fleettest.Fleet, i int, config string) bool {
	_, err := os.Lstat(f.Path(i, config))
	return errors.Is(err, fs.ErrNotExist)
}

func TestTruthADeletedConfigIsGoneFromEveryHost(t *testing.T) {
	f := deletionFleet(t, time.Hour)
	f.Spread("web/a", []byte("one"))
	f.Spread("b", []byte("other"))
	f.Spread("web/a", []byte("two"))
	out, err := f.Client.Delete(t.Context(), "web/a", api.Delete{Message: "not used"})
	if err != nil || len(out.Regions) != 1 || !out.Regions[0].Moved || out.Regions[0].Version != 2 {
		t.Fatalf("deleted: %+v, %v", out, err)
	}
	status := func() api.RegionStatus {
		s, err := f.Client.ConfigStatus(t.Context(), "web/a")
		if err != nil {
			t.Fatal(err)
		}
		return s.Regions[0]
	}
	f.Until("every host has acknowledged", func() bool { return status().Applied == 4 })
	if s := status(); !s.Deleted || s.Version != 0 {
		t.Errorf("status: %+v", s)
	}
	for i := range 3 {
		if !removed(f, i, "web/a") || !removed(f, i, "web") {
			t.Errorf("agent %d has something left", i)
		}
	}
	if got, err := os.ReadFile(f.Path(3, "web/a", "value")); err != nil || string(got) != "two" {
		t.Errorf("the agent that keeps files shows %q, %v", got, err)
	}
	f.WaitShown("b", "other")

	again, err := f.Client.Delete(t.Context(), "web/a", api.Delete{})
	if err != nil || again.Regions[0].Moved || again.Pointers[0].Epoch != out.Pointers[0].Epoch {
		t.Errorf("said twice: %+v, %v", again, err)
	}

	// A rollback brings back what ran, once.
	for n := range 2 {
		back, err := f.Client.Rollback(t.Context(), "web/a", api.Rollback{})
		if err != nil || back.Moved() != (n == 0) || back.Regions[0].To != 2 {
			t.Fatalf("rollback %d: %+v, %v", n, back, err)
		}
		f.WaitShown("web/a", "two")
	}

	// The name can be used again.
	if _, err := f.Client.Delete(t.Context(), "web/a", api.Delete{}); err != nil {
		t.Fatal(err)
	}
	if v := f.Spread("web/a", []byte("three")); v.Manifest.Version != 3 {
		t.Errorf("the next version is %d", v.Manifest.Version)
	}
}

// A host is away while a config is deleted, and comes back when all the others have forgotten the
// deletion.
func TestTruthAHostThatMissedADeletionLearnsOfIt(t *testing.T) {
	t.Run("of its term", func(t *testing.T) { missDeletion(t, false) })
	t.Run("of an earlier term", func(t *testing.T) { missDeletion(t, true) })
}

// missDeletion is the test. If nextTerm is true, a new term begins while the host is away.
func missDeletion(t *testing.T, nextTerm bool) {
	f := deletionFleet(t, 300*time.Millisecond)
	f.Spread("a", []byte("one"))
	f.Spread("gone", []byte("one"))
	away := f.Agents[0]
	f.StopAgent(away)
	if _, err := f.Client.Delete(t.Context(), "gone", api.Delete{}); err != nil {
		t.Fatal(err)
	}
	if nextTerm {
		if _, err := f.Client.BeginTerm(t.Context(), api.NewTerm{}); err != nil {
			t.Fatal(err)
		}
	}
	f.Until("the others have forgotten the config", func() bool {
		for _, a := range f.Agents[1:] {
			if _, known := a.Applied("gone"); known {
				return false
			}
		}
		return true
	})
	f.Agents = f.Agents[1:]
	if _, err := os.Stat(f.Path(0, "gone", "value")); err != nil {
		t.Fatal(err)
	}
	// The leader has forgotten it too, since it starts anew.
	if err := f.RestartCoordinator(0); err != nil {
		t.Fatal(err)
	}
	f.WaitAttached()
	if _, err := f.StartAgent(0); err != nil {
		t.Fatal(err)
	}
	f.Until("the host has removed the config", func() bool { return removed(f, 0, "gone") })
	f.WaitShown("a", "one")
	if s, err := f.Client.ConfigStatus(t.Context(), "a"); err != nil || s.Refusal.Stopped != "" {
		t.Errorf("the leader has stopped: %q, %v", s.Refusal.Stopped, err)
	}
}

// A follower has the deletion of a config, and no version of it: its disk is new, or its versions
// were collected.
func TestTruthAFollowerWithoutVersionsOfADeletedConfigStarts(t *testing.T) {
	r := newRestored(t, "eu", "us")
	r.Spread("gone", []byte("one"))
	if _, err := r.Client.Delete(t.Context(), "gone", api.Delete{}); err != nil {
		t.Fatal(err)
	}
	err := r.RestartCoordinatorAfter(1, func() {
		if err := os.RemoveAll(filepath.Join(r.Config.Dir, "coordinator-us")); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	r.WaitAttached()
	r.publish("two")
	if err := r.RestartCoordinator(1); err != nil {
		t.Fatalf("the follower does not start again: %v", err)
	}
	r.WaitAttached()
	r.publish("three")
}
