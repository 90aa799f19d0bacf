package mesh

import "testing"

// A coordinator that follows knows its own quarantine: it is asked to release from it.
func TestAFollowerCountsForItselfToo(t *testing.T) {
	n := NewNode(Config{Self: Identity{RoleCoordinator, "us", "follower"}, Relay: true, Seeds: []string{"leader:1"}, Planner: NewPlanner(PlannerConfig{})})
	out := n.Step(0, Input{Kind: InCensus}, nil)
	if len(out) != 1 || out[0].Op != OpCensus || out[0].Name != "follower" || out[0].Region != "us" {
		t.Errorf("a follower that is not attached tells of its census: %+v", out)
	}
}
