package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"banyan/versionstore"
)

// transactions tests that pointers and documents are written together or not at all.
func transactions(s *suite) {
	for n := uint64(1); n <= 2; n++ {
		m, raw, _ := s.Signer.Manifest(s, "a", n)
		if _, err := PutManifest(s.ctx, s.Store, m, raw, "test"); err != nil {
			s.Fatal(err)
		}
	}
	pointer := func(region string, epoch uint64) versionstore.SignedPointer {
		p, raw := s.Signer.Pointer(s, "a", region, epoch, epoch)
		return versionstore.SignedPointer{Pointer: p, Raw: raw}
	}
	commit := func(seq uint64, text string, pointers ...versionstore.SignedPointer) error {
		t := versionstore.Transaction{Term: 1, Pointers: pointers, By: "carol"}
		t.Documents = []versionstore.DocumentWrite{{Kind: "rollout", Name: "a", Raw: []byte(text), IfSeq: seq}}
		_, err := s.Commit(s.ctx, t)
		return err
	}
	if err := commit(0, "one", pointer("eu", 1), pointer("us", 1)); err != nil {
		s.Fatal(err)
	}
	states, err := s.Pointers(s.ctx, "", 0, 0)
	if err != nil || len(states) != 2 || states[0].Revision != states[1].Revision {
		s.Fatalf("pointers of one transaction: %+v, %v", states, err)
	}
	// A conflict in one part leaves every part unwritten.
	var conflict *versionstore.ConflictError
	if err := commit(0, "again", pointer("eu", 2)); !errors.As(err, &conflict) || conflict.By != "carol" {
		s.Errorf("a document that exists already: %v", err)
	}
	if err := commit(1, "two", pointer("eu", 2), pointer("us", 3)); !errors.As(err, &conflict) || conflict.Region != "us" {
		s.Errorf("an epoch too far: %v", err)
	}
	if p, err := s.Store.Pointer(s.ctx, "a", "eu"); err != nil || p.Pointer.Epoch != 1 {
		s.Errorf("a transaction that failed moved a pointer: %+v, %v", p, err)
	}
	if err := commit(1, "two", pointer("eu", 2), pointer("us", 2)); err != nil {
		s.Fatal(err)
	}
	d, err := s.Document(s.ctx, "rollout", "a")
	if err != nil || string(d.Raw) != "two" || d.Seq != 2 || d.By != "carol" || time.Since(d.At) > time.Minute {
		s.Errorf("document: %+v, %v", d, err)
	}
	s.wholeTransactions()
	s.documents()
}

// wholeTransactions tests that a version, a document and a guard are parts of a transaction.
func (s *suite) wholeTransactions() {
	m, raw, _ := s.Signer.Manifest(s, "whole", 1)
	p, signed := s.Signer.Pointer(s, "whole", "eu", 1, 1)
	t := versionstore.Transaction{
		Term:      1,
		Versions:  []versionstore.SignedManifest{{Manifest: m, Raw: raw, By: "dev"}},
		Pointers:  []versionstore.SignedPointer{{Pointer: p, Raw: signed}},
		Documents: []versionstore.DocumentWrite{{Kind: "rollout", Name: "whole", Raw: []byte("x")}},
		Guards:    []versionstore.Guard{{Kind: "hold", Name: "guard", Seq: 1}},
		By:        "dave",
	}
	var conflict *versionstore.ConflictError
	if _, err := s.Commit(s.ctx, t); !errors.As(err, &conflict) || conflict.What != "hold" {
		s.Errorf("a condition that does not hold: %v", err)
	}
	_, documentErr := s.Document(s.ctx, "rollout", "whole")
	_, versionErr := s.Version(s.ctx, "whole", 1)
	if !errors.Is(documentErr, versionstore.ErrNotFound) || !errors.Is(versionErr, versionstore.ErrNotFound) {
		s.Errorf("a refused transaction wrote something: %v, %v", documentErr, versionErr)
	}
	guard := versionstore.DocumentWrite{Kind: "hold", Name: "guard", Raw: []byte("x")}
	if _, err := s.Commit(s.ctx, versionstore.Transaction{Term: 1, Documents: []versionstore.DocumentWrite{guard}}); err != nil {
		s.Fatal(err)
	}
	revision, err := s.Commit(s.ctx, t)
	if err != nil {
		s.Fatal(err)
	}
	v, err := s.Version(s.ctx, "whole", 1)
	if err != nil || v.By != "dev" || v.Revision != revision {
		s.Errorf("the version: %+v, %v; the transaction ended at revision %d", v, err, revision)
	}
	state, err := s.Store.Pointer(s.ctx, "whole", "eu")
	if err != nil || state.By != "dave" || state.Revision != revision {
		s.Errorf("the pointer: %+v, %v; the transaction ended at revision %d", state, err, revision)
	}
	if _, err := s.Commit(s.ctx, t); !errors.As(err, &conflict) || conflict.What != "version" {
		s.Errorf("a version that is stored already: %v", err)
	}
}

// documents tests listing, removing and the limits of documents.
func (s *suite) documents() {
	write := func(kind, name, text string, seq uint64) error {
		w := versionstore.DocumentWrite{Kind: kind, Name: name, IfSeq: seq}
		if text != "" {
			w.Raw = []byte(text)
		}
		_, err := s.Commit(s.ctx, versionstore.Transaction{Term: 1, Documents: []versionstore.DocumentWrite{w}})
		return err
	}
	for _, name := range []string{"b/2", "b/1", "c"} {
		if err := write("plan", name, "x", 0); err != nil {
			s.Fatal(err)
		}
	}
	listed := func(prefix, after string, limit int) (names []string) {
		all, err := s.List(s.ctx, "plan", prefix, after, limit)
		if err != nil {
			s.Fatal(err)
		}
		for _, d := range all {
			names = append(names, d.Name)
		}
		return names
	}
	expect(s, "all", listed("", "", 0), []string{"b/1", "b/2", "c"})
	expect(s, "by prefix", listed("b/", "", 0), []string{"b/1", "b/2"})
	expect(s, "limited", listed("", "", 1), []string{"b/1"})
	expect(s, "the next page", listed("", "b/1", 1), []string{"b/2"})
	expect(s, "after a name that is not stored", listed("", "b/10", 0), []string{"b/2", "c"})
	expect(s, "by prefix, the next page", listed("b/", "b/1", 0), []string{"b/2"})
	expect(s, "by prefix, after the last", listed("b/", "b/2", 0), nil)
	expect(s, "by prefix, after a name before it", listed("b/", "a", 0), []string{"b/1", "b/2"})
	expect(s, "by prefix, after a name behind it", listed("b/", "c", 0), nil)
	if err := write("plan", "c", "", 1); err != nil {
		s.Fatal(err)
	}
	if _, err := s.Document(s.ctx, "plan", "c"); !errors.Is(err, versionstore.ErrNotFound) {
		s.Errorf("a removed document: %v", err)
	}
	if err := write("plan", "big", string(make([]byte, versionstore.MaxDocument+1)), 0); err == nil {
		s.Error("a document over the limit was taken")
	}
	if err := write("plan", "a\x00b", "x", 0); err == nil {
		s.Error("a name with a zero byte was taken")
	}
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, err := s.Commit(ctx, versionstore.Transaction{}); !errors.Is(err, context.Canceled) {
		s.Errorf("cancelled: %v", err)
	}
}

func expect(t testing.TB, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
		return
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s: %v, want %v", what, got, want)
			return
		}
	}
}
