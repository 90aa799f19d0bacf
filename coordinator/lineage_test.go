package coordinator

import (
	"testing"

	"banyan/coordinator/api"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// A backup has no pointer of a region, and the hosts of the region have some. After a person has
// begun a new term, the hosts' records of the earlier term do not stop the leader again.
func TestTruthRecordsOfATermThatWasEndedDoNotStopTheLeader(t *testing.T) {
	f := newFixture(t, nil)
	lost := func(term uint64) []step.Output {
		p := record.Pointer{Config: "a", Region: "eu", Term: term, Epoch: 9}
		return []step.Output{
			{Op: step.OpBehind, Head: record.Head{Region: "eu", Revision: uint64(record.At(term, 0)), Term: term}},
			{Op: step.OpBehind, Pointer: step.Pointer{Announcement: &wire.Announcement{Pointer: p, Digest: p.Digest()}}},
		}
	}
	hear := func(term uint64) {
		for _, o := range lost(term) {
			f.lineage.hear(f.ctx, o)
		}
	}
	hear(1)
	if f.ledger.Stopped() == nil {
		t.Fatal("a record of the store's own term did not stop the leader")
	}
	if _, err := f.alice.BeginTerm(f.ctx, api.NewTerm{Message: "the backup is right"}); err != nil {
		t.Fatal(err)
	}
	hear(1)
	if why := f.ledger.Stopped(); why != nil {
		t.Errorf("a record of the term that was ended: %v", why)
	}
	hear(2)
	if f.ledger.Stopped() == nil {
		t.Error("a record of the new term did not stop the leader")
	}
}
