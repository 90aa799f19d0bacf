package mesh

import (
	"fmt"
	"testing"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// A leader announces 1,000 configs in each of more than 100 regions: the limit of configs is one of
// each region.
func TestTruthALeaderAnnouncesTheConfigsOfManyRegions(t *testing.T) {
	n := NewNode(Config{
		Self:        wire.Identity{Role: wire.RoleCoordinator, Region: "eu", Name: "leader"},
		Description: wire.Description{Relay: true},
		Root:        &RootConfig{},
		Verifier:    plainVerifier{},
	})
	revision := uint64(0)
	for region := range 101 {
		for config := range 1000 {
			revision++
			p := record.Pointer{
				Config: fmt.Sprint("config-", config),
				Region: fmt.Sprint("region-", region),
				Epoch:  1,
			}
			in := step.Input{
				Kind:    step.InPublish,
				Pointer: step.Pointer{Announcement: wire.NewAnnouncement(revision, nil, p)},
			}
			for _, o := range n.Step(0, in, nil) {
				if o.Op == step.OpRefused {
					t.Fatalf("pointer %d is refused: %s", revision, o.Reason)
				}
			}
			if n.Revision(p.Region) != revision {
				t.Fatalf("pointer %d was not taken", revision)
			}
		}
	}
}
