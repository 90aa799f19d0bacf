package record

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// testBatch returns the payloads of n pointers of region eu, and their signed root.
func testBatch(t testing.TB, k trust, n int) (root []byte, payloads [][]byte) {
	t.Helper()
	for i := range n {
		p := testPointer()
		p.Config = fmt.Sprintf("config/%d", i)
		payloads = append(payloads, p.Payload())
	}
	root, err := SignBatch(payloads, k.activator)
	if err != nil {
		t.Fatal(err)
	}
	return root, payloads
}

// Every pointer of a batch verifies with the batch and alone, and is the pointer that a signature of its
// own would prove.
func TestTruthOneSignatureProvesEveryPointerOfABatch(t *testing.T) {
	k := newTrust(t)
	for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 9, 100, MaxBatch - 1, MaxBatch} {
		root, payloads := testBatch(t, k, n)
		signed, err := k.policy.VerifyBatch(root, payloads)
		if err != nil {
			t.Fatalf("a batch of %d: %v", n, err)
		}
		for i, s := range signed {
			if s.Pointer.Digest() != s.Digest || s.Digest != Sum(payloads[i]) || s.Pointer.Config != fmt.Sprintf("config/%d", i) {
				t.Fatalf("pointer %d of %d is %s with the digest %s", i, n, s.Pointer, s.Digest)
			}
			p, err := k.policy.VerifyPointer(s.Raw)
			if err != nil || p.Digest() != s.Digest {
				t.Fatalf("pointer %d of %d alone: %s, %v", i, n, p, err)
			}
			if p, err := DecodePointer(s.Raw); err != nil || p.Digest() != s.Digest {
				t.Fatalf("pointer %d of %d decoded: %s, %v", i, n, p, err)
			}
			if len(s.Raw) > MaxBatchedPointer {
				t.Fatalf("pointer %d of %d has %d bytes", i, n, len(s.Raw))
			}
		}
	}
}

