package agent

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// other returns the announcement of a pointer of a config that the host does not subscribe to.
func (h *host) other(config string, epoch, revision uint64) *wire.Announcement {
	h.t.Helper()
	p := record.Pointer{
		Config:     config,
		Region:     "eu",
		Term:       1,
		Epoch:      epoch,
		Baseline:   key(config, epoch).Ref(),
		Phase:      record.PhaseActive,
		TimeMicros: 1,
	}
	raw, err := record.SignPointer(p, h.active)
	if err != nil {
		h.t.Fatal(err)
	}
	return wire.NewAnnouncement(revision, raw, p)
}

// passOn gives the agent pointers that its node keeps.
func (h *host) passOn(a *Agent, kept ...*wire.Announcement) {
	a.driver.Do(h.t.Context(), func(*mesh.Node) {
		for _, k := range kept {
			a.observe(step.Output{Op: step.OpKeep, Pointer: step.Pointer{Announcement: k}})
		}
	})
}

func (s *state) mustLoad(t *testing.T) remembered {
	t.Helper()
	r, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The pointers of configs without a subscription are written together, the newest of each config, and at the
// end of the agent. After the next start the node has them, and the host shows none of them.
func TestTruthPointersOfOtherConfigsAreWrittenTogether(t *testing.T) {
	h := newHost(t)
	ownOnly := func(c *Config) { c.Subscriptions = wire.Subscribe("own") }
	a, stop := h.start(ownOnly)
	h.run(a, "own", 1, "shown")
	const configs = 3*maxCommit + 1
	for epoch := range uint64(3) {
		for i := range uint64(configs) {
			h.passOn(a, h.other(fmt.Sprintf("other/%03d", i), epoch+1, 2+epoch*configs+i))
		}
	}
	if rows := a.state.mustLoad(t).rows; len(rows) != 1 {
		t.Errorf("%d rows were written at once, not only that of the applied config", len(rows))
	}
	stop()

	a, _ = h.start(ownOnly)
	r := a.state.mustLoad(t)
	if len(r.rows) != 1+configs {
		t.Errorf("%d rows after the next start, want %d", len(r.rows), 1+configs)
	}
	for _, row := range r.rows {
		if row.pointer.Config != "own" && (row.pointer.Epoch != 3 || !row.Version.IsZero()) {
			t.Errorf("%s is kept at epoch %d with version %d", row.pointer.Config, row.pointer.Epoch, row.Version.Version)
		}
	}
	if h.shows("own") != "shown" || h.shows("other/000") != "" {
		t.Errorf("the host shows %q and %q", h.shows("own"), h.shows("other/000"))
	}
	if all, _ := a.applied.all(); len(all) != 1 {
		t.Errorf("the host says that it runs %d configs", len(all))
	}
}

// After a crash the parent sends what was not written yet: the watermark on disk stays below it, whatever
// else is written meanwhile.
func TestTruthTheWatermarkStaysBelowWhatIsNotWritten(t *testing.T) {
	h := newHost(t)
	s, err := openState(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	k := newKeeper(s, slog.New(slog.DiscardHandler))
	expect := func(when string, want uint64) {
		t.Helper()
		if got := k.durable(20); got != want {
			t.Errorf("%s: everything up to revision %d is on disk, want %d", when, got, want)
		}
	}
	expect("nothing waits", 20)
	k.keep(h.other("a", 1, 8), 8)
	k.keep(h.other("b", 1, 6), 8)
	k.keep(h.other("b", 2, 9), 9)
	expect("revisions 6 to 9 wait", 5)

	s.close() // writes fail
	k.write()
	expect("the write failed", 5)
	if s, err = openState(t.TempDir(), 1); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	k.state = s
	k.keep(h.other("c", 1, 12), 12)
	k.write()
	expect("everything is written", 20)
	r := s.mustLoad(t)
	epochs := map[string]uint64{}
	for _, row := range r.rows {
		epochs[row.pointer.Config] = row.pointer.Epoch
	}
	if want := map[string]uint64{"a": 1, "b": 2, "c": 1}; fmt.Sprint(epochs) != fmt.Sprint(want) || r.watermark != 12 {
		t.Errorf("written: %v up to revision %d, want %v up to 12", epochs, r.watermark, want)
	}
}

// A start after a long absence brings more activations at once than fit into one transaction.
func TestTruthManyActivationsAtOnceAreCommitted(t *testing.T) {
	h := newHost(t)
	a, _ := h.start(nil)
	var outcomes []func() error
	for i := range 5 * maxCommit {
		outcomes = append(outcomes, h.activateLater(a, fmt.Sprintf("config/%03d", i), 1, 0))
	}
	for i, outcome := range outcomes {
		if err := outcome(); err != nil {
			t.Fatalf("config %d: %v", i, err)
		}
	}
	if n := len(a.state.mustLoad(t).rows); n != len(outcomes) {
		t.Errorf("%d of %d rows", n, len(outcomes))
	}
}

// The largest rows, of configs that had many baselines, fit into one transaction.
func TestTruthTheLargestRowsAreCommittedTogether(t *testing.T) {
	s, err := openState(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	h := newHost(t)
	rows := make([]committed, maxCommit)
	for i := range rows {
		name := fmt.Sprintf("%03d/%s/%s", i, strings.Repeat("a", record.MaxSegment-4), strings.Repeat("b", 59))
		a := h.other(name, 1<<40-1, math.MaxUint64)
		rows[i] = committed{
			Raw:       slices.Grow(a.Raw, record.MaxBatchedPointer)[:record.MaxBatchedPointer],
			Revision:  a.Revision,
			Version:   a.Pointer.Baseline,
			AtMicros:  math.MaxInt64,
			Watermark: math.MaxUint64,
			Pending:   true,
			Proven:    slices.Repeat([]record.Ref{a.Pointer.Baseline}, maxProven),
			pointer:   a.Pointer,
		}
	}
	err = s.db.Write(func(txn *badger.Txn) error {
		for i := range rows {
			if err := putRow(txn, &rows[i]); err != nil {
				return err
			}
		}
		return putWatermark(txn, math.MaxUint64)
	})
	if err != nil {
		t.Errorf("%d rows: %v", maxCommit, err)
	}
}
