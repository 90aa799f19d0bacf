package measure

import (
	"testing"

	"banyan/simulator/world"
)

// The claim of the README on a fleet of a test's size: 99% within 1.3 × the floor,
// and the floor itself is not undercut.
func TestAFleetStaysNearThePhysicalFloor(t *testing.T) {
	r, err := Fleet(world.Config{Seed: 1, Agents: world.Uniform(5000, 10), Fanout: 32, Heads: world.DefaultHeads, Network: world.Network{Loss: 0.001}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Missed != 0 || r.RatioToBound > 1.3 || r.RollbackRatio > 1.3 || r.RatioToBound < 1 {
		t.Errorf("missed %d, update %.2f, rollback %.2f of the floor", r.Missed, r.RatioToBound, r.RollbackRatio)
	}
	if r.Max < r.Bound {
		t.Errorf("the last host had it %.1f ms after, the floor is %.1f", r.Max, r.Bound)
	}
	if len(r.Capacity.Words) < 5 || r.Capacity.Coordinators != 10 {
		t.Errorf("capacity: %+v", r.Capacity)
	}
}

func TestARunCanBeStopped(t *testing.T) {
	done := make(chan struct{})
	close(done)
	if _, err := Fleet(world.Config{Agents: []int{2000}, Done: done}); err != ErrStopped {
		t.Errorf("got %v, want ErrStopped", err)
	}
}
