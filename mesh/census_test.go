package mesh

import (
	"testing"

	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
)

// A coordinator that follows knows its own quarantine: it is asked to release from it.
func TestAFollowerCountsForItselfToo(t *testing.T) {
	n := NewNode(Config{Self: wire.Identity{Role: wire.RoleCoordinator, Region: "us", Name: "follower"}, Description: wire.Description{Relay: true}, Seeds: []string{"leader:1"}, Root: &RootConfig{Planner: tree.PlannerConfig{}}})
	out := n.Step(0, step.Input{Kind: step.InCensus}, nil)
	if len(out) != 1 || out[0].Op != step.OpCensus || out[0].Name != "follower" || out[0].Region != "us" {
		t.Errorf("a follower that is not attached tells of its census: %+v", out)
	}
}
