package record

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/veraison/go-cose"
	"pgregory.net/rapid"
)

// trust is a policy for tests and the keys it lists.
type trust struct {
	root, publisher, narrow, activator Key
	policy                             *Policy
}

var testNow = time.Unix(1_800_000_000, 0)

func seeded(b byte) Key {
	var seed [32]byte
	for i := range seed {
		seed[i] = b
	}
	return KeyFromSeed(seed)
}

func newTrust(t testing.TB) trust {
	k := trust{root: seeded(1), publisher: seeded(2), narrow: seeded(3), activator: seeded(4)}
	raw, err := SignPolicy(k.document(), k.root)
	if err != nil {
		t.Fatal(err)
	}
	if k.policy, err = OpenPolicy(raw, []ed25519.PublicKey{k.root.Public()}, testNow); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k trust) document() PolicyDocument {
	return PolicyDocument{
		Version: 1, ExpiresSec: testNow.Unix() + 1000,
		Publishers: []PublisherEntry{
			{Name: "admin", Public: k.publisher.Public(), Scopes: []string{"*"}},
			{Name: "payments", Public: k.narrow.Public(), Scopes: []string{"payments"}},
		},
		Activators: []ActivatorEntry{{Name: "eu", Public: k.activator.Public(), Regions: []string{"eu"}}},
	}
}

func testManifest() Manifest {
	return Manifest{Config: "payments/limits", Version: 2, Parent: 1, BodySize: 5, BodySHA256: Sum([]byte("hello")),
		Forms:       []Form{{Encoding: EncodingIdentity, Size: 5, SHA256: Sum([]byte("hello")), Geometry: Geometry{Data: 1, ShardBytes: 5}, IndexSHA256: Sum([]byte("index"))}},
		ContentType: "text/plain", Message: "a change", TimeMillis: 1_800_000_000_000}
}

func testPointer() Pointer {
	return Pointer{Config: "payments/limits", Region: "eu", Term: 2, Epoch: 7, Baseline: ref(2), Candidate: ref(3),
		Wave: Wave{Share: 500, Any: []map[string]string{{"canary": "true"}}, Bound: 48_200_000}, Phase: PhaseActive, TimeMicros: 1_800_000_000_000_000}
}

// ref names a version whose content is made from n.
func ref(n uint64) Ref { return Ref{Version: n, Digest: Sum([]byte{byte(n)})} }

func testHead() Head {
	return Head{Region: "eu", Term: 2, Number: 7, Revision: 1<<40 + 42, TimeMicros: 1_800_000_000_000_000, State: State(Sum([]byte("pointer")))}
}

// sealed makes one record of each kind and the function that verifies it.
func sealed(t testing.TB, k trust) map[string]struct {
	raw    []byte
	verify func([]byte) error
} {
	manifest, err1 := SignManifest(testManifest(), k.publisher)
	pointer, err2 := SignPointer(testPointer(), k.activator)
	head, err3 := SignHead(testHead(), k.activator)
	policy, err4 := SignPolicy(k.document(), k.root)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	type entry = struct {
		raw    []byte
		verify func([]byte) error
	}
	return map[string]entry{
		"manifest": {manifest, func(b []byte) error { _, _, err := k.policy.VerifyManifest(b); return err }},
		"pointer":  {pointer, func(b []byte) error { _, err := k.policy.VerifyPointer(b); return err }},
		"head":     {head, func(b []byte) error { _, err := k.policy.VerifyHead(b); return err }},
		"policy": {policy, func(b []byte) error {
			_, err := OpenPolicy(b, []ed25519.PublicKey{k.root.Public()}, testNow)
			return err
		}},
	}
}

func TestSignedRecordsVerifyAndComeBackEqual(t *testing.T) {
	k := newTrust(t)
	all := sealed(t, k)
	if m, by, err := k.policy.VerifyManifest(all["manifest"].raw); err != nil || !reflect.DeepEqual(m, testManifest()) || by.Name != "admin" {
		t.Errorf("manifest: %+v by %s, %v", m, by.Name, err)
	}
	if p, err := k.policy.VerifyPointer(all["pointer"].raw); err != nil || p.String() != testPointer().String() {
		t.Errorf("pointer: %+v, %v", p, err)
	}
	if h, err := k.policy.VerifyHead(all["head"].raw); err != nil || h != testHead() {
		t.Errorf("head: %+v, %v", h, err)
	}
}

