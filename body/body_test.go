package body

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"banyan/fec"
	"banyan/mesh/swarm"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/shardstore"
)

var publisher = record.KeyFromSeed([32]byte{5})

// policy trusts publisher for every config.
func policy(t *testing.T) *record.Policy {
	t.Helper()
	root := record.KeyFromSeed([32]byte{6})
	document := record.PolicyDocument{
		Version:    1,
		ExpiresSec: time.Now().Add(time.Hour).Unix(),
		Publishers: []record.PublisherEntry{{Name: "p", Public: publisher.Public(), Scopes: []string{"*"}}},
	}
	signed, err := record.SignPolicy(document, root)
	if err != nil {
		t.Fatal(err)
	}
	p, err := record.OpenPolicy(signed, []ed25519.PublicKey{root.Public()}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// version is version 7 of config a: a body, and a delta to version 6 with other bytes.
type version struct {
	key      record.VersionKey
	content  []byte
	delta    []byte
	manifest record.Manifest
	signed   []byte
	index    fec.Index // of form 0
}

func newVersion(t *testing.T, size int) version {
	t.Helper()
	v := version{
		content: make([]byte, size),
		delta:   []byte("a few bytes"),
	}
	rand.NewChaCha8([32]byte{1}).Read(v.content)
	whole, index, err := fec.FormOf(v.content)
	if err != nil {
		t.Fatal(err)
	}
	delta, _, err := fec.FormOf(v.delta)
	if err != nil {
		t.Fatal(err)
	}
	delta.Encoding, delta.Base = record.EncodingZstd, ref(6)
	v.index = index
	v.manifest = record.Manifest{
		Config:      "a",
		Version:     7,
		Parent:      6,
		BodySize:    int64(size),
		BodySHA256:  record.Sum(v.content),
		Forms:       []record.Form{whole, delta},
		ContentType: "text/plain",
	}
	v.key = v.manifest.Key()
	if v.signed, err = record.SignManifest(v.manifest, publisher); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *version) offer(what Content, form uint8, b []byte) Offer {
	return Offer{Signed: v.signed, What: what, Form: form, Size: int64(len(b)), Bytes: bytes.NewReader(b)}
}

func TestOnlyOffersOfTheVersionThatWasAskedForVerify(t *testing.T) {
	v := newVersion(t, 5000)
	forged, err := record.SignManifest(v.manifest, record.KeyFromSeed([32]byte{9}))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		offer Offer
		want  record.VersionKey
		err   error
	}{
		"the body":              {v.offer(ContentBody, 0, v.content), v.key, nil},
		"the first form":        {v.offer(ContentForm, 0, v.content), v.key, nil},
		"the delta":             {v.offer(ContentForm, 1, v.delta), v.key, nil},
		"an index of any size":  {v.offer(ContentIndex, 1, nil), v.key, nil},
		"a form it has not":     {v.offer(ContentForm, 2, v.delta), v.key, ErrMismatch},
		"an index it has not":   {v.offer(ContentIndex, 9, nil), v.key, ErrMismatch},
		"a shorter body":        {v.offer(ContentBody, 0, v.content[1:]), v.key, record.ErrChecksum},
		"a longer form":         {v.offer(ContentForm, 1, v.content), v.key, record.ErrChecksum},
		"another version":       {v.offer(ContentBody, 0, v.content), record.VersionKey{Config: "a", Version: 8}, record.ErrInvalid},
		"another config":        {v.offer(ContentBody, 0, v.content), record.VersionKey{Config: "b", Version: 7}, record.ErrInvalid},
		"a stranger's manifest": {Offer{Signed: forged, Size: 5000}, v.key, record.ErrUnknownKey},
		"no manifest":           {Offer{Signed: []byte("x"), Size: 5000}, v.key, record.ErrMalformed},
	} {
		got, err := c.offer.Verify(policy(t), c.want)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: got %v, want %v", name, err, c.err)
			continue
		}
		if err == nil && (got.Key.VersionKey != v.key || got.Key.Form != c.offer.Form || got.Manifest.Version != 7) {
			t.Errorf("%s: verified as %+v", name, got.Key)
		}
		if err == nil && c.offer.What != ContentIndex && got.Described.Size != c.offer.Size {
			t.Errorf("%s: described as %d bytes", name, got.Described.Size)
		}
	}
}

