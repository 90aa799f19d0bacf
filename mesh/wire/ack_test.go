package wire

import (
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"banyan/record"
)

// randomEntry draws an entry that may be too large for a message.
func randomEntry(t *rapid.T) AckEntry {
	e := NewAckEntry(record.PointerKey{Config: "config", Region: "eu"}, 3, record.Digest{1})
	draw := func(name string, into *roaring.Bitmap) {
		step := rapid.SampledFrom([]uint32{1, 3, 70_000}).Draw(t, name+": step")
		for i := range rapid.Uint32Range(0, 20_000).Draw(t, name) {
			into.Add(i * step)
		}
	}
	draw("applied", e.Applied)
	draw("failed", e.Failed)
	e.Running = e.Applied.Clone()
	for i := range rapid.Uint32Range(0, MaxFailures).Draw(t, "failures") {
		e.AddFailure(Failure{Agent: i, Name: "n", Reason: "reason", Attempts: 1 << 31})
		e.Latency.Add(int64(i) * 1000)
	}
	return *e
}

// The groups of SplitAcks fit into messages, their entries merge into what was split, and MaxSize
// bounds the encoding.
func TestSplitEntriesFitAndMergeIntoTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := randomEntry(t)
		whole, err := encoder.Marshal(encodedForm(t, e))
		if err != nil || len(whole) > e.MaxSize() {
			t.Fatalf("an entry has %d bytes, MaxSize is %d (%v)", len(whole), e.MaxSize(), err)
		}
		got := NewAckEntry(e.Key(), e.Position, e.Pointer)
		for _, group := range SplitAcks([]AckEntry{e, e}) {
			if _, err := AppendMessage(nil, &Ack{Entries: group}); err != nil {
				t.Fatal(err)
			}
			for i := range group {
				got.Merge(&group[i])
			}
		}
		want := NewAckEntry(e.Key(), e.Position, e.Pointer)
		want.Merge(&e)
		if !got.Applied.Equals(want.Applied) || !got.Failed.Equals(want.Failed) || !got.Running.Equals(want.Running) {
			t.Fatal("the parts merge into another entry")
		}
	})
}

// encodedForm returns the encoded form of an entry.
func encodedForm(t *rapid.T, e AckEntry) wireAckEntry {
	w, err := e.wireForm()
	if err != nil {
		t.Fatal(err)
	}
	return w
}