func TestEveryBitOfARecordIsProtected(t *testing.T) {
	k := newTrust(t)
	for name, e := range sealed(t, k) {
		for i := range e.raw {
			for bit := range 8 {
				changed := bytes.Clone(e.raw)
				changed[i] ^= 1 << bit
				if e.verify(changed) == nil {
					t.Errorf("%s: verifies with bit %d of byte %d changed", name, bit, i)
				}
			}
			if e.verify(e.raw[:i]) == nil {
				t.Errorf("%s: verifies when cut to %d bytes", name, i)
			}
		}
		if e.verify(append(bytes.Clone(e.raw), 0)) == nil {
			t.Errorf("%s: verifies with a byte appended", name)
		}
	}
}

func TestARecordOfOneKindIsNoneOfAnother(t *testing.T) {
	k := newTrust(t)
	all := sealed(t, k)
	for signed, e := range all {
		for asked, f := range all {
			if err := f.verify(e.raw); (err == nil) != (signed == asked) {
				t.Errorf("a %s verified as a %s: %v", signed, asked, err)
			}
		}
	}
}

func TestKeysSignOnlyWhatThePolicySays(t *testing.T) {
	k := newTrust(t)
	outside := testManifest()
	outside.Config = "paymentsystem/limits"
	us := testPointer()
	us.Region = "us"
	stranger := seeded(9)
	sign := func(raw []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"publisher outside its prefix", second(k.policy.VerifyManifest(sign(SignManifest(outside, k.narrow)))), ErrScope},
		{"publisher inside its prefix", second(k.policy.VerifyManifest(sign(SignManifest(testManifest(), k.narrow)))), nil},
		{"stranger signs a manifest", second(k.policy.VerifyManifest(sign(SignManifest(testManifest(), stranger)))), ErrUnknownKey},
		{"activator signs a manifest", second(k.policy.VerifyManifest(sign(SignManifest(testManifest(), k.activator)))), ErrUnknownKey},
		{"publisher signs a pointer", last(k.policy.VerifyPointer(sign(SignPointer(testPointer(), k.publisher)))), ErrUnknownKey},
		{"activator signs for another region", last(k.policy.VerifyPointer(sign(SignPointer(us, k.activator)))), ErrScope},
		{"publisher signs a policy", last(OpenPolicy(sign(SignPolicy(k.document(), k.publisher)), []ed25519.PublicKey{k.root.Public()}, testNow)), ErrUnknownKey},
		{"expired policy", last(OpenPolicy(k.policy.Raw, []ed25519.PublicKey{k.root.Public()}, testNow.Add(time.Hour))), ErrExpired},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, c.err, c.want)
		}
	}
}

func second[A, B any](_ A, _ B, err error) error { return err }
func last[A any](_ A, err error) error           { return err }

