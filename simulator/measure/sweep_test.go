package measure

import (
	"testing"

	"banyan/simulator/world"
)

func TestASweepMarksTheBestOfEachSize(t *testing.T) {
	rows, err := Sweep{Nodes: []int{200, 800}, Fanouts: []int{2, 16, 400}}.Run(world.Config{Seed: 1, Agents: []int{0, 0}}, func(SweepRow) {})
	if err != nil {
		t.Fatal(err)
	}
	best := map[int]int{}
	for _, r := range rows {
		if r.Missed != 0 {
			t.Errorf("%d nodes, fan-out %d: %d missed", r.Nodes, r.Fanout, r.Missed)
		}
		if r.Best {
			best[r.Nodes]++
		}
	}
	if len(rows) != 6 || best[200] != 1 || best[800] != 1 {
		t.Errorf("%d rows, best of each size: %v", len(rows), best)
	}
	if sizes, err := Sizes(1000, 100_000, 3); err != nil || len(sizes) != 3 || sizes[1] != 10_000 {
		t.Errorf("three sizes from 1000 to 100000: %v, %v", sizes, err)
	}
	for _, bad := range [][3]int{{0, 10, 2}, {10, 5, 2}, {1, world.MaxAgents + 1, 2}, {1, 2, 0}} {
		if _, err := Sizes(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("sizes %v were taken", bad)
		}
	}
}
