package coordinator

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/internal/embeddb"
	"banyan/record"
	"banyan/rollout"
	"banyan/versionstore"
)

func TestAFreezeStopsWhatGoesForwardOnly(t *testing.T) {
	f := newFixture(t, nil)
	f.baking("payments/limits")
	put, err := f.alice.Hold(f.ctx, api.Hold{Scope: "payments", Reason: "black friday", Until: time.Now().Add(time.Hour)})
	if err != nil || put.By != "alice" || put.At.IsZero() {
		t.Fatalf("hold %+v, %v", put, err)
	}
	version := f.publish("payments/limits", `{"n": 3}`)
	_, err = f.bob.StartRollout(f.ctx, "payments/limits", api.StartRollout{Version: version})
	f.refuses("a rollout in a freeze", err, api.CodeRejected)
	if err == nil || !strings.Contains(err.Error(), "black friday") || !strings.Contains(err.Error(), "alice") {
		t.Errorf("the error does not say why: %v", err)
	}
	_, err = f.bob.Activate(f.ctx, "payments/limits", api.Activate{Version: version})
	f.refuses("a move by hand in a freeze", err, api.CodeRejected)
	_, err = f.bob.AskRollout(f.ctx, "payments/limits", rollout.Promote, api.RolloutRequest{})
	f.refuses("a promotion in a freeze", err, api.CodeRejected)
	f.reaches("payments/limits", "the freeze of the rollout", func(r api.Rollout) bool { return strings.HasPrefix(r.Why, "frozen") })
	f.rollOut("edge", f.publish("edge", `{}`), "")
	f.reaches("edge", "the end of a rollout outside the freeze", isDone)
	if _, err := f.bob.AskRollout(f.ctx, "payments/limits", rollout.Abort, api.RolloutRequest{}); err != nil {
		t.Errorf("taking a version back in a freeze: %v", err)
	}
	if all, err := f.alice.Holds(f.ctx); err != nil || len(all) != 1 || all[0].Scope != "payments" {
		t.Errorf("holds: %+v, %v", all, err)
	}
	if err := f.alice.Lift(f.ctx, put); err != nil {
		t.Fatal(err)
	}
	f.refuses("lifting a hold twice", f.alice.Lift(f.ctx, put), api.CodeNotFound)
	if all, err := f.alice.Holds(f.ctx); err != nil || len(all) != 0 {
		t.Errorf("holds: %+v, %v", all, err)
	}
}

