package record

import (
	"bytes"
	"testing"
)

// longer encodes the payload's length of a COSE_Sign1 with one byte more than needed, which many
// CBOR decoders accept: other bytes, the same signed payload.
func longer(t *testing.T, raw []byte) []byte {
	t.Helper()
	e, err := open(kindPointer, raw)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(raw, e.msg.Payload)
	head := raw[:at]
	switch n := len(e.msg.Payload); {
	case n < 24 || n > 255 || head[at-2] != 0x58:
		t.Fatalf("a payload of %d bytes behind % x", n, head[at-2:])
	}
	again := append(bytes.Clone(head[:at-2]), 0x59, 0, byte(len(e.msg.Payload)))
	return append(again, raw[at:]...)
}

// A relay may encode an envelope anew. The digests, and with them the state of a region, cover the
// payload and stay the same.
func TestTruthAnEnvelopeThatIsEncodedAgainChangesNothing(t *testing.T) {
	k := newTrust(t)
	raw, err := SignPointer(testPointer(), k.activator)
	if err != nil {
		t.Fatal(err)
	}
	again := longer(t, raw)
	if bytes.Equal(raw, again) {
		t.Fatal("the envelope was not changed")
	}
	p, err := k.policy.VerifyPointer(again)
	if err != nil {
		t.Fatalf("the envelope that was encoded again does not verify: %v", err)
	}
	if p.Digest() != testPointer().Digest() {
		t.Errorf("digest %s, want %s", p.Digest(), testPointer().Digest())
	}
	var one, other State
	one.Add(testPointer().Digest())
	other.Add(p.Digest())
	if one != other {
		t.Error("the states differ")
	}
}

// Two versions of one number differ by their digests, and a request for one is not answered by
// the other.
func TestTruthAVersionIsNamedByItsContent(t *testing.T) {
	k := newTrust(t)
	m := testManifest()
	other := m
	other.Message = "another change"
	if m.Ref() == other.Ref() || m.Key() == other.Key() {
		t.Error("two manifests of version 2 have the same name")
	}
	raw, err := SignManifest(other, k.publisher)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.policy.VerifyManifestOf(raw, m.Key()); Reason(err) != "invalid" {
		t.Errorf("another version 2 was taken for the one that was asked for: %v", err)
	}
	if _, err := k.policy.VerifyManifestOf(raw, other.Key()); err != nil {
		t.Error(err)
	}
}

// A pointer of a later term comes after every pointer of the terms before.
func TestTruthPositionsOrderByTermAndThenByEpoch(t *testing.T) {
	ordered := []Position{At(1, 1), At(1, 2), At(1, MaxEpoch), At(2, 1), At(2, 2), At(MaxTerm, 1), At(MaxTerm, MaxEpoch)}
	for i, p := range ordered[1:] {
		if p <= ordered[i] {
			t.Errorf("%s does not come after %s", p, ordered[i])
		}
	}
	for _, p := range ordered {
		if At(p.Term(), p.Epoch()) != p || uint64(p) >= 1<<53 {
			t.Errorf("%s is %d", p, uint64(p))
		}
	}
}
