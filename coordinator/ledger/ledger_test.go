package ledger_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"banyan/coordinator/ledger"
	"banyan/internal/embeddb"
	"banyan/record"
	"banyan/rollout/activation"
	"banyan/versionstore"
	"banyan/versionstore/storetest"
)

// fixture is a ledger with keys for eu and us, over a store that holds two versions of "a".
type fixture struct {
	*ledger.Ledger
	t       *testing.T
	store   versionstore.Store
	metrics *metrics.Set
}

func newFixture(t *testing.T) *fixture {
	store, err := versionstore.OpenBadger(t.TempDir(), embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return newFixtureOver(t, store)
}

func newFixtureOver(t *testing.T, store versionstore.Store) *fixture {
	set := metrics.NewSet()
	l := mustNew(t, ledger.Config{
		Store:   store,
		Keys:    map[string]record.Key{"eu": record.KeyFromSeed([32]byte{1}), "us": record.KeyFromSeed([32]byte{2})},
		Ran:     func(p record.Pointer) []record.Ref { return []record.Ref{p.Baseline} },
		Metrics: set,
		Log:     slog.New(slog.DiscardHandler),
	})
	sign := storetest.NewSigner()
	for n := uint64(1); n <= 2; n++ {
		m, raw, _ := sign.Manifest(t, "a", n)
		err := l.Update(func(w *ledger.Writer) error {
			act := ledger.Act{By: "dev", What: fmt.Sprintf("version %d stored", n), Config: "a", Why: "fixture"}
			added := []versionstore.SignedManifest{{Manifest: m, Raw: raw, By: "tester"}}
			_, err := w.Commit(t.Context(), act, ledger.Changes{Versions: added})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return &fixture{l, t, store, set}
}

func mustNew(t *testing.T, cfg ledger.Config) *ledger.Ledger {
	t.Helper()
	l, err := ledger.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// move returns a move to a version of "a" that storetest.NewSigner makes.
func move(t *testing.T, region string, epoch, version uint64) record.Pointer {
	m, _, _ := storetest.NewSigner().Manifest(t, "a", version)
	return record.Pointer{Config: "a", Region: region, Epoch: epoch, Baseline: m.Ref(), Phase: record.PhaseActive}
}

func document(text string, seq uint64) versionstore.DocumentWrite {
	return versionstore.DocumentWrite{Kind: "rollout", Name: "a", Raw: []byte(text), IfSeq: seq}
}

func (f *fixture) commit(moves []record.Pointer, documents ...versionstore.DocumentWrite) (states []versionstore.PointerState, err error) {
	err = f.Update(func(w *ledger.Writer) error {
		states, err = w.Commit(f.t.Context(), ledger.Act{By: "alice"}, ledger.Changes{Moves: moves, Documents: documents})
		return err
	})
	return states, err
}

func (f *fixture) counter(name string) uint64 { return f.metrics.GetOrCreateCounter(name).Get() }

// policyOf returns a trust policy by which key n+1 activates region n.
func policyOf(t *testing.T, regions ...string) *record.Policy {
	root := record.KeyFromSeed([32]byte{9})
	document := record.PolicyDocument{
		Version:    1,
		ExpiresSec: 1 << 40,
		Publishers: []record.PublisherEntry{{Name: "dev", Public: root.Public(), Scopes: []string{"*"}}},
	}
	for i, region := range regions {
		key := record.KeyFromSeed([32]byte{byte(i + 1)})
		document.Activators = append(document.Activators, record.ActivatorEntry{Name: region, Public: key.Public(), Regions: []string{region}})
	}
	raw, err := record.SignPolicy(document, root)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := record.OpenPolicy(raw, []ed25519.PublicKey{root.Public()}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// A batch is signed with the key of its region.
func TestABatchIsSignedForItsRegion(t *testing.T) {
	f := newFixture(t)
	states, err := f.commit([]record.Pointer{move(t, "us", 1, 1)})
	if err != nil {
		t.Fatal(err)
	}
	payloads := [][]byte{states[0].Pointer.Payload()}
	root, err := f.SignBatch("us", payloads)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policyOf(t, "eu", "us").VerifyBatch(root, payloads); err != nil {
		t.Error(err)
	}
	if root, err = f.SignBatch("eu", payloads); err != nil {
		t.Fatal(err)
	}
	if _, err := policyOf(t, "eu", "us").VerifyBatch(root, payloads); !errors.Is(err, record.ErrScope) {
		t.Errorf("a pointer of us under the key of eu: %v", err)
	}
	if _, err := f.SignBatch("mars", payloads); !errors.Is(err, ledger.ErrNoKey) {
		t.Errorf("signed for a region without a key: %v", err)
	}
	if n := f.counter("banyan_coordinator_batches_total"); n != 2 {
		t.Errorf("%d batches are counted", n)
	}
}

func TestACommitSignsStoresAndCounts(t *testing.T) {
	f := newFixture(t)
	states, err := f.commit([]record.Pointer{move(t, "eu", 1, 1), move(t, "us", 1, 1)}, document("one", 0))
	if err != nil {
		t.Fatal(err)
	}
	policy := policyOf(t, "eu", "us")
	for i, region := range []string{"eu", "us"} {
		if _, err := policy.VerifyPointer(states[i].Raw); err != nil {
			t.Errorf("%s: %v", region, err)
		}
		stored, err := f.Pointer(t.Context(), "a", region)
		if err != nil || stored.Revision != states[i].Revision || stored.By != "alice" || stored.Pointer.TimeMicros == 0 {
			t.Errorf("%s: stored %+v, %v; the commit returned %+v", region, stored, err, states[i])
		}
	}
	if d, err := f.Document(t.Context(), "rollout", "a"); err != nil || string(d.Raw) != "one" || d.Seq != 1 {
		t.Errorf("document %+v, %v", d, err)
	}
	if n := f.counter("banyan_coordinator_pointer_moves_total"); n != 2 {
		t.Errorf("%d moves counted", n)
	}
	if n := f.counter("banyan_coordinator_versions_total"); n != 2 {
		t.Errorf("%d versions counted", n)
	}
}

func TestAConflictStoresNothing(t *testing.T) {
	f := newFixture(t)
	if _, err := f.commit([]record.Pointer{move(t, "eu", 1, 1)}, document("one", 0)); err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func() error{
		"an epoch that another writer took": func() error {
			_, err := f.commit([]record.Pointer{move(t, "us", 1, 1), move(t, "eu", 1, 2)}, document("two", 1))
			return err
		},
		"a document that another writer wrote": func() error {
			_, err := f.commit([]record.Pointer{move(t, "us", 1, 1)}, document("two", 0))
			return err
		},
		"a region without a key": func() error {
			_, err := f.commit([]record.Pointer{move(t, "us", 1, 1), move(t, "ap", 1, 1)}, document("two", 1))
			return err
		},
		"a version that is not stored": func() error {
			_, err := f.commit([]record.Pointer{move(t, "us", 1, 9)}, document("two", 1))
			return err
		},
	} {
		if err := try(); err == nil {
			t.Errorf("%s: no error", name)
		}
		pointers, err := f.PointersOf(t.Context(), "a", slices.Values([]string{"eu", "us"}))
		if err != nil || pointers["eu"].Epoch != 1 || pointers["us"].Epoch != 0 {
			t.Errorf("%s: pointers %v, %v", name, pointers, err)
		}
		if d, err := f.Document(t.Context(), "rollout", "a"); err != nil || string(d.Raw) != "one" {
			t.Errorf("%s: document %q, %v", name, d.Raw, err)
		}
		if n := f.counter("banyan_coordinator_pointer_moves_total"); n != 1 {
			t.Errorf("%s: %d moves counted", name, n)
		}
	}
}

// Every writer reads the epoch and moves to the next one. Updates run one after another, so no
// writer gets a conflict and every epoch is taken once.
func TestConcurrentUpdatesDoNotConflict(t *testing.T) {
	f := newFixture(t)
	const writers, rounds = 8, 5
	var group sync.WaitGroup
	for n := range writers {
		group.Go(func() {
			for range rounds {
				err := f.Update(func(w *ledger.Writer) error {
					now, err := f.PointersOf(t.Context(), "a", slices.Values([]string{"eu"}))
					if err != nil {
						return err
					}
					_, err = w.Commit(t.Context(), ledger.Act{By: fmt.Sprint("writer ", n)}, ledger.Changes{Moves: []record.Pointer{move(t, "eu", now["eu"].Epoch+1, 1)}})
					return err
				})
				if err != nil {
					t.Error(err)
				}
				if err := f.ReplaceDocument(t.Context(), ledger.Act{By: "tester"}, "hold", "x", []byte("y")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if p, err := f.Pointer(t.Context(), "a", "eu"); err != nil || p.Pointer.Epoch != writers*rounds {
		t.Errorf("epoch %d, %v; want %d", p.Pointer.Epoch, err, writers*rounds)
	}
	if d, err := f.Document(t.Context(), "hold", "x"); err != nil || d.Seq != writers*rounds {
		t.Errorf("sequence %d, %v; want %d", d.Seq, err, writers*rounds)
	}
}

// Two processes share a store: each has a ledger and a lock of its own. The store decides.
func TestOfTwoLedgersOverOneStoreOneWins(t *testing.T) {
	f := newFixture(t)
	other := mustNew(t, ledger.Config{
		Store:   f.store,
		Keys:    map[string]record.Key{"eu": record.KeyFromSeed([32]byte{1})},
		Metrics: metrics.NewSet(),
		Log:     slog.New(slog.DiscardHandler),
	})
	err := f.Update(func(w *ledger.Writer) error {
		err := other.Update(func(w *ledger.Writer) error {
			_, err := w.Commit(t.Context(), ledger.Act{By: "the other"}, ledger.Changes{Moves: []record.Pointer{move(t, "eu", 1, 1)}})
			return err
		})
		if err != nil {
			t.Error(err)
		}
		_, err = w.Commit(t.Context(), ledger.Act{By: "alice"}, ledger.Changes{Moves: []record.Pointer{move(t, "eu", 1, 2)}})
		return err
	})
	var conflict *versionstore.ConflictError
	if !errors.As(err, &conflict) || conflict.By != "the other" {
		t.Errorf("got %v, want a conflict with the other ledger", err)
	}
}

// failing is a store whose disk is full.
type failing struct{ versionstore.Store }

var errDiskFull = errors.New("disk full")

func (failing) Commit(context.Context, versionstore.Transaction) (uint64, error) {
	return 0, errDiskFull
}

func TestAFailedCommitFreesTheLock(t *testing.T) {
	good := newFixture(t)
	l := mustNew(t, ledger.Config{
		Store:   failing{good.store},
		Keys:    map[string]record.Key{"eu": record.KeyFromSeed([32]byte{1})},
		Metrics: metrics.NewSet(),
		Log:     slog.New(slog.DiscardHandler),
	})
	for range 2 {
		if err := l.ReplaceDocument(t.Context(), ledger.Act{By: "tester"}, "hold", "x", []byte("y")); !errors.Is(err, errDiskFull) {
			t.Errorf("got %v", err)
		}
	}
}

func TestAWriterEndsWithItsUpdate(t *testing.T) {
	f := newFixture(t)
	var kept *ledger.Writer
	if err := f.Update(func(w *ledger.Writer) error { kept = w; return nil }); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a commit after the update, without the lock, did not panic")
		}
	}()
	kept.Commit(t.Context(), ledger.Act{By: "mallory"}, ledger.Changes{})
}

func TestDocumentsAreReplacedAndRemoved(t *testing.T) {
	f := newFixture(t)
	if err := f.RemoveDocument(t.Context(), ledger.Act{By: "alice"}, "plan", "none"); !errors.Is(err, versionstore.ErrNotFound) {
		t.Errorf("removing a document that does not exist: %v", err)
	}
	for _, text := range []string{"one", "two"} {
		if err := f.ReplaceDocument(t.Context(), ledger.Act{By: "alice"}, "plan", "p", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if d, err := f.Document(t.Context(), "plan", "p"); err != nil || string(d.Raw) != "two" || d.By != "alice" {
		t.Errorf("%+v, %v", d, err)
	}
	if err := f.RemoveDocument(t.Context(), ledger.Act{By: "alice"}, "plan", "p"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Document(t.Context(), "plan", "p"); !errors.Is(err, versionstore.ErrNotFound) {
		t.Errorf("removed document: %v", err)
	}
}

func TestKeysSignHeadsOfTheirRegion(t *testing.T) {
	f := newFixture(t)
	if got := f.Regions(); !slices.Equal(got, []string{"eu", "us"}) || !f.HasKey("eu") || f.HasKey("ap") {
		t.Errorf("regions %v", got)
	}
	if _, _, err := f.SignHead(record.Head{Region: "eu"}); !errors.Is(err, ledger.ErrNoHeads) {
		t.Errorf("a head without a number: %v", err)
	}
	if err := f.ReserveHeads(t.Context()); err != nil {
		t.Fatal(err)
	}
	head, raw, err := f.SignHead(record.Head{Region: "eu", Revision: 3, TimeMicros: 1})
	if err != nil || len(raw) == 0 || head.Term != 1 {
		t.Errorf("head of eu: %+v, %v", head, err)
	}
	if _, _, err := f.SignHead(record.Head{Region: "ap", Revision: 3, TimeMicros: 1}); !errors.Is(err, ledger.ErrNoKey) || !strings.Contains(err.Error(), "ap") {
		t.Errorf("head of a region without a key: %v", err)
	}
	pointers, err := f.PointersOf(t.Context(), "a", slices.Values([]string{"eu"}))
	if err != nil || !maps.Equal(map[string]uint64{"eu": pointers["eu"].Epoch}, map[string]uint64{"eu": 0}) {
		t.Errorf("a region without a pointer: %v, %v", pointers, err)
	}
}

// The numbers of heads grow over restarts, however many heads were signed before.
func TestHeadsAreNumberedOverRestarts(t *testing.T) {
	f := newFixture(t)
	var last record.Position
	for range 3 {
		l := newFixtureAgain(t, f.store)
		for range 2 {
			if err := l.ReserveHeads(t.Context()); err != nil {
				t.Fatal(err)
			}
			head, _, err := l.SignHead(record.Head{Region: "eu", Revision: 3, TimeMicros: 1})
			if err != nil || head.Position() <= last {
				t.Fatalf("head %d after %d: %v", head.Position(), last, err)
			}
			last = head.Position()
		}
	}
	// A number that can't be read does not begin anew.
	if err := f.ReplaceDocument(t.Context(), ledger.Act{By: "disk"}, "heads", "heads", []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	l := newFixtureAgain(t, f.store)
	if err := l.ReserveHeads(t.Context()); err != nil {
		t.Fatal(err)
	}
	if head, _, err := l.SignHead(record.Head{Region: "eu"}); err != nil || head.Position() <= last {
		t.Errorf("head %d after %d: %v", head.Position(), last, err)
	}
}

// The activation log is stored with the move, by config and region.
func TestTruthACommitLogsWhatRan(t *testing.T) {
	f := newFixture(t)
	if _, err := f.commit([]record.Pointer{move(t, "eu", 1, 1), move(t, "us", 1, 1)}); err != nil {
		t.Fatal(err)
	}
	err := f.Update(func(w *ledger.Writer) error {
		_, err := w.Commit(t.Context(), ledger.Act{By: "bob", Why: "feature"}, ledger.Changes{Moves: []record.Pointer{move(t, "eu", 2, 2)}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.commit([]record.Pointer{move(t, "eu", 2, 1)}); err == nil {
		t.Fatal("an epoch was taken twice")
	}
	eu, err := f.Activations(t.Context(), "a", "eu")
	if err != nil || len(eu.Entries) != 2 {
		t.Fatalf("eu: %+v, %v", eu, err)
	}
	one := eu.Entries[0]
	two := eu.Entries[1]
	if one.Version != 1 || one.Next != 2 || one.Outcome != activation.Replaced || one.By != "alice" || one.Until.IsZero() {
		t.Errorf("the version before: %+v", one)
	}
	if two.Version != 2 || two.Epoch != 2 || two.Outcome != activation.Running || two.By != "bob" || two.Why != "feature" {
		t.Errorf("the version after: %+v", two)
	}
	if us, err := f.Activations(t.Context(), "a", "us"); err != nil || len(us.Entries) != 1 || us.Entries[0].Version != 1 {
		t.Errorf("us: %+v, %v", us, err)
	}
	if none, err := f.Activations(t.Context(), "a", "ap"); err != nil || len(none.Entries) != 0 {
		t.Errorf("a region that ran nothing: %+v, %v", none, err)
	}
}

// A damaged log stops no pointer.
func TestTruthADamagedActivationLogIsBegunAnew(t *testing.T) {
	f := newFixture(t)
	if _, err := f.commit([]record.Pointer{move(t, "eu", 1, 1)}); err != nil {
		t.Fatal(err)
	}
	if err := f.ReplaceDocument(t.Context(), ledger.Act{By: "mallory"}, "activations", "a eu", []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Activations(t.Context(), "a", "eu"); !errors.Is(err, record.ErrMalformed) {
		t.Errorf("a damaged log: %v", err)
	}
	if _, err := f.commit([]record.Pointer{move(t, "eu", 2, 2)}); err != nil {
		t.Fatal(err)
	}
	log, err := f.Activations(t.Context(), "a", "eu")
	if to, _, ok := log.Before(); err != nil || !ok || to.Version != 1 {
		t.Errorf("after the next move: %+v, %v", log, err)
	}
}

// Every act keeps who, when and why, in the transaction that does it.
func TestTruthEveryActIsInTheJournal(t *testing.T) {
	f := newFixture(t)
	act := ledger.Act{By: "bob", What: "rolled back to version 1", Config: "a", Why: "checkout is broken"}
	commit := func(l *ledger.Ledger, act ledger.Act, epoch uint64) error {
		return l.Update(func(w *ledger.Writer) error {
			_, err := w.Commit(t.Context(), act, ledger.Changes{Moves: []record.Pointer{move(t, "eu", epoch, 1)}})
			return err
		})
	}
	if err := commit(f.Ledger, act, 1); err != nil {
		t.Fatal(err)
	}
	if err := commit(f.Ledger, act, 1); err == nil {
		t.Fatal("an epoch was taken twice")
	}
	if err := commit(f.Ledger, ledger.Act{By: "bob"}, 2); err != nil {
		t.Fatal(err)
	}
	all, err := f.Journal(t.Context(), ledger.JournalQuery{})
	if err != nil || len(all) != 3 {
		t.Fatalf("%d entries, %v: two versions and one move have a description", len(all), err)
	}
	newest := all[0]
	if newest.Number != 3 || newest.By != "bob" || newest.What != act.What || newest.Why != act.Why || newest.At.IsZero() {
		t.Errorf("newest entry: %+v", newest)
	}
	for name, c := range map[string]struct {
		query ledger.JournalQuery
		want  int
	}{
		"by person":        {ledger.JournalQuery{By: "dev"}, 2},
		"by prefix":        {ledger.JournalQuery{Prefix: "a"}, 3},
		"by other prefix":  {ledger.JournalQuery{Prefix: "b"}, 0},
		"since the future": {ledger.JournalQuery{Since: time.Now().Add(time.Hour)}, 0},
		"limited":          {ledger.JournalQuery{Limit: 1}, 1},
	} {
		if got, err := f.Journal(t.Context(), c.query); err != nil || len(got) != c.want {
			t.Errorf("%s: %d entries, %v; want %d", name, len(got), err, c.want)
		}
	}
	// Another ledger over the store goes on counting, and this one after it.
	other := newFixtureAgain(t, f.store)
	for i, l := range []*ledger.Ledger{other, f.Ledger, other} {
		if err := commit(l, act, uint64(3+i)); err != nil {
			t.Fatal(err)
		}
	}
	all, err = f.Journal(t.Context(), ledger.JournalQuery{Limit: 1})
	if err != nil || all[0].Number != 6 {
		t.Errorf("newest entry of three ledgers: %+v, %v", all, err)
	}
}

func newFixtureAgain(t *testing.T, store versionstore.Store) *ledger.Ledger {
	t.Helper()
	return mustNew(t, ledger.Config{
		Store:   store,
		Keys:    map[string]record.Key{"eu": record.KeyFromSeed([32]byte{1})},
		Metrics: metrics.NewSet(),
		Log:     slog.New(slog.DiscardHandler),
	})
}

// The journal is bounded: the oldest entry goes first.
func TestTheJournalIsBounded(t *testing.T) {
	const limit = 10_000
	f := newFixture(t)
	name := func(n int) string { return fmt.Sprintf("%020d", n) }
	if err := f.ReplaceDocument(t.Context(), ledger.Act{By: "x"}, "journal", name(limit), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	l := newFixtureAgain(t, f.store)
	if err := l.ReplaceDocument(t.Context(), ledger.Act{By: "x", What: "plan stored"}, "plan", "p", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Document(t.Context(), "journal", name(limit+1)); err != nil {
		t.Errorf("the newest entry: %v", err)
	}
	if _, err := f.Document(t.Context(), "journal", name(1)); !errors.Is(err, versionstore.ErrNotFound) {
		t.Errorf("the oldest entry: %v", err)
	}
}

// A new term has one entry in the journal, however many pointers it signs anew.
func TestTruthANewTermHasOneEntryInTheJournal(t *testing.T) {
	f := newFixture(t)
	begin := func(want string, entries int) {
		t.Helper()
		if _, err := f.BeginTerm(t.Context(), ledger.Act{By: "alice", Why: "the disk died", What: "as stored"}, 0); err != nil {
			t.Fatal(err)
		}
		all, err := f.Journal(t.Context(), ledger.JournalQuery{By: "alice"})
		if err != nil || len(all) != entries || all[0].What != want || all[0].Why != "the disk died" {
			t.Errorf("journal %+v, %v; want %d entries, the newest %q", all, err, entries, want)
		}
	}
	begin("term 2 begins: as stored", 1) // the store has no pointer
	var moves []record.Pointer
	for n := range 150 {
		m, raw, _ := storetest.NewSigner().Manifest(t, fmt.Sprint("c", n), 1)
		err := f.Update(func(w *ledger.Writer) error {
			p := record.Pointer{Config: m.Config, Region: "eu", Epoch: 1, Baseline: m.Ref(), Phase: record.PhaseActive}
			moves = append(moves, p)
			_, err := w.Commit(t.Context(), ledger.Act{By: "bob"}, ledger.Changes{
				Versions: []versionstore.SignedManifest{{Manifest: m, Raw: raw, By: "tester"}},
				Moves:    []record.Pointer{p},
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	begin("term 3 begins: as stored", 2)
	for _, p := range moves {
		held, err := f.Pointer(t.Context(), p.Config, "eu")
		if err != nil || held.Pointer.Term != 3 || held.Pointer.Epoch != 2 {
			t.Fatalf("%s: %s, %v", p.Config, held.Pointer.Position(), err)
		}
	}
	if err := f.Reissue(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := f.Journal(t.Context(), ledger.JournalQuery{By: "leader"})
	if err != nil || len(all) != 0 {
		t.Errorf("a start with nothing to issue anew: %+v, %v", all, err)
	}
}

// cutStore fails the commits that move pointers in a term after the first, as a crash would.
type cutStore struct {
	versionstore.Store
	cut bool
}

func (s *cutStore) Commit(ctx context.Context, t versionstore.Transaction) (uint64, error) {
	if s.cut && t.Term > 1 && len(t.Pointers) > 0 {
		return 0, errors.New("cut short")
	}
	return s.Store.Commit(ctx, t)
}

// A term that begins because another process leads issues nothing anew: no history was lost. A term that
// begins because a history goes on does, also after a crash, and also under the next leader.
func TestTruthOnlyANewHistoryIssuesPointersAnew(t *testing.T) {
	f := newFixture(t)
	if _, err := f.commit([]record.Pointer{move(t, "eu", 1, 1)}); err != nil {
		t.Fatal(err)
	}
	position := func(l *ledger.Ledger) record.Position {
		t.Helper()
		p, err := l.Pointer(t.Context(), "a", "eu")
		if err != nil {
			t.Fatal(err)
		}
		return p.Pointer.Position()
	}
	lead := func(store versionstore.Store) *ledger.Ledger {
		t.Helper()
		if _, err := store.RaiseTerm(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		l := newFixtureAgain(t, store)
		if err := l.Reissue(t.Context()); err != nil {
			t.Fatal(err)
		}
		return l
	}
	if got := position(lead(f.store)); got != record.At(1, 1) {
		t.Errorf("under the next leader the pointer is at %s, want %s", got, record.At(1, 1))
	}
	cut := &cutStore{Store: f.store, cut: true}
	l := newFixtureAgain(t, cut)
	if _, err := l.BeginTerm(t.Context(), ledger.Act{By: "bob"}, 0); err == nil {
		t.Fatal("the term began whole")
	}
	cut.cut = false
	l = lead(cut)
	if got := position(l); got != record.At(4, 2) {
		t.Errorf("after the crash the pointer is at %s, want %s", got, record.At(4, 2))
	}
	if err := l.Reissue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := position(l); got != record.At(4, 2) {
		t.Errorf("the pointer was issued twice: %s", got)
	}
}
