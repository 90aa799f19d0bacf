package main

import (
	"os"
	"path/filepath"
	"testing"

	"banyan/internal/embeddb"
	"banyan/versionstore"
	"banyan/versionstore/storetest"
)

// A coordinator whose store lacks acknowledged writes does not start and says what to do; after
// the operator accepted the loss, the store opens.
func TestTruthALossMustBeAccepted(t *testing.T) {
	h := newHome(t, "eu")
	data := t.TempDir()
	dir := filepath.Join(data, "store")
	s, err := versionstore.OpenBadger(dir, embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := storetest.PutSchema(t.Context(), s, "a", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The files of an older copy, beside the mark of the newer store.
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if filepath.Base(f) == "MARK" {
			continue
		}
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	expectRun := func(code int, words []string, args ...string) {
		t.Helper()
		expect(t, runCLI(t, "", args...), code, words, args)
	}
	expectRun(exitFailed, []string{"writes lost after write 0: 1", "banyan store accept-loss"},
		"coordinator", "--identity", h.CoordinatorDir("eu"), "--data-dir", data, "--listen", "127.0.0.1:0",
		"--activation-key", h.ActivationKey("eu"))
	expectRun(exitDone, []string{"the store starts again"}, "store", "accept-loss", "--data-dir", data)
	s, err = versionstore.OpenBadger(dir, embeddb.Options{})
	if err != nil {
		t.Fatalf("after the loss was accepted: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