// A signature over bytes that are valid CBOR but not the canonical encoding must
// not pass: else one record would have many encodings, and so many hashes.
func TestPayloadThatIsNotCanonicalIsRefused(t *testing.T) {
	k := newTrust(t)
	with := func(fields ...byte) []byte { // a state, a term and a number behind the other fields
		fields = append(append(fields, 0x04, 0x58, 0x20), make([]byte, 32)...)
		return append(fields, 0x05, 0x01, 0x06, 0x01)
	}
	for name, payload := range map[string][]byte{
		"long integer":  with(0xa6, 0x01, 0x62, 'e', 'u', 0x02, 0x18, 0x05, 0x03, 0x01),
		"keys unsorted": with(0xa6, 0x02, 0x05, 0x01, 0x62, 'e', 'u', 0x03, 0x01),
		"unknown field": append(with(0xa7, 0x01, 0x62, 'e', 'u', 0x02, 0x05, 0x03, 0x01), 0x09, 0x01),
		"key twice":     with(0xa7, 0x01, 0x62, 'e', 'u', 0x02, 0x05, 0x02, 0x05, 0x03, 0x01),
		"missing field": {0xa2, 0x01, 0x62, 'e', 'u', 0x02, 0x05},
		"indefinite":    append(with(0xbf, 0x01, 0x62, 'e', 'u', 0x02, 0x05, 0x03, 0x01), 0xff),
	} {
		if _, err := k.policy.VerifyHead(signPayload(t, kindHead, payload, k.activator)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
	good := with(0xa6, 0x01, 0x62, 'e', 'u', 0x02, 0x05, 0x03, 0x01)
	if h, err := k.policy.VerifyHead(signPayload(t, kindHead, good, k.activator)); err != nil || h.Revision != 5 {
		t.Errorf("canonical payload: %+v, %v", h, err)
	}
}

func signPayload(t *testing.T, k kind, payload []byte, key Key) []byte {
	signer, err := cose.NewSigner(cose.AlgorithmEdDSA, key.private)
	if err != nil {
		t.Fatal(err)
	}
	msg := cose.NewSign1Message()
	msg.Headers.Protected = cose.ProtectedHeader{cose.HeaderLabelAlgorithm: cose.AlgorithmEdDSA,
		cose.HeaderLabelContentType: k.contentType, cose.HeaderLabelKeyID: key.ID[:]}
	msg.Payload = payload
	if err := msg.Sign(nil, nil, signer); err != nil {
		t.Fatal(err)
	}
	raw, err := msg.MarshalCBOR()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestTheLargestPointerFitsAnAnnouncement(t *testing.T) {
	k := newTrust(t)
	segment := strings.Repeat("a", MaxSegment)
	p := Pointer{Config: (segment + "/" + segment)[:MaxConfigName], Region: strings.Repeat("r", MaxRegionName),
		Term: MaxTerm, Epoch: MaxEpoch, Baseline: ref(1<<64 - 1), Candidate: ref(1<<64 - 1), Phase: PhaseStage, TimeMicros: 1<<63 - 1,
		Wave: Wave{Share: WholeFleet - 1, Bound: WavePlaces, Any: []map[string]string{{strings.Repeat("k", MaxWaveLabels/2): strings.Repeat("v", MaxWaveLabels/2-6)}, {"a": "b"}, {"c": "d"}, {"e": "f"}}}}
	raw, err := SignPointer(p, k.activator)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the largest signed pointer has %d bytes of %d", len(raw), MaxPointer)
	p.Wave.Any[0]["x"] = ""
	if _, err := SignPointer(p, k.activator); !errors.Is(err, ErrInvalid) {
		t.Errorf("wave labels over the limit: %v", err)
	}
}

func TestOversizedRecordsAreRefusedBeforeTheyAreParsed(t *testing.T) {
	k := newTrust(t)
	for name, e := range sealed(t, k) {
		if err := e.verify(make([]byte, MaxPolicy+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: got %v, want ErrTooLarge", name, err)
		}
	}
	m := testManifest()
	m.Message = strings.Repeat("x", MaxMessage+1)
	if _, err := SignManifest(m, k.publisher); !errors.Is(err, ErrInvalid) {
		t.Errorf("long message: %v", err)
	}
	m = testManifest()
	m.BodySize = MaxBody + 1
	if _, err := SignManifest(m, k.publisher); !errors.Is(err, ErrInvalid) {
		t.Errorf("large body: %v", err)
	}
}

func TestConfigNames(t *testing.T) {
	for _, good := range []string{"a", "payments/limits", "A-b_c.d/0", strings.Repeat("a", MaxSegment)} {
		if err := ValidateConfig(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "/a", "a/", "a//b", "../a", "a/..", ".a", "a b", "a\x00", "é", "a/value", "meta.json",
		strings.Repeat("a", MaxSegment+1), strings.Repeat("a/", MaxConfigName/2) + "a"} {
		if err := ValidateConfig(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestScopes(t *testing.T) {
	for _, c := range []struct {
		config, prefix string
		want           bool
	}{
		{"payments/limits", "*", true}, {"payments/limits", "payments", true}, {"payments/limits", "payments/", true},
		{"payments", "payments", true}, {"payments2", "payments", false}, {"pay", "payments", false}, {"a/payments", "payments", false},
	} {
		if got := InScope(c.config, c.prefix); got != c.want {
			t.Errorf("InScope(%q, %q) = %v", c.config, c.prefix, got)
		}
	}
}

// A wave of p percent reaches about p percent of the hosts, the same ones each
// time, and a larger wave reaches all that a smaller one did.
func TestWavesAreStickyAndGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config := rapid.StringMatching(`[a-z]{1,8}/[a-z]{1,8}`).Draw(t, "config")
		small := rapid.IntRange(0, 100).Draw(t, "small")
		large := rapid.IntRange(small, 100).Draw(t, "large")
		const hosts = 2000
		in := 0
		for i := range hosts {
			name := "host-" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + time.Duration(i).String()
			p := Pointer{Config: config, Baseline: ref(1), Candidate: ref(2), Phase: PhaseActive, Wave: Wave{Share: uint16(small) * 100}}
			first := p.VersionFor(name, nil)
			p.Wave.Share = uint16(large) * 100
			if first == ref(2) && p.VersionFor(name, nil) != ref(2) {
				t.Fatalf("%s left the wave when it grew from %d%% to %d%%", name, small, large)
			}
			if p.VersionFor(name, nil) == ref(2) {
				in++
			}
		}
		if share := 100 * in / hosts; share < large-6 || share > large+6 {
			t.Errorf("a wave of %d%% reached %d%%", large, share)
		}
	})
}

// A bound selects exactly the agents with the places below it, and a wave without a bound those
// with the share of the places.
func TestAWaveEndsAtItsBound(t *testing.T) {
	place := WavePlace("a", "host")
	for bound, want := range map[uint32]bool{place: false, place + 1: true, WavePlaces: true} {
		if got := (Wave{Share: 1, Bound: bound}).Covers("a", "host", nil); got != want {
			t.Errorf("bound %d covers the place %d: %v", bound, place, got)
		}
	}
	if end := (Wave{Share: 100}).End(); end != 10_000_000 {
		t.Errorf("1%% of the places ends at %d", end)
	}
	for _, w := range []Wave{{Share: 1, Bound: WavePlaces + 1}, {Bound: 1}, {Share: WholeFleet, Bound: 1}} {
		if err := w.Validate(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

func TestWaveLabelsAndPhases(t *testing.T) {
	p := Pointer{Config: "a", Baseline: ref(1), Candidate: ref(2), Phase: PhaseActive, Wave: Wave{Any: []map[string]string{{"canary": "true", "zone": "a"}, {"ring": "0"}}}}
	for _, c := range []struct {
		labels map[string]string
		phase  Phase
		want   uint64
	}{
		{map[string]string{"canary": "true", "zone": "a", "more": "x"}, PhaseActive, 2},
		{map[string]string{"canary": "true"}, PhaseActive, 1},
		{map[string]string{"ring": "0"}, PhaseActive, 2},
		{nil, PhaseActive, 1},
		{map[string]string{"canary": "true", "zone": "a"}, PhaseStage, 1},
	} {
		p.Phase = c.phase
		if got := p.VersionFor("host", c.labels); got != ref(c.want) {
			t.Errorf("labels %v in phase %d: version %d, want %d", c.labels, c.phase, got, c.want)
		}
	}
}

func TestKeysSurviveTheirFiles(t *testing.T) {
	dir := t.TempDir()
	key, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.key")
	if err := key.Save(path); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadKey(path)
	if err != nil || loaded.ID != key.ID || !bytes.Equal(loaded.private, key.private) {
		t.Errorf("loaded %v, %v", loaded.ID, err)
	}
	if err := key.Save(path); err == nil {
		t.Error("a key was overwritten")
	}
	if err := SavePublic(path+".pub", key.Public()); err != nil {
		t.Fatal(err)
	}
	if pub, err := LoadPublic(path + ".pub"); err != nil || !bytes.Equal(pub, key.Public()) {
		t.Errorf("public: %v", err)
	}
	if _, err := LoadKey(path + ".pub"); err == nil {
		t.Error("a public key was loaded as a private one")
	}
}

func FuzzVerifyManifest(f *testing.F) { fuzzVerify(f, "manifest") }
func FuzzVerifyPointer(f *testing.F)  { fuzzVerify(f, "pointer") }
func FuzzVerifyHead(f *testing.F)     { fuzzVerify(f, "head") }
func FuzzOpenPolicy(f *testing.F)     { fuzzVerify(f, "policy") }

// fuzzVerify looks for bytes that make a decoder crash, or that verify without
// being the record that was signed.
func fuzzVerify(f *testing.F, name string) {
	k := newTrust(f)
	e := sealed(f, k)[name]
	f.Add(e.raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e.verify(raw) == nil && !bytes.Equal(raw, e.raw) {
			t.Errorf("forged %x", raw)
		}
		DecodeManifest(raw)
		DecodePointer(raw)
	})
}

func BenchmarkVerifyPointer(b *testing.B) {
	k := newTrust(b)
	raw := sealed(b, k)["pointer"].raw
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.policy.VerifyPointer(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareEd25519Verify(b *testing.B) {
	k := newTrust(b)
	message := make([]byte, 160)
	signature := ed25519.Sign(k.activator.private, message)
	for b.Loop() {
		if !ed25519.Verify(k.activator.Public(), message, signature) {
			b.Fatal("does not verify")
		}
	}
}

// The pointer of a deleted config names nothing, and is not part of the state.
func TestAPointerOfADeletedConfig(t *testing.T) {
	p := Pointer{Config: "a", Region: "eu", Epoch: 3, Term: 1, Phase: PhaseDeleted}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	if got := p.VersionFor("host", nil); !got.IsZero() {
		t.Errorf("a host runs %v", got)
	}
	var state State
	state.AddPointer(&p, p.Digest())
	if state != (State{}) {
		t.Error("it counts in the state")
	}
	named := p
	named.Baseline = Ref{Version: 1, Digest: Digest{1}}
	waved := p
	waved.Wave.Share = 1
	nothing := p
	nothing.Phase = PhaseActive
	unknown := p
	unknown.Phase = PhaseDeleted + 1
	for _, bad := range []Pointer{named, waved, nothing, unknown} {
		if err := bad.Validate(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
