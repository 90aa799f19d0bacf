package versionstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"banyan/internal/embeddb"
	"banyan/record"
	"banyan/versionstore"
	"banyan/versionstore/storetest"
)

// movingStore is a store of pointers in which the oldest pointer moves after each page.
type movingStore struct {
	versionstore.Reader
	states []versionstore.PointerState // ordered by revision
	pages  int
}

func (m *movingStore) Pointers(
	_ context.Context, _ string, since uint64, limit int,
) ([]versionstore.PointerState, error) {
	var page []versionstore.PointerState
	for _, s := range m.states {
		if s.Revision > since && len(page) < limit {
			page = append(page, s)
		}
	}
	m.pages++
	moved := m.states[0]
	moved.Revision = m.states[len(m.states)-1].Revision + 1
	moved.Pointer.Epoch++
	m.states = append(m.states[1:], moved)
	return page, nil
}

// However many pointers a store has, a listing has a limit, and all of them are found. A pointer that
// moves while pages are read is returned once, in its newest state.
func TestTruthAllPointersAreReadInPages(t *testing.T) {
	const pointers = 2*versionstore.MaxPage + 500
	store := &movingStore{}
	for i := range uint64(pointers) {
		p := record.Pointer{Config: fmt.Sprint(i), Region: "eu", Epoch: 1}
		store.states = append(store.states, versionstore.PointerState{Pointer: p, Revision: i + 1})
	}
	all, err := versionstore.AllPointers(t.Context(), store, "eu")
	if err != nil || len(all) != pointers || store.pages != 3 {
		t.Fatalf("%d pointers in %d pages, %v; want %d in 3", len(all), store.pages, err, pointers)
	}
	if last := all[len(all)-1].Pointer; last.Config != "1" || last.Epoch != 2 {
		t.Errorf("the newest pointer is %s in epoch %d, want 1 in epoch 2", last.Config, last.Epoch)
	}
}

// Pages hold the pointers of one revision together: a listing that continues after the revision would
// leave out the others.
func TestTruthAPageOfPointersHoldsWholeRevisions(t *testing.T) {
	s, err := versionstore.OpenBadger(t.TempDir(), embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sign := storetest.NewSigner()
	for i, revision := range []uint64{7, 7, 7, 9} { // the leader's store gave revision 7 out again
		p, raw := sign.Pointer(t, fmt.Sprint(i), "eu", 1, 1)
		if err := s.ImportPointer(t.Context(), p, raw, revision); err != nil {
			t.Fatal(err)
		}
	}
	page, err := s.Pointers(t.Context(), "eu", 0, 2)
	if err != nil || len(page) != 3 || page[2].Revision != 7 {
		t.Errorf("the first page has %d pointers, %v; want the 3 of revision 7", len(page), err)
	}
}

// A damaged pointer has a place in its page, so that the next page begins after it.
func TestTruthADamagedPointerDoesNotEndTheListing(t *testing.T) {
	dir := t.TempDir()
	s, err := versionstore.OpenBadger(dir, embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sign := storetest.NewSigner()
	for i := range uint64(3) {
		p, raw := sign.Pointer(t, fmt.Sprint(i), "eu", 1, 1)
		if err := s.ImportPointer(t.Context(), p, raw, i+1); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, dir, []byte("p1\x00eu"))
	if s, err = versionstore.OpenBadger(dir, embeddb.Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	page, err := s.Pointers(t.Context(), "eu", 1, 1)
	if err != nil || len(page) != 1 || !errors.Is(page[0].Damaged, versionstore.ErrCorrupt) || page[0].Revision != 2 {
		t.Errorf("the page with the damaged pointer: %+v, %v", page, err)
	}
	all, err := versionstore.AllPointers(t.Context(), s, "eu")
	if len(all) != 2 || !errors.Is(err, versionstore.ErrCorrupt) {
		t.Errorf("%d pointers, %v; want the other two and ErrCorrupt", len(all), err)
	}
}

// damage replaces the row under key in the store at dir.
func damage(t *testing.T, dir string, key []byte) {
	t.Helper()
	db, err := embeddb.Open(dir, embeddb.Options{Mark: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Write(func(txn *badger.Txn) error { return txn.Set(key, []byte("no row")) }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