func TestTruthABatchProvesNothingElse(t *testing.T) {
	k := newTrust(t)
	root, payloads := testBatch(t, k, 5)
	us := testPointer()
	us.Region = "us"
	foreign := [][]byte{payloads[0], us.Payload()}
	sign := func(payloads [][]byte, key Key) []byte {
		root, err := SignBatch(payloads, key)
		if err != nil {
			t.Fatal(err)
		}
		return root
	}
	swapped := slices.Clone(payloads)
	swapped[1], swapped[2] = swapped[2], swapped[1]
	invalid := testPointer()
	invalid.Epoch = 0
	tree := newMerkleTree(payloads)
	inner := slices.Concat(tree[0][0][:], tree[0][1][:])
	many := make([][]byte, MaxBatch+1)
	for _, c := range []struct {
		name     string
		root     []byte
		payloads [][]byte
		want     error
	}{
		{"in another order", root, swapped, ErrSignature},
		{"without the last pointer", root, payloads[:4], ErrSignature},
		{"with a pointer twice", root, append(slices.Clone(payloads), payloads[4]), ErrSignature},
		{"with another pointer", root, append(slices.Clone(payloads[:4]), us.Payload()), ErrSignature},
		{"with an inner node as a pointer", root, [][]byte{inner, payloads[2], payloads[3], payloads[4]}, ErrSignature},
		{"with a pointer of another region", sign(foreign, k.activator), foreign, ErrScope},
		{"with an invalid pointer", sign([][]byte{invalid.Payload()}, k.activator), [][]byte{invalid.Payload()}, ErrInvalid},
		{"with bytes behind a pointer", sign([][]byte{append(us.Payload(), 0)}, k.activator), [][]byte{append(us.Payload(), 0)}, ErrMalformed},
		{"signed by a publisher", sign(payloads, k.publisher), payloads, ErrUnknownKey},
		{"with bytes behind the root", append(slices.Clone(root), 0), payloads, ErrMalformed},
		{"with a root that is too large", make([]byte, MaxRoot+1), payloads, ErrTooLarge},
		{"of nothing", root, nil, ErrTooLarge},
		{"of too many", root, many, ErrTooLarge},
		{"of a pointer that is too large", root, [][]byte{make([]byte, MaxPointerPayload+1)}, ErrTooLarge},
	} {
		if _, err := k.policy.VerifyBatch(c.root, c.payloads); !errors.Is(err, c.want) {
			t.Errorf("a batch %s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := SignBatch(many, k.activator); !errors.Is(err, ErrTooLarge) {
		t.Errorf("signed too many: %v", err)
	}
	head, err := SignHead(testHead(), k.activator)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.policy.VerifyBatch(head, payloads); !errors.Is(err, ErrMalformed) {
		t.Errorf("a head as a root: %v", err)
	}
	if _, err := k.policy.VerifyHead(root); !errors.Is(err, ErrMalformed) {
		t.Errorf("a root as a head: %v", err)
	}
	if _, err := k.policy.VerifyPointer(root); !errors.Is(err, ErrMalformed) {
		t.Errorf("a root as a pointer: %v", err)
	}
}

// A pointer that was taken out of a batch has one encoding, and proves one pointer.
func TestTruthAPathProvesOnePointer(t *testing.T) {
	k := newTrust(t)
	root, payloads := testBatch(t, k, 5)
	tree := newMerkleTree(payloads)
	for i := range payloads {
		good := batchedPointer{root: root, index: uint64(i), path: tree.path(i), payload: payloads[i]}
		if _, err := k.policy.VerifyPointer(good.encode()); err != nil {
			t.Fatal(err)
		}
		bad := map[string]batchedPointer{}
		alter := func(name string, change func(*batchedPointer)) {
			b := good
			b.path = slices.Clone(good.path)
			change(&b)
			bad[name] = b
		}
		alter("another index", func(b *batchedPointer) { b.index = (b.index + 1) % 5 })
		alter("an index past the end", func(b *batchedPointer) { b.index = 5 })
		alter("a large index", func(b *batchedPointer) { b.index = 1 << 63 })
		alter("a hash too many", func(b *batchedPointer) { b.path = append(b.path, b.path[:32]...) })
		alter("a hash too few", func(b *batchedPointer) { b.path = b.path[32:] })
		alter("half a hash", func(b *batchedPointer) { b.path = b.path[16:] })
		alter("the payload of another", func(b *batchedPointer) { b.payload = payloads[(i+1)%5] })
		alter("two hashes swapped", func(b *batchedPointer) {
			if len(b.path) >= 64 {
				b.path = slices.Concat(b.path[32:64], b.path[:32], b.path[64:])
			} else {
				b.path[0] ^= 1
			}
		})
		for name, b := range bad {
			if p, err := k.policy.VerifyPointer(b.encode()); err == nil {
				t.Errorf("pointer %d with %s verifies as %s", i, name, p)
			}
		}
		for j := range good.encode() {
			for bit := range 8 {
				changed := good.encode()
				changed[j] ^= 1 << bit
				if _, err := k.policy.VerifyPointer(changed); err == nil {
					t.Errorf("pointer %d verifies with bit %d of byte %d changed", i, bit, j)
				}
			}
			if _, err := k.policy.VerifyPointer(good.encode()[:j]); err == nil {
				t.Errorf("pointer %d verifies when cut to %d bytes", i, j)
			}
		}
	}
	if _, err := k.policy.VerifyPointer(append([]byte{0x84}, make([]byte, MaxBatchedPointer)...)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a pointer that is too large: %v", err)
	}
}

// The memory of verified roots saves signatures, and nothing else: a pointer of another region is refused
// under a remembered root, and another policy decides anew.
func TestTruthARememberedRootGrantsNothing(t *testing.T) {
	k := newTrust(t)
	us := testPointer()
	us.Region = "us"
	mixed := [][]byte{testPointer().Payload(), us.Payload()}
	root, err := SignBatch(mixed, k.activator)
	if err != nil {
		t.Fatal(err)
	}
	prove := func(i int) []byte {
		b := batchedPointer{root: root, index: uint64(i), path: newMerkleTree(mixed).path(i), payload: mixed[i]}
		return b.encode()
	}
	if _, err := k.policy.VerifyPointer(prove(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := k.policy.VerifyPointer(prove(1)); !errors.Is(err, ErrScope) {
		t.Errorf("a pointer of another region under a remembered root: %v", err)
	}
	if n := len(k.policy.roots.roots); n != 1 {
		t.Errorf("%d roots are remembered", n)
	}

	document := k.document()
	document.Version++
	document.Activators = nil // the key is revoked
	raw, err := SignPolicy(document, k.root)
	if err != nil {
		t.Fatal(err)
	}
	next, err := OpenPolicy(raw, []ed25519.PublicKey{k.root.Public()}, testNow)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next.VerifyPointer(prove(0)); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a pointer of a revoked key: %v", err)
	}
	if _, err := k.policy.VerifyBatch(append(slices.Clone(root[:len(root)-1]), root[len(root)-1]^1), mixed); !errors.Is(err, ErrSignature) {
		t.Errorf("a root with another signature: %v", err)
	}
	for i := range 2 * maxRoots {
		p := testPointer()
		p.Epoch += uint64(i)
		payloads := [][]byte{p.Payload()}
		root, err := SignBatch(payloads, k.activator)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.policy.VerifyBatch(root, payloads); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(k.policy.roots.roots); n != maxRoots {
		t.Errorf("%d roots are remembered, not the last %d", n, maxRoots)
	}
}

// slowRoot is the definition of RFC 9162 §2.1.1.
func slowRoot(payloads [][]byte) Digest {
	if len(payloads) == 1 {
		return leafHash(payloads[0])
	}
	half := 1 << (bits.Len(uint(len(payloads)-1)) - 1)
	return nodeHash(slowRoot(payloads[:half]), slowRoot(payloads[half:]))
}

func TestTheTreeIsThatOfRFC9162(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		payloads := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 40), 1, MaxBatch).Draw(t, "payloads")
		tree := newMerkleTree(payloads)
		if tree.root() != slowRoot(payloads) {
			t.Fatal("the root differs from the definition")
		}
		i := rapid.IntRange(0, len(payloads)-1).Draw(t, "index")
		root, ok := climb(payloads[i], uint64(i), uint64(len(payloads)), tree.path(i))
		if !ok || root != tree.root() {
			t.Fatalf("the path of payload %d leads to %s, %v", i, root, ok)
		}
		if len(tree.path(i)) > maxPath*len(root) {
			t.Fatalf("a path of %d bytes", len(tree.path(i)))
		}
	})
}

