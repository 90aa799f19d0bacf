package coordinator

import (
	"log/slog"
	"slices"
	"testing"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
)

// Hosts acknowledge two versions late, each while the ledger does not write. Both are noted when the
// ledger writes again.
func TestTruthWhatRanIsNotedAfterTheLedgerWritesAgain(t *testing.T) {
	f := newFixture(t, nil)
	for _, body := range []string{"1", "2", "3"} {
		if _, err := f.alice.Activate(f.ctx, "a", api.Activate{Version: f.publish("a", body)}); err != nil {
			t.Fatal(err)
		}
	}
	key := record.PointerKey{Config: "a", Region: "eu"}
	held, err := f.ledger.Pointer(f.ctx, key.Config, key.Region)
	if err != nil {
		t.Fatal(err)
	}
	tracker := newTracker()
	var replaced []record.Pointer
	for i := range uint64(2) {
		v, err := f.ledger.Version(f.ctx, "a", i+1)
		if err != nil {
			t.Fatal(err)
		}
		p := held.Pointer
		p.Epoch = i + 1
		p.Baseline = v.Manifest.Ref()
		tracker.moved(p)
		replaced = append(replaced, p)
	}
	tracker.moved(held.Pointer)
	r := newRuns(f.ledger, tracker, slog.New(slog.DiscardHandler))
	f.ledger.Wait(&ledger.WaitingError{})
	for _, p := range replaced {
		entry := wire.NewAckEntry(key, p.Position(), p.Digest())
		entry.Applied.Add(1)
		tracker.with(func(f *rollout.Tracker) { f.Acked(entry) })
		if err := r.noteOne(f.ctx, key); err == nil {
			t.Fatal("a ledger that waits writes")
		}
	}
	f.ledger.Proceed()
	if err := r.noteOne(f.ctx, key); err != nil {
		t.Fatal(err)
	}
	log, err := f.ledger.Activations(f.ctx, key.Config, key.Region)
	if got := log.Ran(); err != nil || !slices.Equal(got, []uint64{2, 1}) {
		t.Errorf("the versions that ran are %v, %v, want 2 and 1", got, err)
	}
}
