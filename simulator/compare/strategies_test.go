package compare

import (
	"testing"
	"time"

	"banyan/simulator/world"
)

func TestStrategiesCostWhatTheirShapeSays(t *testing.T) {
	all, err := Strategies(world.Config{Seed: 1, Agents: []int{600, 600}, Fanout: 16}, Options{Poll: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]StrategyResult{}
	for _, s := range all {
		by[s.Strategy] = s
		if s.Missed != 0 || s.Update.Count != 1200 {
			t.Errorf("%s: %d of 1200 applied, %d missed", s.Strategy, s.Update.Count, s.Missed)
		}
	}
	tree, star, pull, gossip := by["tree"], by["star"], by["pull"], by["gossip"]
	if star.Busiest.Messages < 600 || tree.Busiest.Messages > 100 {
		t.Errorf("messages of the busiest coordinator: star %d, tree %d", star.Busiest.Messages, tree.Busiest.Messages)
	}
	if tree.Update.P99 >= star.Update.P99 || star.Update.P99 >= gossip.Update.P99 || gossip.Update.P99 >= pull.Update.P99 {
		t.Errorf("p99: tree %.0f, star %.0f, gossip %.0f, pull %.0f ms", tree.Update.P99, star.Update.P99, gossip.Update.P99, pull.Update.P99)
	}
	// Half the interval on average, and the whole of it at worst.
	if pull.Update.P50 < 4000 || pull.Update.P50 > 6000 || pull.Update.Max > 11_000 {
		t.Errorf("polling every 10 s: p50 %.0f, max %.0f ms", pull.Update.P50, pull.Update.Max)
	}
	if gossip.Traffic.Bytes < 3*tree.Traffic.Bytes {
		t.Errorf("bytes: gossip %d, tree %d", gossip.Traffic.Bytes, tree.Traffic.Bytes)
	}
	if share := by[CanaryFirst].ExposedShare; share == 0 || share > 0.03 {
		t.Errorf("with a canary first, %.3f of the hosts ran the bad version", share)
	}
}
