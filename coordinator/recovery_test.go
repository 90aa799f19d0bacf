package coordinator

import (
	"fmt"
	"testing"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// A recovery takes a bounded number of pointers, and says how many it left out.
func TestTruthARecoverySaysWhatItLeftOut(t *testing.T) {
	g := newGathering()
	r := &recovery{running: g}
	g.waiting[1] = true
	g.waiting[2] = true
	for i := range maxRecovered + 2 {
		p := record.Pointer{Config: fmt.Sprint("c", i), Region: "eu", Term: 1, Epoch: 1}
		r.hear(1, &wire.Announcement{Pointer: p})
	}
	newer := record.Pointer{Config: "c0", Region: "eu", Term: 1, Epoch: 2}
	r.hear(2, &wire.Announcement{Pointer: newer})
	if len(g.pointers) != maxRecovered || g.leftOut != 2 {
		t.Errorf("%d pointers collected, %d left out; want %d and 2", len(g.pointers), g.leftOut, maxRecovered)
	}
	if held := g.pointers[newer.Key()]; held.Pointer.Epoch != 2 {
		t.Errorf("a newer pointer over the limit: epoch %d is kept", held.Pointer.Epoch)
	}
	for _, child := range []step.PeerID{1, 3} {
		r.heardAll(child)
		select {
		case <-g.done:
			t.Fatalf("the recovery ended after child %d, and child 2 has not sent all of its pointers", child)
		default:
		}
	}
	r.heardAll(2)
	<-g.done
}
