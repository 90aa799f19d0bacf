package coordinator

import (
	"strings"
	"testing"

	"banyan/coordinator/api"
	"banyan/rollout"
)

func TestPlansAreStoredAndRemoved(t *testing.T) {
	f := newFixture(t, nil)
	if err := f.alice.PutPlan(f.ctx, "careful", longPlan); err != nil {
		t.Fatal(err)
	}
	if err := f.alice.PutPlan(f.ctx, "careful", longPlan+"onFailure: pause\n"); err != nil {
		t.Fatal(err)
	}
	all, err := f.bob.Plans(f.ctx)
	if err != nil || len(all.Plans) != 1 || all.Plans[0].By != "alice" || !strings.HasSuffix(all.Plans[0].Text, "pause\n") {
		t.Errorf("plans: %+v, %v", all, err)
	}
	if err := f.alice.PutPlan(f.ctx, "careful", ""); err != nil {
		t.Fatal(err)
	}
	f.refuses("a plan that was removed", f.alice.PutPlan(f.ctx, "careful", ""), api.CodeNotFound)
}

func TestAPlanIsCheckedBeforeItIsStored(t *testing.T) {
	f := newFixture(t, nil)
	f.refuses("a name with capitals", f.alice.PutPlan(f.ctx, "Careful", longPlan), api.CodeInvalid)
	f.refuses("removing a name with capitals", f.alice.PutPlan(f.ctx, "Careful", ""), api.CodeInvalid)
	f.refuses("a plan that is none", f.alice.PutPlan(f.ctx, "p", "waves: 7"), api.CodeRejected)
	f.refuses("a region of no fleet", f.alice.PutPlan(f.ctx, "p", "regions: [[mars]]"), api.CodeRejected)
	f.refuses("a large plan", f.alice.PutPlan(f.ctx, "p", strings.Repeat("#", rollout.MaxPlan+1)), api.CodeTooLarge)
	_, err := f.alice.LintPlan(f.ctx, "waves: 7")
	f.refuses("lint of a bad plan", err, api.CodeRejected)
	if _, err := f.alice.LintPlan(f.ctx, longPlan); err != nil {
		t.Error(err)
	}
	if all, err := f.alice.Plans(f.ctx); err != nil || len(all.Plans) != 0 {
		t.Errorf("plans: %+v, %v", all, err)
	}
}

func TestTheDefaultOfTheLongestPrefixIsTaken(t *testing.T) {
	f := newFixture(t, nil)
	for _, name := range []string{"all", "payments"} {
		if err := f.alice.PutPlan(f.ctx, name, longPlan); err != nil {
			t.Fatal(err)
		}
	}
	set := func(prefix, plan string) {
		t.Helper()
		if err := f.alice.SetDefaultPlan(f.ctx, api.PlanDefault{Prefix: prefix, Plan: plan}); err != nil {
			t.Fatal(err)
		}
	}
	set("*", "all")
	set("payments", "payments")
	for config, want := range map[string]string{"payments/limits": "payments", "edge": "all", "payments2": "all"} {
		if r := f.rollOut(config, f.publish(config, `{}`), ""); r.Plan.Name != want {
			t.Errorf("the plan of %s is %q, want %q", config, r.Plan.Name, want)
		}
	}
	named, err := f.alice.StartRollout(f.ctx, "edge", api.StartRollout{Version: f.publish("edge", `{"n": 2}`), PlanName: "payments"})
	if err != nil || named.Plan.Name != "payments" {
		t.Errorf("a plan that the request names: %q, %v", named.Plan.Name, err)
	}
	f.refuses("removing a default plan", f.alice.PutPlan(f.ctx, "all", ""), api.CodeRejected)
	f.refuses("a default that is not stored", f.alice.SetDefaultPlan(f.ctx, api.PlanDefault{Prefix: "x", Plan: "none"}), api.CodeNotFound)
	f.refuses("a prefix that is no name", f.alice.SetDefaultPlan(f.ctx, api.PlanDefault{Prefix: "X Y", Plan: "all"}), api.CodeInvalid)
	set("*", "")
	if all, err := f.alice.Plans(f.ctx); err != nil || len(all.Defaults) != 1 || all.Defaults["payments"] != "payments" {
		t.Errorf("defaults: %+v, %v", all.Defaults, err)
	}
	if err := f.alice.PutPlan(f.ctx, "all", ""); err != nil {
		t.Errorf("removing a plan that is a default no more: %v", err)
	}
}
