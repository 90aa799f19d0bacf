package world

import (
	"testing"
	"time"
)

// All agents of a region start in one instant. Each handshake with the root costs the root the
// processor time of a handshake, and what exceeds that is small: agents that are put off do not
// dial again, and the root has no more children than places.
func TestAMassRestartCostsLittleMoreThanItsHandshakes(t *testing.T) {
	matrix, err := OpenMatrix("ibm-2024", "")
	if err != nil {
		t.Fatal(err)
	}
	matrix, err = matrix.First(1)
	if err != nil {
		t.Fatal(err)
	}
	const agents, fanout = 5000, 16
	w, err := New(Config{
		Seed:      1,
		Agents:    []int{agents},
		Zones:     3,
		Fanout:    fanout,
		Heads:     DefaultHeads,
		BodyBytes: 1 << 10,
		PushLimit: 16 << 10,
		Network:   Network{Matrix: matrix},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range w.hosts {
		w.Start(int32(i))
	}
	if err := w.Settle(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	root := &w.hosts[0]
	handshakes := agents * w.cfg.Costs.Connect
	if cpu := root.traffic.CPU; cpu > handshakes*13/10 {
		t.Errorf("the root has spent %s, of which %s for handshakes", cpu, handshakes)
	}
	if n := root.node.Children(); n > fanout {
		t.Errorf("the root has %d children, and %d places", n, fanout)
	}
	t.Logf("all attached after %s; the root sent %d messages and spent %s", time.Duration(w.now), root.traffic.Messages, root.traffic.CPU)
}
