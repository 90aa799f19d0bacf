package coordinator

import (
	"testing"

	"banyan/mesh/wire"
	"banyan/record"
)

// Somebody who can write to the store, and has no key, gets no signature for what they wrote: only a pointer
// with a good signature of its own may leave under the signature of a batch.
func TestTruthTheLeaderSignsNoForgedPointer(t *testing.T) {
	f := newFixture(t, nil)
	key, err := record.LoadKey(f.home.ActivationKey("eu"))
	if err != nil {
		t.Fatal(err)
	}
	thief := record.KeyFromSeed([32]byte{1})
	p := record.Pointer{
		Config:   "a",
		Region:   "eu",
		Term:     1,
		Epoch:    1,
		Baseline: record.Ref{Version: 1, Digest: record.Sum([]byte("manifest"))},
		Phase:    record.PhaseActive,
	}
	abroad := p
	abroad.Region = "us"
	for _, c := range []struct {
		what    string
		pointer record.Pointer
		key     record.Key
		want    bool
	}{
		{"a pointer of the leader", p, key, true},
		{"a pointer by another key", p, thief, false},
		{"a pointer of a region that the key does not serve", abroad, key, false},
	} {
		raw, err := record.SignPointer(c.pointer, c.key)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.newFeed().isGenuine(wire.NewAnnouncement(1, raw, c.pointer)); got != c.want {
			t.Errorf("%s may leave in a batch: %v", c.what, got)
		}
	}
	raw, err := record.SignPointer(p, key)
	if err != nil {
		t.Fatal(err)
	}
	other := p
	other.Epoch = 2 // the row's pointer is not the one that was signed
	if f.newFeed().isGenuine(wire.NewAnnouncement(1, raw, other)) {
		t.Error("a pointer with the signature of another may leave in a batch")
	}
}
