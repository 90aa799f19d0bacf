package mesh

import (
	"fmt"
	"slices"
	"testing"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// announced returns a verified announcement of epoch 1 of a config.
func announced(config string, revision uint64) *wire.Announcement {
	p := record.Pointer{Config: config, Region: "eu", Term: 1, Epoch: 1, Phase: record.PhaseActive}
	raw := fmt.Appendf(nil, "pointer %s eu 1 1", config)
	return wire.NewAnnouncement(revision, raw, p)
}

// The pointers of one transaction have one revision, and arrive one after another. A node that stops
// between two of them asks for that revision again, until a head confirms it.
func TestTruthANodeThatHasHalfATransactionAsksForTheOtherHalf(t *testing.T) {
	r := newReturning(t)
	r.receive(&wire.Announcement{Revision: 6, Raw: []byte("pointer z eu 1 deleted")})
	r.receive(&wire.Announcement{Revision: 7, Raw: []byte("pointer a eu 1 deleted")})
	if got := r.node.Watermark(); got != 6 {
		t.Errorf("with half of revision 7, the node would go on after revision %d; want 6", got)
	}
}

// caughtUp returns the configs whose pointers the node sends a child that has drained.
func caughtUp(n *Node, child step.PeerID) []string {
	var sent []string
	for _, o := range n.Step(0, step.Input{Kind: step.InDrained, Peer: child}, nil) {
		if a, ok := o.Message.(*wire.Announcement); ok && o.Op == step.OpSend {
			sent = append(sent, a.Pointer.Config)
		}
	}
	slices.Sort(sent)
	return sent
}

// A child that is congested between two pointers of one transaction is sent both when it has drained.
func TestTruthACongestedChildGetsTheWholeTransaction(t *testing.T) {
	n := newReturning(t).node
	n.children = children{{peer: 5, region: "eu"}}
	for _, raw := range []string{"pointer a eu 1 deleted", "pointer b eu 1 deleted"} {
		a := &wire.Announcement{Revision: 7, Raw: []byte(raw)}
		n.Step(0, step.Input{Kind: step.InReceived, Peer: toParent, Message: a}, nil)
		n.Step(0, step.Input{Kind: step.InCongested, Peer: 5}, nil)
	}
	if sent := caughtUp(n, 5); !slices.Equal(sent, []string{"a", "b"}) {
		t.Errorf("the child was sent %v; want both pointers of revision 7", sent)
	}
}

// A child that is congested while pointers wait to leave in a batch is sent them when it has drained.
func TestTruthACongestedChildGetsWhatWaitedToLeave(t *testing.T) {
	n := NewNode(Config{
		Self:     wire.Identity{Role: wire.RoleCoordinator, Region: "eu", Name: "leader"},
		Root:     &RootConfig{SignBatch: func(string, [][]byte) ([]byte, error) { return []byte("root"), nil }},
		HoldsAll: true,
		Verifier: plainVerifier{},
	})
	n.children = children{{peer: 5, region: "eu"}}
	for i, config := range []string{"a", "b", "c"} { // a leaves at once, b and c wait
		pointer := step.Pointer{Announcement: announced(config, uint64(i+1)), Batchable: true}
		n.Step(0, step.Input{Kind: step.InPublish, Pointer: pointer}, nil)
	}
	n.Step(0, step.Input{Kind: step.InCongested, Peer: 5}, nil)
	if sent := caughtUp(n, 5); !slices.Equal(sent, []string{"b", "c"}) {
		t.Errorf("the child was sent %v; want b and c", sent)
	}
}