func TestALockStopsEveryChangeByPeople(t *testing.T) {
	f := newFixture(t, nil)
	f.baking("a")
	lock, err := f.alice.Hold(f.ctx, api.Hold{Scope: "a", Lock: true, Reason: "incident"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.bob.AskRollout(f.ctx, "a", rollout.Abort, api.RolloutRequest{})
	f.refuses("an abort", err, api.CodeRejected)
	_, err = f.bob.Rollback(f.ctx, "a", api.Rollback{})
	f.refuses("a rollback", err, api.CodeRejected)
	_, err = f.bob.Rollback(f.ctx, "a", api.Rollback{To: 1})
	f.refuses("a rollback to a version", err, api.CodeRejected)
	_, err = f.bob.Publish(f.ctx, api.Draft{Config: "a", Body: []byte(`{}`), ContentType: "application/json"}, f.key)
	f.refuses("a new version", err, api.CodeRejected)
	f.publish("a/b", `{}`) // a lock is of one config
	if err := f.alice.Lift(f.ctx, lock); err != nil {
		t.Fatal(err)
	}
	if _, err := f.bob.Rollback(f.ctx, "a", api.Rollback{}); err != nil {
		t.Error(err)
	}
}

func TestAHoldIsChecked(t *testing.T) {
	f := newFixture(t, nil)
	for name, h := range map[string]api.Hold{
		"no reason":                 {Scope: "a"},
		"a long reason":             {Scope: "a", Reason: strings.Repeat("x", record.MaxMessage+1)},
		"a scope that is no name":   {Scope: "A B", Reason: "x"},
		"a lock of all configs":     {Scope: "*", Lock: true, Reason: "x"},
		"an end that has passed":    {Scope: "a", Reason: "x", Until: time.Now().Add(-time.Hour)},
		"a region of another fleet": {Scope: "a", Reason: "x", Region: "mars"},
	} {
		_, err := f.alice.Hold(f.ctx, h)
		f.refuses(name, err, api.CodeInvalid)
	}
}

func TestWhatAHoldCovers(t *testing.T) {
	for _, c := range []struct {
		hold   hold
		config string
		want   bool
	}{
		{hold{Scope: "*"}, "a", true},
		{hold{Scope: "a"}, "a", true},
		{hold{Scope: "a"}, "a/b", true},
		{hold{Scope: "a"}, "ab", false},
		{hold{Scope: "a", Lock: true}, "a", true},
		{hold{Scope: "a", Lock: true}, "a/b", false},
		{hold{Scope: "a", Region: "eu"}, "a", true},
		{hold{Scope: "a", Region: "us"}, "a", false},
	} {
		if got := c.hold.covers(c.config, []string{"eu"}); got != c.want {
			t.Errorf("%+v covers %s: %t", c.hold, c.config, got)
		}
	}
}

func TestAHoldNamesTheCommandThatEndsIt(t *testing.T) {
	for _, c := range []struct {
		hold hold
		want string
	}{
		{hold{Scope: "*"}, "'banyan freeze --lift --all'"},
		{hold{Scope: "*", Region: "eu"}, "'banyan freeze --lift --all --region eu'"},
		{hold{Scope: "a"}, "'banyan freeze --lift a'"},
		{hold{Scope: "a", Region: "eu"}, "'banyan freeze --lift a --region eu'"},
		{hold{Scope: "a", Lock: true}, "'banyan unlock a'"},
	} {
		if got := c.hold.hint(); !strings.Contains(got, c.want) {
			t.Errorf("%+v: the hint is %q, want %s in it", c.hold, got, c.want)
		}
	}
}

// storeHolds stores n holds of other configs, which end at until.
func (f *fixture) storeHolds(n int, until time.Time) {
	f.t.Helper()
	holds := f.server.holds.holds
	err := f.ledger.Update(func(w *ledger.Writer) error {
		var writes []versionstore.DocumentWrite
		for i := range n {
			h := hold{Scope: fmt.Sprintf("other/%d-%d", until.Unix(), i), Reason: "x", Until: until, By: "test"}
			raw, err := json.Marshal(h)
			if err != nil {
				return err
			}
			writes = append(writes, versionstore.DocumentWrite{Kind: kindHold, Name: h.name(), Raw: raw})
		}
		for batch := range slices.Chunk(writes, 100) {
			seq, _, err := holds.generation(f.ctx)
			if err != nil {
				return err
			}
			if err := holds.commit(f.ctx, w, ledger.Act{By: "test"}, seq, batch); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// A freeze beyond the limit is an error, and not acknowledged without force.
func TestTruthAFreezeThatIsAcknowledgedIsInForce(t *testing.T) {
	f := newFixture(t, nil)
	version := f.publish("a", `{}`)
	f.storeHolds(maxHolds-1, time.Time{})
	freeze := api.Hold{Scope: "a", Reason: "sale"}
	if _, err := f.alice.Hold(f.ctx, freeze); err != nil {
		t.Fatal(err)
	}
	_, err := f.alice.StartRollout(f.ctx, "a", api.StartRollout{Version: version})
	f.refuses("a rollout under the last freeze within the limit", err, api.CodeRejected)
	_, err = f.alice.Hold(f.ctx, api.Hold{Scope: "b", Reason: "sale"})
	f.refuses("a freeze beyond the limit", err, api.CodeRejected)
	if _, err := f.alice.Hold(f.ctx, freeze); err != nil {
		t.Errorf("a freeze that replaces another: %v", err)
	}
	all, err := f.alice.Holds(f.ctx)
	if err != nil || len(all) != maxHolds {
		t.Errorf("%d holds in force, %v", len(all), err)
	}
}

// Expired holds go: they are no reason to refuse a new one.
func TestTruthExpiredHoldsGo(t *testing.T) {
	f := newFixture(t, nil)
	version := f.publish("a", `{}`)
	f.storeHolds(maxHolds, time.Now().Add(-time.Minute))
	if _, err := f.alice.Hold(f.ctx, api.Hold{Scope: "a", Reason: "sale"}); err != nil {
		t.Fatal(err)
	}
	_, err := f.alice.StartRollout(f.ctx, "a", api.StartRollout{Version: version})
	f.refuses("a rollout in the freeze", err, api.CodeRejected)
	documents, err := versionstore.ListAll(f.ctx, f.ledger, kindHold, "")
	if err != nil || len(documents) > maxHolds+1-sweepBatch {
		t.Errorf("%d holds are stored, %v", len(documents), err)
	}
	holds := f.server.holds.holds
	holds.mu.Lock()
	holds.swept = time.Time{}
	holds.mu.Unlock()
	holds.sweep(f.ctx)
	documents, err = versionstore.ListAll(f.ctx, f.ledger, kindHold, "")
	if err != nil || len(documents) != 1 {
		t.Errorf("after the sweep %d holds are stored, %v", len(documents), err)
	}
}

// A freeze and a start race. Whichever is acknowledged first counts: a rollout that was started
// after the acknowledgement of the freeze does not exist.
func TestTruthAHoldIsCheckedInTheTransactionOfTheWrite(t *testing.T) {
	f := newFixture(t, nil)
	for round := range 10 {
		config := fmt.Sprintf("race/%d", round)
		version := f.publish(config, `{}`)
		var group sync.WaitGroup
		var frozen api.Hold
		var started api.Rollout
		var startErr error
		group.Go(func() {
			var err error
			frozen, err = f.alice.Hold(f.ctx, api.Hold{Scope: config, Reason: "sale"})
			if err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			started, startErr = f.bob.StartRollout(f.ctx, config, api.StartRollout{Version: version, Immediate: true})
		})
		group.Wait()
		entries, err := f.alice.Log(f.ctx, api.LogQuery{Prefix: config})
		if err != nil {
			t.Fatal(err)
		}
		var froze, start uint64 // numbers in the log
		for _, e := range entries {
			if e.What == "froze "+frozen.Scope {
				froze = e.Number
			}
			if strings.Contains(e.What, "started by bob") {
				start = e.Number
			}
		}
		if froze == 0 || start > froze || (start == 0) != (startErr != nil) {
			t.Errorf("rollout %d, %v: the freeze is entry %d, the start is entry %d", started.ID, startErr, froze, start)
		}
	}
	// A hold that another process puts between the check and the commit makes the commit fail.
	holds := f.server.holds.holds
	version := f.publish("a", `{}`)
	err := f.ledger.Update(func(w *ledger.Writer) error {
		held, err := holds.permit(f.ctx, "a", []string{"eu"}, false)
		if err != nil {
			return err
		}
		other, err := ledger.New(f.ctx, ledger.Config{Store: f.store, Metrics: newMetrics().set, Log: f.log})
		if err != nil {
			return err
		}
		ref, err := f.ledger.Ref(f.ctx, "a", version)
		if err != nil {
			return err
		}
		err = other.ReplaceDocument(f.ctx, ledger.Act{By: "other"}, kindGeneration, holdsGeneration, []byte("x"))
		if err != nil {
			return err
		}
		_, err = w.Commit(f.ctx, ledger.Act{By: "alice"}, ledger.Changes{
			Moves:  []record.Pointer{activeAt("a", "eu", 1, ref)},
			Guards: []versionstore.Guard{held},
		})
		return err
	})
	if !errors.As(err, new(*versionstore.ConflictError)) {
		t.Errorf("a commit over a hold of another process: %v", err)
	}
}

// A hold whose bytes are damaged stays in force.
func TestTruthADamagedHoldStaysInForce(t *testing.T) {
	f := newFixture(t, nil)
	version := f.publish("a", `{}`)
	put, err := f.alice.Hold(f.ctx, api.Hold{Scope: "a", Reason: "sale"})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.ledger.ReplaceDocument(f.ctx, ledger.Act{By: "x"}, kindHold, hold(put).name(), []byte("{")); err != nil {
		t.Fatal(err)
	}
	f.server.holds.holds.loaded = false
	_, err = f.alice.StartRollout(f.ctx, "a", api.StartRollout{Version: version})
	f.refuses("a rollout in a damaged freeze", err, api.CodeRejected)
	if err := f.alice.Lift(f.ctx, put); err != nil {
		t.Error(err)
	}
}

// Lifting what does not exist names what does.
func TestTruthTheHintOfALiftNamesWhatExists(t *testing.T) {
	f := newFixture(t, nil)
	lift := func(h api.Hold, message, hint string) {
		t.Helper()
		err := f.alice.Lift(f.ctx, h)
		var e *api.Error
		if !errors.As(err, &e) || e.Code != api.CodeNotFound || e.Message != message || !strings.Contains(e.Hint, hint) {
			t.Errorf("lift %+v: %#v; want %q with the hint %q", h, err, message, hint)
		}
	}
	lift(api.Hold{Scope: "edge/nginx"}, "edge/nginx is not frozen", "nothing is frozen")
	lift(api.Hold{Scope: "edge/nginx", Lock: true}, "edge/nginx is not locked", "nothing is locked")
	for _, h := range []api.Hold{{Scope: "*", Reason: "x"}, {Scope: "edge", Region: "eu", Reason: "x"}} {
		if _, err := f.alice.Hold(f.ctx, h); err != nil {
			t.Fatal(err)
		}
	}
	lift(api.Hold{Scope: "edge/nginx"}, "edge/nginx is not frozen",
		"'banyan freeze --lift --all', 'banyan freeze --lift edge --region eu'")
	lift(api.Hold{Scope: "edge/nginx", Lock: true}, "edge/nginx is not locked", "nothing is locked")
}

// The end of the rule of two persons needs two persons, and the setting is compared and
// swapped.
func TestTruthTheRuleOfTwoPersonsEndsByTwoPersons(t *testing.T) {
	f := newFixture(t, nil)
	on, err := f.alice.SetTwoPersons(f.ctx, api.SetTwoPersons{Prefix: "pay", On: true, Message: "audit"})
	if err != nil || len(on.Prefixes) != 1 || on.Prefixes[0].By != "alice" || on.Prefixes[0].Reason != "audit" {
		t.Fatalf("%+v, %v", on, err)
	}
	stale := on.Seq - 1
	_, err = f.bob.SetTwoPersons(f.ctx, api.SetTwoPersons{Prefix: "web", On: true, IfSeq: &stale})
	f.refuses("a setting that has changed", err, api.CodeConflict)
	_, err = f.bob.SetTwoPersons(f.ctx, api.SetTwoPersons{Prefix: "A B", On: true})
	f.refuses("a prefix that is no name", err, api.CodeInvalid)
	for range 2 {
		off, err := f.alice.SetTwoPersons(f.ctx, api.SetTwoPersons{Prefix: "pay"})
		if err != nil || len(off.Prefixes) != 1 || off.Prefixes[0].Ending != "alice" {
			t.Errorf("one person ended the rule: %+v, %v", off, err)
		}
	}
	off, err := f.bob.SetTwoPersons(f.ctx, api.SetTwoPersons{Prefix: "pay"})
	if err != nil || len(off.Prefixes) != 0 {
		t.Errorf("two persons did not end the rule: %+v, %v", off, err)
	}
}

// A rule that can't be read is in force, and can be set anew.
func TestTruthADamagedRuleOfTwoPersonsIsInForce(t *testing.T) {
	f := newFixture(t, nil)
	version := f.publish("a", `{}`)
	if err := f.ledger.ReplaceDocument(f.ctx, ledger.Act{By: "x"}, kindPolicy, twoPersonsName, []byte("{")); err != nil {
		t.Fatal(err)
	}
	if r := f.rollOut("a", version, ""); r.Status != rollout.Waiting {
		t.Errorf("a rollout under a damaged rule is %s", r.Status)
	}
	if _, err := f.alice.SetTwoPersons(f.ctx, api.SetTwoPersons{Prefix: "pay"}); err == nil {
		t.Error("a damaged rule was ended")
	}
	on, err := f.alice.SetTwoPersons(f.ctx, api.SetTwoPersons{Prefix: "pay", On: true})
	if err != nil || len(on.Prefixes) != 1 {
		t.Errorf("set anew: %+v, %v", on, err)
	}
}

// BenchmarkHolds measures what a rollout pays for holds at each tick: reading every hold, as
// before there was a generation, and comparing the generation.
func BenchmarkHolds(b *testing.B) {
	store, err := versionstore.OpenBadger(b.TempDir(), embeddb.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	set := newMetrics().set
	l, err := ledger.New(b.Context(), ledger.Config{Store: store, Metrics: set, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	s := &holds{ledger: l, log: slog.New(slog.DiscardHandler)}
	for i := range 999 {
		h := hold{Scope: fmt.Sprintf("team-%d/service", i), Reason: "black friday, see the calendar", By: "alice"}
		if err := s.put(b.Context(), h); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if all, err := s.load(b.Context()); err != nil || len(all) != 999 {
				b.Fatal(len(all), err)
			}
		}
	})
	b.Run("cached", func(b *testing.B) {
		for b.Loop() {
			if found, err := s.on(b.Context(), "edge/nginx", []string{"eu"}); err != nil || len(found) != 0 {
				b.Fatal(found, err)
			}
		}
	})
}