// ref names a version whose content is made from n; 0 names none.
func ref(n uint64) record.Ref {
	if n == 0 {
		return record.Ref{}
	}
	return record.Ref{Version: n, Digest: record.Digest{byte(n)}}
}

// slowChoose is Choose, written as a search over the sorted sizes.
func slowChoose(m record.Manifest, atHand uint8, wish Wish) (uint8, bool) {
	var numbers []uint8
	for n := range m.Forms {
		numbers = append(numbers, uint8(n))
	}
	slices.SortStableFunc(numbers, func(a, b uint8) int { return int(m.Forms[a].Size - m.Forms[b].Size) })
	for _, n := range numbers {
		base := m.Forms[n].Base
		usable := base.IsZero() || slices.Contains(wish.Have, base)
		if wish.Choice != wire.AnyForm {
			usable = wish.Choice == wire.OnlyForm(n)
		}
		if usable && atHand>>n&1 == 1 {
			return n, true
		}
	}
	return 0, false
}

func TestChooseTakesTheSmallestFormThatServes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m record.Manifest
		for range rapid.IntRange(1, record.MaxForms).Draw(t, "forms") {
			m.Forms = append(m.Forms, record.Form{
				Size: rapid.Int64Range(1, 5).Draw(t, "size"),
				Base: ref(rapid.Uint64Range(0, 3).Draw(t, "base")),
			})
		}
		wish := Wish{Have: rapid.SliceOf(rapid.Map(rapid.Uint64Range(1, 3), ref)).Draw(t, "have")}
		if rapid.Bool().Draw(t, "one form only") {
			wish.Choice = wire.OnlyForm(rapid.Uint8Range(0, record.MaxForms-1).Draw(t, "form"))
		}
		atHand := rapid.Uint8Range(0, AllForms).Draw(t, "at hand")
		got, ok := Choose(m, atHand, wish)
		want, wantOK := slowChoose(m, atHand, wish)
		if got != want || ok != wantOK {
			t.Fatalf("chose %d, %v; want %d, %v", got, ok, want, wantOK)
		}
	})
}

// shelf is a Library of one version in memory.
type shelf struct {
	version
	forms  uint8
	absent bool
}

func (s *shelf) Manifest(context.Context, record.VersionKey) (record.Manifest, []byte, error) {
	if s.absent {
		return record.Manifest{}, nil, os.ErrNotExist
	}
	return s.manifest, s.signed, nil
}

func (s *shelf) Forms(record.Manifest) uint8 { return s.forms }

func (s *shelf) OpenForm(_ context.Context, _ record.Manifest, n uint8) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader([][]byte{s.content, s.delta}[n])), nil
}

func (s *shelf) OpenBody(context.Context, record.Manifest) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.content)), nil
}

