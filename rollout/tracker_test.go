package rollout

import (
	"testing"

	"banyan/mesh/wire"
	"banyan/record"
)

// The store of a leader was restored from a backup, so that the leader is at epoch 5 again. An
// agent that went on to epoch 6 does not count for epoch 5, in whatever order the
// acknowledgements come, until a pointer comes that is newer than epoch 6.
func TestTruthAnAgentOfALostHistoryCountsForNoOlderPointer(t *testing.T) {
	pointer := func(term, epoch uint64, version uint64) record.Pointer {
		return record.Pointer{Config: "a", Region: "eu", Term: term, Epoch: epoch, Baseline: ref(version), Phase: record.PhaseActive}
	}
	ack := func(p record.Pointer, agents ...uint32) *wire.AckEntry {
		e := wire.NewAckEntry(p.Key(), p.Position(), p.Digest())
		e.Applied.AddMany(agents)
		return e
	}
	restored := pointer(1, 5, 2)
	lost := pointer(1, 6, 3)
	other := pointer(1, 5, 3) // of a second leader
	for name, acks := range map[string][]*wire.AckEntry{
		"the newer last":            {ack(restored, 1, 2), ack(lost, 2)},
		"the newer first":           {ack(lost, 2), ack(restored, 1, 2)},
		"the same epoch":            {ack(restored, 1, 2), ack(other, 2)},
		"the newer between the old": {ack(restored, 2), ack(lost, 2), ack(restored, 1, 2)},
	} {
		tracker := NewTracker()
		tracker.Moved(restored)
		for _, e := range acks {
			tracker.Acked(e)
		}
		if got := tracker.Acks(restored).Applied.ToArray(); len(got) != 1 || got[0] != 1 {
			t.Errorf("%s: agents %v count for epoch 5, want agent 1 only", name, got)
		}
		next := pointer(2, 6, 2)
		tracker.Moved(next)
		tracker.Acked(ack(next, 1, 2))
		if n := tracker.Acks(next).Applied.GetCardinality(); n != 2 {
			t.Errorf("%s: %d agents count in the new term, want 2", name, n)
		}
	}
}
