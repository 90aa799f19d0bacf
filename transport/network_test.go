package transport_test

import (
	"testing"
	"time"

	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
	"banyan/transport/emulated"
)

const config = "web/flags"

// A relay dies, like in a power cut, at the moment of an announcement.
func TestADeadRelaysChildrenGoToTheirBackups(t *testing.T) {
	f := fleettest.Start(t, fleet.Config{
		Agents:  20,
		Regions: []string{"eu"},
		Fanout:  3,
		Link:    &emulated.Link{},
	})
	f.Spread(config, []byte("one"))
	for i, a := range f.Agents {
		if s, ok := a.Status(t.Context()); ok && s.Children > 0 {
			f.Kill(a)
			f.Agents = append(f.Agents[:i], f.Agents[i+1:]...)
			break
		}
	}
	_, epochs := f.Announce(config, []byte("two"))
	f.WaitApplied(config, epochs)
}

// Of the packets, 20% are lost, 5% come late, and 1% come twice.
func TestABadNetworkLosesNoUpdate(t *testing.T) {
	f := fleettest.Start(t, fleet.Config{
		Agents:  12,
		Regions: []string{"eu"},
		Fanout:  3,
		Link: &emulated.Link{
			Loss:      0.2,
			Reorder:   0.05,
			Duplicate: 0.01,
			Delay:     time.Millisecond,
			Seed:      1,
		},
	})
	for n := range byte(5) {
		f.Spread(config, []byte{n})
	}
}

func TestAFleetOnIPv6(t *testing.T) {
	f := fleettest.Start(t, fleet.Config{
		Agents:  6,
		Regions: []string{"eu"},
		Fanout:  2,
		Listen:  "[::1]",
	})
	f.Spread(config, []byte("one"))
}

// A host gets another address: the old socket of its agent falls silent, and the agent
// starts again on another port.
func TestAnAgentThatRestartsElsewhereIsBackAtOnce(t *testing.T) {
	f := fleettest.Start(t, fleet.Config{
		Agents:  8,
		Regions: []string{"eu"},
		Fanout:  2,
		Link:    &emulated.Link{},
	})
	f.Spread(config, []byte("one"))
	moved := f.Agents[0]
	f.Kill(moved)
	f.StopAgent(moved)
	f.Agents = f.Agents[1:]
	if _, err := f.StartAgent(0); err != nil {
		t.Fatal(err)
	}
	_, epochs := f.Announce(config, []byte("two"))
	f.WaitApplied(config, epochs)
}
