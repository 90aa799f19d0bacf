package mesh

import (
	"testing"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// A damaged shard that is checked after the link of its sender has ended is nobody's fault: no node without a
// name is blamed.
func TestNobodyIsBlamedForAShardWhoseLinkHasEnded(t *testing.T) {
	n := NewNode(Config{
		Self:     wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: "a"},
		Seeds:    []string{"coordinator:1"},
		Verifier: plainVerifier{},
	})
	n.Step(0, step.Input{Kind: step.InStart}, nil)
	version := record.VersionKey{Config: "c", Version: 1, Digest: record.Digest{1}}
	damaged := step.Input{
		Kind:    step.InShard,
		Peer:    7, // no such link
		Shard:   step.Shard{Key: record.FormKey{VersionKey: version}},
		Failure: step.Failure{Reason: step.ReasonPoison},
	}
	for _, o := range n.Step(0, damaged, nil) {
		if o.Op == step.OpRefused {
			t.Errorf("%q is blamed: %s", o.Name, o.Reason)
		}
	}
}
