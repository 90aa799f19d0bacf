package agent

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"testing"

	"banyan/body"
	"banyan/fec"
	"banyan/mesh/wire"
	"banyan/record"
)

// newRelay makes the bodies of an agent that subscribes to nothing.
func newRelay(t *testing.T) *bodies {
	output := newOutputDir(t)
	cache, err := openCache(output.cacheDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	return &bodies{
		policy:        newPolicy(t),
		subscriptions: wire.SubscribeNothing,
		output:        output,
		cache:         cache,
		metrics:       newMetrics(),
		log:           slog.New(slog.DiscardHandler),
	}
}

func TestACacheTakesAndGivesOnlyWhatTheManifestSays(t *testing.T) {
	a := newRelay(t)
	content := bytes.Repeat([]byte("all is well\n"), 5000)
	m, signed := manifestOf(t, "a", 1, content)
	v := key("a", 1)
	offer := func(what body.Content, b []byte) body.Offer {
		return body.Offer{Signed: signed, What: what, Size: int64(len(b)), Bytes: bytes.NewReader(b)}
	}
	other := bytes.Clone(content)
	other[7] ^= 1
	index, _, err := fec.BuildIndex(bytes.NewReader(content), m.BodySize, m.Forms[0].Geometry)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := record.SignManifest(m, record.KeyFromSeed([32]byte{7}))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		choice wire.FormChoice
		offer  body.Offer
		want   error
	}{
		"other bytes":        {0, offer(body.ContentForm, other), record.ErrChecksum},
		"fewer bytes":        {0, offer(body.ContentForm, content[1:]), record.ErrChecksum},
		"a body and no form": {0, offer(body.ContentBody, content), body.ErrMismatch},
		"another form":       {wire.OnlyForm(1), offer(body.ContentForm, content), body.ErrMismatch},
		"a form it has not":  {0, body.Offer{Signed: signed, What: body.ContentForm, Form: 1, Size: 3, Bytes: bytes.NewReader(nil)}, body.ErrMismatch},
		"another index":      {0, offer(body.ContentIndex, index.Bytes()[32:]), record.ErrChecksum},
		"a stranger's":       {0, body.Offer{Signed: forged, What: body.ContentForm, Size: m.BodySize, Bytes: bytes.NewReader(content)}, record.ErrUnknownKey},
	} {
		if _, _, err := a.CacheForm(t.Context(), v, c.choice, c.offer); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if n := a.cache.Stored(); n != 0 {
			t.Errorf("%s: %d bytes are kept", name, n)
		}
	}
	if _, err := a.OpenBody(t.Context(), v, body.Wish{}); err == nil {
		t.Error("a version that is not here opens")
	}
	info, have, err := a.CacheForm(t.Context(), v, 0, offer(body.ContentForm, content))
	if err != nil || info.Size != m.BodySize || int(have.Count()) < info.Shards() {
		t.Fatalf("%+v, %d shards: %v", info, have.Count(), err)
	}
	o, err := a.OpenBody(t.Context(), v, body.Wish{})
	if err != nil || o.What != body.ContentForm {
		t.Fatalf("%+v: %v", o, err)
	}
	got, err := io.ReadAll(o.Bytes)
	if o.Bytes.(io.Closer).Close(); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes of %d came back: %v", len(got), len(content), err)
	}
}

func TestACacheSaysWhichFormWouldBeBetter(t *testing.T) {
	a := newRelay(t)
	content, delta := bytes.Repeat([]byte("all is well\n"), 5000), []byte("a few bytes")
	m, _ := manifestOf(t, "a", 2, content)
	f, _, err := fec.FormOf(delta)
	if err != nil {
		t.Fatal(err)
	}
	f.Base, f.Encoding = key("a", 1).Ref(), record.EncodingZstd
	m.Forms = append(m.Forms, f)
	signed, err := record.SignManifest(m, signer)
	if err != nil {
		t.Fatal(err)
	}
	take := func(form uint8, b []byte) {
		t.Helper()
		o := body.Offer{Signed: signed, What: body.ContentForm, Form: form, Size: int64(len(b)), Bytes: bytes.NewReader(b)}
		if _, _, err := a.CacheForm(t.Context(), m.Key(), wire.OnlyForm(form), o); err != nil {
			t.Fatal(err)
		}
	}
	opens := func(have []record.Ref, form uint8, here bool) {
		t.Helper()
		o, err := a.OpenBody(t.Context(), m.Key(), body.Wish{Have: have})
		var other *body.OtherFormError
		switch {
		case here && (err != nil || o.Form != form), !here && (!errors.As(err, &other) || other.Form != form):
			t.Errorf("for one that has %v: form %d, %v; want form %d", have, o.Form, err, form)
		case here:
			o.Bytes.(io.Closer).Close()
		}
	}
	take(0, content)
	opens([]record.Ref{key("a", 1).Ref()}, 1, false)
	opens(nil, 0, true)
	take(1, delta)
	opens([]record.Ref{key("a", 1).Ref()}, 1, true)
	opens([]record.Ref{key("a", 7).Ref()}, 0, true)
}