// drawPointer returns any pointer, valid or not.
func drawPointer(t *rapid.T) Pointer {
	refs := rapid.Custom(func(t *rapid.T) Ref {
		return Ref{Version: rapid.Uint64().Draw(t, "version"), Digest: Sum([]byte{rapid.Byte().Draw(t, "content")})}
	})
	orNone := rapid.OneOf(rapid.Just(Ref{}), refs)
	labels := rapid.MapOfN(rapid.StringN(0, 5, 20), rapid.StringN(0, 5, 20), 0, 2)
	sets := rapid.OneOf(rapid.Just([]map[string]string(nil)), rapid.SliceOfN(labels, 0, 2))
	return Pointer{
		Config:     rapid.StringN(0, 40, 128).Draw(t, "config"),
		Region:     rapid.StringN(0, 8, 32).Draw(t, "region"),
		Epoch:      rapid.Uint64().Draw(t, "epoch"),
		Baseline:   orNone.Draw(t, "baseline"),
		Candidate:  orNone.Draw(t, "candidate"),
		Wave:       Wave{Share: rapid.Uint16().Draw(t, "share"), Any: sets.Draw(t, "labels"), Bound: rapid.Uint32().Draw(t, "bound")},
		Phase:      Phase(rapid.Byte().Draw(t, "phase")),
		TimeMicros: rapid.Int64().Draw(t, "time"),
		Term:       rapid.Uint64().Draw(t, "term"),
	}
}

func TestTheCodecOfPointersIsTheGeneralCodec(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPointer(t)
		payload := must(canonical.Marshal(p))
		if !bytes.Equal(p.Payload(), payload) {
			t.Fatalf("encoded as %x, want %x", p.Payload(), payload)
		}
		var parsed Pointer
		if parsePointer(payload, &parsed) && !bytes.Equal(must(canonical.Marshal(parsed)), payload) {
			t.Fatalf("%x is decoded as %+v", payload, parsed)
		}
		if p.Wave.Any == nil && len(payload) <= MaxPointerPayload && !parsePointer(payload, &parsed) {
			t.Fatalf("%x is left to the general codec", payload)
		}
	})
}

