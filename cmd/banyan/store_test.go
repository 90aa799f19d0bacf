package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banyan/coordinator/api"
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
	if err := storetest.PutDocument(t.Context(), s, "schema", "a", []byte("{}")); err != nil {
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

// The table of a recovery calls a deletion so, and no version 0.
func TestTruthARecoveryCallsADeletionSo(t *testing.T) {
	var b strings.Builder
	printRecovered(&b, api.Recovered{Recovered: []api.RecoveredPointer{
		{Config: "gone", Region: "eu", Term: 1, Epoch: 3},
		{Config: "first", Region: "eu", Term: 1, Epoch: 1, Candidate: 1},
		{Config: "live", Region: "eu", Term: 1, Epoch: 2, Version: 4},
	}})
	for _, want := range []string{
		"gone\teu\t1\t3\tdeleted\t-\tyes",
		"first\teu\t1\t1\t-\t1\tyes",
		"live\teu\t1\t2\t4\t-\tyes",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
}
