package ledger_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"banyan/coordinator/ledger"
	"banyan/record"
	"banyan/versionstore"
	"banyan/versionstore/storetest"
)

// limited returns a ledger with the given limits over the store of f, and a function that brings
// version 1 of a config to regions in one transaction.
func limited(f *fixture, limits ledger.Limits) (*ledger.Ledger, func(config string, epoch uint64, regions ...string) error) {
	l := mustNew(f.t, ledger.Config{
		Store:   f.store,
		Keys:    map[string]record.Key{"eu": record.KeyFromSeed([32]byte{1}), "us": record.KeyFromSeed([32]byte{2})},
		Limits:  limits,
		Metrics: metrics.NewSet(),
		Log:     slog.New(slog.DiscardHandler),
	})
	sign := storetest.NewSigner()
	return l, func(config string, epoch uint64, regions ...string) error {
		m, raw, _ := sign.Manifest(f.t, config, 1)
		changes := ledger.Changes{Versions: []versionstore.SignedManifest{{Manifest: m, Raw: raw, By: "tester"}}}
		if epoch > 1 {
			changes.Versions = nil
		}
		for _, region := range regions {
			changes.Moves = append(changes.Moves, record.Pointer{
				Config:   config,
				Region:   region,
				Epoch:    epoch,
				Baseline: m.Ref(),
				Phase:    record.PhaseActive,
			})
		}
		return l.Update(func(w *ledger.Writer) error {
			_, err := w.Commit(f.t.Context(), ledger.Act{By: "dev"}, changes)
			return err
		})
	}
}

// A config too many is refused before anything is stored. The limit counts the configs of each
// region; those that run already move on.
func TestTruthAConfigTooManyIsRefusedAtTheWrite(t *testing.T) {
	f := newFixture(t)
	_, bring := limited(f, ledger.Limits{Configs: 2, Pointers: 3})
	refused := func(config, region string, err error) {
		t.Helper()
		var full *ledger.FullError
		if !errors.As(err, &full) || full.Region != region {
			t.Errorf("%s: %v, want an error about region %q", config, err, region)
		}
		if _, err := f.store.Version(context.Background(), config, 0); !errors.Is(err, versionstore.ErrNotFound) {
			t.Errorf("the version of %s is stored: %v", config, err)
		}
	}
	for _, config := range []string{"one", "two"} {
		if err := bring(config, 1, "eu"); err != nil {
			t.Fatal(err)
		}
	}
	refused("three", "eu", bring("three", 1, "eu"))
	refused("three", "eu", bring("three", 1, "us", "eu"))
	if err := bring("two", 2, "eu"); err != nil {
		t.Errorf("a config that runs in a full region can't move: %v", err)
	}
	if err := bring("four", 1, "us"); err != nil {
		t.Errorf("another region is full, too: %v", err)
	}
	refused("five", "", bring("five", 1, "us"))
	// A ledger that starts over the same store counts what is there.
	_, bring = limited(f, ledger.Limits{Configs: 2})
	refused("three", "eu", bring("three", 1, "eu"))
}

// A config that was deleted long ago leaves room for another one.
func TestADeletedConfigLeavesRoom(t *testing.T) {
	f := newFixture(t)
	l, bring := limited(f, ledger.Limits{Configs: 1, DeletionMemory: time.Nanosecond})
	if err := bring("one", 1, "eu"); err != nil {
		t.Fatal(err)
	}
	err := l.Update(func(w *ledger.Writer) error {
		gone := record.Pointer{Config: "one", Region: "eu", Epoch: 2, Phase: record.PhaseDeleted}
		_, err := w.Commit(t.Context(), ledger.Act{By: "dev"}, ledger.Changes{Moves: []record.Pointer{gone}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	l, bring = limited(f, ledger.Limits{Configs: 1, DeletionMemory: time.Nanosecond})
	if err := bring("two", 1, "eu"); err != nil {
		t.Errorf("the config that was deleted counts: %v", err)
	}
	// A new term issues the deletion anew.
	if _, err := l.BeginTerm(t.Context(), ledger.Act{By: "dev"}, 0); err != nil {
		t.Errorf("a term does not begin, because a config was deleted once: %v", err)
	}
	held, err := f.store.Pointer(t.Context(), "two", "eu")
	if err != nil || held.Pointer.Epoch != 2 {
		t.Errorf("a pointer was not issued anew: %v, %v", held.Pointer, err)
	}
}
