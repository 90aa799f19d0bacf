package tree

import (
	"fmt"
	"testing"

	"banyan/mesh/wire"
)

// The dumb twin: the coordinator of greatest weight, found without sorting, is the
// one of the order's head; and losing any but that moves nobody.
func TestRendezvousSharesOutEvenlyAndMovesFew(t *testing.T) {
	const agents = 30_000
	all := []string{"c1:7400", "c2:7400", "c3:7400"}
	count := map[string]int{}
	moved := 0
	for i := range agents {
		name := fmt.Sprintf("host-%d", i)
		order := Rendezvous(name, all)
		count[order[0]]++
		without := Rendezvous(name, []string{"c1:7400", "c3:7400"})
		if order[0] != "c2:7400" && without[0] != order[0] {
			moved++
		}
		if order[0] == "c2:7400" && without[0] != order[1] {
			t.Fatalf("%s goes to %s when c2 is lost, its second choice is %s", name, without[0], order[1])
		}
	}
	for _, c := range all {
		if n := count[c]; n < agents*30/100 || n > agents*37/100 {
			t.Errorf("%s has %d of %d agents", c, n, agents)
		}
	}
	if moved != 0 {
		t.Errorf("%d agents moved that had nothing to do with the one lost", moved)
	}
}

func TestAnIndexOfAnotherCellIsKept(t *testing.T) {
	p := NewPlanner(PlannerConfig{FirstIndex: 1 << CellBits})
	old := uint32(3<<CellBits + 77)
	if placed, err := p.Join(0, "mover", &wire.Join{Index: old + 1}); err != nil || placed.Index != old {
		t.Errorf("an agent of another cell with index %d was given %d, %v", old, placed.Index, err)
	}
	if placed, err := p.Join(0, "liar", &wire.Join{Index: 1<<CellBits + 5}); err != nil || placed.Index != 1<<CellBits {
		t.Errorf("one that claims an index of this cell that nobody gave was given %d, %v", placed.Index, err)
	}
}
