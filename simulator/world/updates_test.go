package world

import (
	"fmt"
	"testing"
	"time"
)

// A thousand changes a second pass hosts that subscribe to none of the configs. With a signature for each
// pointer, its check alone would take a tenth of each host's processor.
func TestTruthAThousandUpdatesASecondCostOtherHostsLittle(t *testing.T) {
	const updates, agents = 1000, 60
	w := newWorld(t, Config{
		Seed:       1,
		Agents:     []int{agents},
		Fanout:     8,
		Heads:      time.Second,
		RelayShare: 0.9,
	})
	settle(t, w)
	before := make([]time.Duration, len(w.hosts))
	for i := range w.hosts {
		before[i] = w.hosts[i].traffic.CPU
	}
	began := w.now
	for i := range updates {
		w.At(began.Add(time.Duration(i)*time.Second/updates), func() { w.Publish(fmt.Sprintf("config/%04d", i), 1) })
	}
	region := w.cfg.Network.Matrix.Regions[0]
	complete := func() bool {
		for i := range w.hosts {
			if w.hosts[i].node.State(region) != w.hosts[0].node.State(region) {
				return false
			}
		}
		return len(w.Pointers()) == updates
	}
	if !w.RunUntil(began.Add(time.Minute), time.Second, complete) {
		t.Fatal("hosts lack pointers")
	}
	single := updates * (w.cfg.Costs.Receive + w.cfg.Costs.Verify)
	leaves := 0
	for i := range w.hosts {
		h := &w.hosts[i]
		if w.IsCoordinator(int32(i)) || !h.relays || h.node.Children() > 0 {
			continue
		}
		leaves++
		if spent := h.traffic.CPU - before[i]; spent > single/4 {
			t.Errorf("%s has spent %s; with a signature for each pointer it would be %s", h.ident.Name, spent, single)
		}
	}
	if leaves == 0 {
		t.Error("no host only listens")
	}
}
