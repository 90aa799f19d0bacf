package agent

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banyan/body"
	"banyan/fec"
	"banyan/forms"
	"banyan/mesh/step"
	"banyan/record"
)

// compressed stores version 1 of config a with a compressed form, as it arrives in one piece.
func (h *host) compressed(a *Agent, text string) versionDir {
	h.t.Helper()
	dir := h.t.TempDir()
	path := filepath.Join(dir, "body")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	made, size, sum, err := forms.Make(dir, path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	m := record.Manifest{
		Config:      "a",
		Version:     1,
		BodySize:    size,
		BodySHA256:  sum,
		ContentType: "text/plain",
		Forms:       []record.Form{made[0].Form},
	}
	if m.Forms[0].Encoding == record.EncodingIdentity {
		h.t.Fatal("the form is not compressed")
	}
	remember(m)
	signed, err := record.SignManifest(m, h.key)
	if err != nil {
		h.t.Fatal(err)
	}
	f, err := made[0].Open(path)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	o := body.Offer{Signed: signed, What: body.ContentForm, Size: m.Forms[0].Size, Bytes: f}
	if _, err := a.bodies.StoreBody(h.t.Context(), key("a", 1), o); err != nil {
		h.t.Fatal(err)
	}
	return a.output.version(key("a", 1))
}

// offered returns what the agent offers a peer that has nothing.
func offered(t *testing.T, a *Agent) (body.Content, []byte) {
	t.Helper()
	o, err := a.bodies.OpenBody(t.Context(), key("a", 1), body.Wish{})
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := o.Bytes.(io.Closer); ok {
		defer c.Close()
	}
	b, err := io.ReadAll(o.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return o.What, b
}

// A power cut has left the form of a version empty, or with other bytes. Children are sent the
// body instead, and not a damaged form.
func TestTruthADamagedFormIsNotServed(t *testing.T) {
	text := strings.Repeat("a line of a config\n", 5000)
	damages := map[string]func([]byte) []byte{
		"empty":   func([]byte) []byte { return nil },
		"torn":    func(b []byte) []byte { return b[:len(b)/2] },
		"altered": func(b []byte) []byte { return append([]byte{b[0] ^ 1}, b[1:]...) },
	}
	for name, damage := range damages {
		h := newHost(t)
		a, _ := h.start(nil)
		dir := h.compressed(a, text)
		if what, _ := offered(t, a); what != body.ContentForm {
			t.Fatalf("%s: content %d is offered before the damage", name, what)
		}
		form := filepath.Join(dir.path, "form0")
		b, err := os.ReadFile(form)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(form, damage(b), 0o644); err != nil {
			t.Fatal(err)
		}
		what, got := offered(t, a)
		if what != body.ContentBody || string(got) != text {
			t.Errorf("%s: %d bytes of content %d are offered", name, len(got), what)
		}
	}
}

// A body that was altered on a host without a parent is rebuilt from the form on disk.
func TestTruthABodyIsRebuiltFromItsForm(t *testing.T) {
	text := strings.Repeat("a line of a config\n", 5000)
	h := newHost(t)
	a, stop := h.start(nil)
	dir := h.compressed(a, text)
	if err := h.activate(a, "a", 1, 1); err != nil {
		t.Fatal(err)
	}
	overwrite(t, dir.value(), "by hand")
	if err := h.activate(a, "a", 2, 1); err != nil || h.shows("a") != text {
		t.Errorf("a shows %d bytes: %v", len(h.shows("a")), err)
	}
	overwrite(t, dir.value(), "by hand again")
	stop()
	a, _ = h.start(nil)
	waitUntil(t, func() bool { applied, ok := a.Applied("a"); return ok && applied.Epoch == 2 })
	if h.shows("a") != text {
		t.Errorf("after a start, a shows %d bytes", len(h.shows("a")))
	}
}

// A power cut has left the shard index of a form empty. It is made anew.
func TestTruthADamagedIndexIsMadeAnew(t *testing.T) {
	output := newOutputDir(t)
	text := strings.Repeat("0123456789", 10_000)
	m, signed := manifestOf(t, "a", 1, []byte(text))
	_, index, err := fec.FormOf([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	err = output.stage(m, signed, func(s *staging) error {
		arrived := filepath.Join(t.TempDir(), "bytes")
		if err := os.WriteFile(arrived, []byte(text), 0o600); err != nil {
			return err
		}
		return s.adopt(m.Forms[0], 0, arrived, index.Bytes(), nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := output.version(key("a", 1))
	path := filepath.Join(dir.path, indexFile(0))
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f, _, got, err := dir.load(0)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	healed, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got.Bytes(), index.Bytes()) || !bytes.Equal(healed, index.Bytes()) {
		t.Errorf("the index has %d bytes, on disk %d, want %d: %v", len(got.Bytes()), len(healed), len(index.Bytes()), err)
	}
}

// An edit that keeps the size and the time of the last change is noticed: every edit that a stamp
// could miss is younger than the tick of the clock, and then the file is read again.
func TestTruthAnEditWithinATickIsNoticed(t *testing.T) {
	output := newOutputDir(t)
	output.put(t, "a", 1, "good")
	path := output.version(key("a", 1)).value()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	now := stampOf(info)
	changed := time.Unix(now.changed.Unix())
	for _, c := range []struct {
		after time.Duration
		known bool
	}{{0, false}, {clockTick - 1, false}, {clockTick, true}} {
		output.verified.add(path, now, record.Sum([]byte("good")), changed.Add(c.after))
		if got := output.verified.knows(path, now, record.Sum([]byte("good"))); got != c.known {
			t.Errorf("verified %s after the last change, the file is known: %v", c.after, got)
		}
	}
	if err := os.WriteFile(path, []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := check(output, "a", 1); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
}

// Only a failed hook counts against a version.
func TestTruthAFaultOfTheHostIsNotTheVersions(t *testing.T) {
	h := newHost(t)
	a, _ := startWith(h, Rule{Check: &Check{Command: shell("! grep -q bad {path}")}})
	fault := func(err error) step.Fault {
		var f *failed
		if !errors.As(err, &f) {
			t.Fatalf("%v is no failed activation", err)
		}
		return f.Fault
	}
	h.run(a, "a", 1, "one")
	if got := fault(h.activate(a, "a", 2, 9)); got != step.FaultHost {
		t.Errorf("a version that is not on disk: fault %d", got)
	}
	if err := h.activate(a, "a", 2, 1); err != nil {
		t.Fatal(err)
	}
	if got := fault(h.activate(a, "a", 1, 1)); got != step.FaultHost {
		t.Errorf("a commit that fails: fault %d", got)
	}
	if err := h.store(a, "a", 3, "bad"); err != nil {
		t.Fatal(err)
	}
	if got := fault(h.activate(a, "a", 3, 3)); got != step.FaultVersion {
		t.Errorf("a check that fails: fault %d", got)
	}
}
