package tree

import (
	"fmt"
	"testing"

	"banyan/mesh/wire"
)

func testLocations(n int) []wire.Location {
	all := make([]wire.Location, n)
	for i := range all {
		all[i] = wire.Location{Name: fmt.Sprintf("host-%04d", i), Addr: fmt.Sprintf("host-%04d:1", i)}
	}
	return all
}

func TestCirclesAreFedAsATreeAndNoneFeedsMany(t *testing.T) {
	for _, n := range []int{1, circleSize, circleSize + 1, 100, 1000} {
		root := []wire.Location{{Name: "coordinator"}}
		circles := Arrange(testLocations(n), root)
		byMember, fed, members := map[string]*wire.Circle{}, map[*wire.Circle]int{}, 0
		for _, c := range circles {
			members += len(c.Members)
			if len(c.Members) > circleSize || len(c.Members) < min(n, circleSize/2) {
				t.Errorf("%d agents: a circle of %d", n, len(c.Members))
			}
			for _, m := range c.Members {
				byMember[m.Name] = c
			}
		}
		for _, c := range circles {
			hops, at := 0, c
			for ; at.Feeders[0].Name != "coordinator"; at = byMember[at.Feeders[0].Name] {
				if hops++; hops > len(circles) {
					t.Fatalf("%d agents: circles feed each other in a ring", n)
				}
			}
			if feeder := byMember[c.Feeders[0].Name]; feeder != nil {
				fed[feeder]++
			}
		}
		idle := 0
		for _, c := range circles {
			if fed[c] != int(c.Feeds) || fed[c] > 2 {
				t.Errorf("%d agents: a circle feeds %d, and says %d", n, fed[c], c.Feeds)
			}
			if c.Feeds == 0 {
				idle++
			}
		}
		if members != n || idle < len(circles)/2 {
			t.Errorf("%d agents: %d in circles; %d of %d circles feed none", n, members, idle, len(circles))
		}
	}
}
