package coordinator

import (
	"strings"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/record"
	"banyan/rollout"
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
		{hold{Scope: "*"}, "'banyan freeze --lift'"},
		{hold{Scope: "*", Region: "eu"}, "'banyan freeze --lift --region eu'"},
		{hold{Scope: "a"}, "'banyan freeze --lift a'"},
		{hold{Scope: "a", Region: "eu"}, "'banyan freeze --lift a --region eu'"},
		{hold{Scope: "a", Lock: true}, "'banyan unlock a'"},
	} {
		if got := c.hold.hint(); !strings.Contains(got, c.want) {
			t.Errorf("%+v: the hint is %q, want %s in it", c.hold, got, c.want)
		}
	}
}