// FuzzParsePointer looks for payloads that one codec takes and the other refuses.
func FuzzParsePointer(f *testing.F) {
	f.Add(testPointer().Payload())
	plain := testPointer()
	plain.Wave.Any = nil
	f.Add(plain.Payload())
	f.Fuzz(func(t *testing.T, payload []byte) {
		var p Pointer
		if !parsePointer(payload, &p) {
			return
		}
		var want Pointer
		if err := strict.Unmarshal(payload, &want); err != nil {
			t.Fatalf("%x: the general codec says %v", payload, err)
		}
		if !bytes.Equal(must(canonical.Marshal(want)), payload) || p.String() != want.String() || p.Digest() != want.Digest() {
			t.Errorf("%x is %+v, and %+v by the general codec", payload, p, want)
		}
	})
}

// FuzzVerifyBatched looks for bytes that verify and are not a pointer of the batch.
func FuzzVerifyBatched(f *testing.F) {
	k := newTrust(f)
	root, payloads := testBatch(f, k, 5)
	signed, err := k.policy.VerifyBatch(root, payloads)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range signed {
		f.Add(s.Raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		known := slices.ContainsFunc(signed, func(s SignedPointer) bool { return bytes.Equal(raw, s.Raw) })
		if _, err := k.policy.VerifyPointer(raw); err == nil && !known {
			t.Errorf("forged %x", raw)
		}
		DecodePointer(raw)
	})
}

func TestTheLargestPointerFitsABatch(t *testing.T) {
	k := newTrust(t)
	segment := strings.Repeat("a", MaxSegment)
	p := Pointer{Config: (segment + "/" + segment)[:MaxConfigName], Region: strings.Repeat("r", MaxRegionName),
		Term: MaxTerm, Epoch: MaxEpoch, Baseline: ref(1<<64 - 1), Candidate: ref(1<<64 - 1), Phase: PhaseStage, TimeMicros: 1<<63 - 1,
		Wave: Wave{Share: WholeFleet - 1, Bound: WavePlaces, Any: []map[string]string{{strings.Repeat("k", MaxWaveLabels/2): strings.Repeat("v", MaxWaveLabels/2-6)}, {"a": "b"}, {"c": "d"}, {"e": "f"}}}}
	if n := len(p.Payload()); n > MaxPointerPayload {
		t.Fatalf("the largest payload has %d bytes of %d", n, MaxPointerPayload)
	}
	payloads := slices.Repeat([][]byte{p.Payload()}, MaxBatch)
	root, err := SignBatch(payloads, k.activator)
	if err != nil {
		t.Fatal(err)
	}
	proof := batchedPointer{root: root, index: MaxBatch - 1, path: newMerkleTree(payloads).path(MaxBatch - 1), payload: p.Payload()}
	if _, err := openBatched(proof.encode()); err != nil {
		t.Error(err)
	}
	t.Logf("payload %d of %d, root %d of %d, in all %d of %d bytes",
		len(p.Payload()), MaxPointerPayload, len(root), MaxRoot, len(proof.encode()), MaxBatchedPointer)
}

func BenchmarkVerifyBatch(b *testing.B) {
	k := newTrust(b)
	payloads := make([][]byte, 20)
	for i := range payloads {
		p := testPointer()
		p.Wave.Any = nil
		p.Epoch += uint64(i)
		payloads[i] = p.Payload()
	}
	var roots [][]byte
	for i := range 2 * maxRoots { // no root is remembered when it comes again
		payloads[0][len(payloads[0])-1] = byte(1 + i%20)
		root, err := SignBatch(payloads, k.activator)
		if err != nil {
			b.Fatal(err)
		}
		roots = append(roots, root)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		payloads[0][len(payloads[0])-1] = byte(1 + i%len(roots)%20)
		if _, err := k.policy.VerifyBatch(roots[i%len(roots)], payloads); err != nil {
			b.Fatal(err)
		}
	}
}
