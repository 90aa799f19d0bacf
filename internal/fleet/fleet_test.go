package fleet_test

import (
	"testing"

	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
)

// Two versions reach every agent, and a rollback to the first version does. The leader gets the
// acknowledgements of both regions.
func TestConfigReachesEveryAgentOfBothRegionsAndComesBack(t *testing.T) {
	const config = "payments/limits"
	f := fleettest.Start(t, fleet.Config{Agents: 12, Fanout: 3})
	f.Spread(config, []byte(`{"limit": 1}`))
	f.Spread(config, []byte(`{"limit": 2}`))
	epochs, err := f.Activate(t.Context(), config, 1)
	if err != nil {
		t.Fatal(err)
	}
	f.WaitApplied(config, epochs)
	f.WaitShown(config, `{"limit": 1}`)
	f.Until("the acknowledgements of both regions", func() bool {
		s, err := f.Client.ConfigStatus(t.Context(), config)
		if err != nil || len(s.Regions) != 2 {
			return false
		}
		for _, r := range s.Regions {
			if r.Epoch != 3 || r.Applied != 6 || r.Agents != 6 || r.Version != 1 {
				return false
			}
		}
		return true
	})
}

// A coordinator and an agent that end are started again, on the data and addresses of before.
func TestCoordinatorsAndAgentsRestart(t *testing.T) {
	const config = "web/flags"
	f := fleettest.Start(t, fleet.Config{Agents: 2, Regions: []string{"eu"}})
	f.Spread(config, []byte("one"))
	address := f.Coordinators[0].MeshAddr()
	if err := f.RestartCoordinator(0); err != nil {
		t.Fatal(err)
	}
	if got := f.Coordinators[0].MeshAddr(); got != address {
		t.Errorf("the coordinator moved from %s to %s", address, got)
	}
	f.Client.Close()
	f.StopAgent(f.Agents[0])
	f.Agents = f.Agents[1:]
	a, err := f.StartAgent(0)
	if err != nil {
		t.Fatal(err)
	}
	if applied, ok := a.Applied(config); !ok || applied.Version != 1 {
		t.Errorf("the agent starts again with %+v", applied)
	}
	f.Until("an answer of the leader", func() bool {
		_, err := f.Client.Status(t.Context())
		return err == nil
	})
	_, epochs := f.Announce(config, []byte("two"))
	f.WaitApplied(config, epochs)
}
