package fleet_test

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"banyan/agent"
	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
)

// What a host has acknowledged says nothing of its next process, which may have lost the disk or refuse
// the version: status counts what hosts show.
func TestTruthAnAcknowledgementEndsWithItsProcess(t *testing.T) {
	var refuse atomic.Bool
	f := fleettest.Start(t, fleet.Config{
		Agents:      3,
		Regions:     []string{"eu"},
		Fanout:      2,
		KeepAlive:   200 * time.Millisecond,
		IdleTimeout: time.Second,
		OnAgent: func(_ int, c *agent.Config) {
			command := "true"
			if refuse.Load() {
				command = "false"
			}
			c.Hooks, _ = agent.NewHooks(agent.Rule{Config: "*", Check: &agent.Check{Command: []string{command}}})
		},
	})
	f.Announce("a", []byte("one"))
	f.WaitShown("a", "one")
	counts := func(want uint64) bool {
		s, err := f.Client.ConfigStatus(t.Context(), "a")
		return err == nil && s.Regions[0].Applied == want
	}
	f.Until("three hosts are applied", func() bool { return counts(3) })

	last := len(f.Agents) - 1
	f.StopAgent(f.Agents[last])
	if err := os.RemoveAll(f.AgentDir(last)); err != nil {
		t.Fatal(err)
	}
	refuse.Store(true)
	if _, err := f.StartAgent(last); err != nil {
		t.Fatal(err)
	}
	f.Until("the host without the file fails, and is not counted", func() bool {
		s, err := f.Client.ConfigStatus(t.Context(), "a")
		return err == nil && s.Regions[0].Applied == 2 && s.Regions[0].Failed == 1 && s.Regions[0].Agents == 3
	})
	if _, err := os.Stat(f.Path(last, "a", "value")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the host shows something: %v", err)
	}
}
