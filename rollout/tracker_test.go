package rollout

import (
	"slices"
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

// An acknowledgement of a pointer that was just replaced says that its version ran. It does not count
// for the newest pointer.
func TestTruthTheTrackerKeepsWhatRanLate(t *testing.T) {
	tracker := NewTracker()
	var pointers []record.Pointer
	for epoch := uint64(1); epoch <= maxReplaced+2; epoch++ {
		p := record.Pointer{Config: "a", Region: "eu", Term: 1, Epoch: epoch, Baseline: ref(epoch), Phase: record.PhaseActive}
		pointers = append(pointers, p)
		tracker.Moved(p)
	}
	key := pointers[0].Key()
	newest := pointers[len(pointers)-1]
	ack := func(p record.Pointer, digest record.Digest) {
		e := wire.NewAckEntry(key, p.Position(), digest)
		e.Applied.Add(7)
		tracker.Acked(e)
	}
	ack(pointers[0], pointers[0].Digest()) // too long ago
	ack(pointers[2], record.Digest{1})     // of a lost history
	ack(pointers[3], pointers[3].Digest())
	ack(pointers[3], pointers[3].Digest())
	if got := tracker.LateRan(key); !slices.Equal(got, []record.Ref{ref(4)}) {
		t.Errorf("ran late: %v, want version 4", got)
	}
	if got := tracker.LateRan(key); len(got) > 0 {
		t.Errorf("said twice: %v", got)
	}
	if n := tracker.Acks(newest).Applied.GetCardinality(); n != 0 {
		t.Errorf("%d hosts count for the newest pointer", n)
	}
	if n := len(tracker.moved[key]); n != maxReplaced+1 {
		t.Errorf("%d pointers are kept", n)
	}
}