// newServer makes a Server over s. The bytes of form 0 are in a file, as they are on a host.
func newServer(t *testing.T, s *shelf) *Server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(path, s.content, 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := shardstore.Open(t.TempDir(), 1, func(key record.FormKey) (*os.File, record.Form, fec.Index, error) {
		f, err := os.Open(path)
		return f, s.manifest.Forms[key.Form], s.index, err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &Server{Library: s, Arriving: store}
}

func TestAServerOffersTheBestThatIsOnTheHost(t *testing.T) {
	small, large := newVersion(t, 5000), newVersion(t, swarm.WholeLimit+1)
	for name, c := range map[string]struct {
		shelf *shelf
		wish  Wish
		what  Content
		form  uint8
		err   error
	}{
		"a small form in one piece":           {&shelf{version: small, forms: 0b11}, Wish{}, ContentForm, 0, nil},
		"a delta to one that has the base":    {&shelf{version: small, forms: 0b11}, Wish{Have: []record.Ref{ref(6)}}, ContentForm, 1, nil},
		"no delta that is not here":           {&shelf{version: small, forms: 0b01}, Wish{Have: []record.Ref{ref(6)}}, ContentForm, 0, nil},
		"the index of a large form":           {&shelf{version: large, forms: 0b11}, Wish{}, ContentIndex, 0, nil},
		"the body, if no form serves":         {&shelf{version: small, forms: 0b10}, Wish{}, ContentBody, 0, nil},
		"nothing, if only a form would do":    {&shelf{version: small, forms: 0b10}, Wish{FormOnly: true}, 0, 0, ErrNoForm},
		"nothing of a version that is absent": {&shelf{version: small, absent: true}, Wish{}, 0, 0, os.ErrNotExist},
	} {
		o, err := newServer(t, c.shelf).Open(t.Context(), c.shelf.key, c.wish)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
			continue
		}
		if err != nil {
			continue
		}
		if o.What != c.what || o.Form != c.form {
			t.Errorf("%s: content %d of form %d, want %d of %d", name, o.What, o.Form, c.what, c.form)
		}
		if b, err := io.ReadAll(o.Bytes); err != nil || int64(len(b)) != o.Size {
			t.Errorf("%s: %d bytes of %d: %v", name, len(b), o.Size, err)
		}
		if _, err := o.Verify(policy(t), c.shelf.key); err != nil {
			t.Errorf("%s: what is offered does not verify: %v", name, err)
		}
	}
}

// A version travels from one host to another: index, shards, then the whole file.
func TestAFormArrivesShardByShardAndIsAdopted(t *testing.T) {
	v := newVersion(t, swarm.WholeLimit+1)
	source := newServer(t, &shelf{version: v, forms: 0b01})
	sink := newServer(t, &shelf{version: v, absent: true})
	offered, err := source.Open(t.Context(), v.key, Wish{})
	if err != nil {
		t.Fatal(err)
	}
	verified, err := offered.Verify(policy(t), v.key)
	if err != nil {
		t.Fatal(err)
	}
	info, _, err := verified.Begin(sink.Arriving)
	if err != nil || info.Size != int64(len(v.content)) {
		t.Fatalf("begin: %+v, %v", info, err)
	}
	onTheWay, err := sink.Open(t.Context(), v.key, Wish{})
	if err != nil || onTheWay.What != ContentIndex {
		t.Errorf("a version on its way is offered as %d: %v", onTheWay.What, err)
	}
	if _, err := sink.Open(t.Context(), v.key, Wish{Choice: wire.OnlyForm(1)}); !errors.Is(err, ErrNoForm) {
		t.Errorf("a form that is not on its way: %v", err)
	}
	if err := Assemble(sink.Arriving, verified.Key, nil); !errors.Is(err, fec.ErrNotHeld) {
		t.Errorf("a form with shards missing is assembled: %v", err)
	}
	buf := make([]byte, record.MaxShardBytes)
	for n := range v.index {
		shard, err := source.Arriving.Get(verified.Key, n, buf)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sink.Arriving.Put(verified.Key, n, shard); err != nil {
			t.Fatal(err)
		}
	}
	final := filepath.Join(t.TempDir(), "value")
	err = Assemble(sink.Arriving, verified.Key, func(a Arrived) error {
		if a.Key != verified.Key || !bytes.Equal(a.Index, v.index.Bytes()) || a.Form.SHA256 != record.Sum(v.content) {
			t.Errorf("arrived: %+v", a)
		}
		return os.Rename(a.Path, final)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(final); !bytes.Equal(got, v.content) {
		t.Error("the adopted file is not the body")
	}
	if err := Assemble(sink.Arriving, verified.Key, nil); !errors.Is(err, shardstore.ErrUnknown) {
		t.Errorf("a form is assembled twice: %v", err)
	}
}

func TestAVersionThatCannotBeDecodedIsDropped(t *testing.T) {
	v := newVersion(t, 5000)
	s := newServer(t, &shelf{version: v, absent: true})
	offer := v.offer(ContentIndex, 0, v.index.Bytes())
	verified, err := offer.Verify(policy(t), v.key)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := verified.Begin(s.Arriving); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Arriving.Fill(verified.Key, v.content); err != nil {
		t.Fatal(err)
	}
	err = Assemble(s.Arriving, verified.Key, func(Arrived) error { return record.ErrChecksum })
	if !errors.Is(err, record.ErrChecksum) {
		t.Errorf("assemble: %v", err)
	}
	if _, _, _, ok := s.Arriving.Offer(v.key, wire.AnyForm); ok {
		t.Error("the shards of a version that does not decode are still there")
	}
}

func TestAnIndexThatIsNotTheManifestsIsRefused(t *testing.T) {
	v := newVersion(t, 400_000)
	s := newServer(t, &shelf{version: v, absent: true})
	wrong := bytes.Clone(v.index.Bytes())
	wrong[0] ^= 1
	verified, err := v.offer(ContentIndex, 0, wrong).Verify(policy(t), v.key)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := verified.Begin(s.Arriving); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
}
