package hostile

import (
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/simulator/world"
)

// broken runs a fleet, lets spoil damage the world or deceive the referee after the first
// update, and returns the violations that the referee finds.
func broken(t *testing.T, spoil func(w *world.World, r *referee)) []string {
	t.Helper()
	w, err := world.New(world.Config{Seed: 1, Agents: []int{12}, Fanout: 3, Heads: world.DefaultHeads})
	if err != nil {
		t.Fatal(err)
	}
	r := newReferee(w)
	w.Boot()
	w.BeginHeads()
	if err := w.Settle(5 * time.Minute); err != nil {
		t.Fatal(err)
	}
	const second = step.Time(time.Second)
	w.Publish("a", 1)
	w.Run(w.Now() + 2*second)
	spoil(w, r)
	w.Publish("a", 2)
	w.Run(w.Now() + 20*second)
	r.atRest()
	return r.violations
}

// effect returns an effect of the pointer of config a at host 5.
func effect(w *world.World, version uint64) world.Applied {
	a := w.Current("a", "dallas")
	return world.Applied{
		Host:     5,
		Config:   "a",
		Version:  version,
		Digest:   world.Key("a", version).Digest,
		Position: a.Pointer.Position(),
		Pointer:  a.Digest,
	}
}

func TestTheRefereeFindsWhatIsBroken(t *testing.T) {
	if v := broken(t, func(*world.World, *referee) {}); len(v) != 0 {
		t.Fatalf("nothing was broken: %v", v)
	}
	for name, c := range map[string]struct {
		spoil func(w *world.World, r *referee)
		want  string
	}{
		"a planner with another picture": {func(w *world.World, _ *referee) {
			p := w.Host(0).Node().Planner()
			p.AdoptRoot(w.Now(), wire.Member{Index: 5, Name: p.Name(5)})
		}, "the planner of"},
		"a host that stays down": {func(w *world.World, _ *referee) { w.Crash(5) }, "invariant 7"},
		"a disk that forgets its epoch": {func(w *world.World, _ *referee) {
			w.Crash(5)
			w.LoseDisk(5)
			w.Start(5)
			w.Run(w.Now().Add(20 * time.Second))
		}, "invariant 2"},
		"a version nobody committed": {func(_ *world.World, r *referee) {
			r.applied(world.Applied{Host: 5, Config: "a", Version: 9, Digest: world.Key("a", 9).Digest})
		}, "invariant 1"},
		"a version that the epoch does not name": {func(w *world.World, r *referee) {
			r.applied(effect(w, 9))
		}, "invariant 1"},
		"an epoch applied twice": {func(w *world.World, r *referee) {
			r.applied(effect(w, 1))
		}, "invariant 2"},
		"a version without its body": {func(w *world.World, r *referee) {
			w.Crash(5)
			w.LoseDisk(5)
			r.applied(effect(w, 1))
			w.Start(5)
		}, "invariant 3"},
		"an epoch without the epoch before": {func(w *world.World, r *referee) {
			a := *w.Current("a", "dallas")
			a.Pointer.Epoch = 9
			r.commits(0, &a)
		}, "invariant 4"},
		"an epoch won twice": {func(w *world.World, r *referee) { r.commits(0, w.Current("a", "dallas")) }, "invariant 4"},
		"a pointer in the store that was not committed": {func(w *world.World, r *referee) {
			w.Publish("b", 1)
			w.Run(w.Now().Add(2 * time.Second))
			delete(r.committed, w.Current("b", "dallas").Digest)
		}, "invariant 5"},
		"acknowledgements that do not come": {func(w *world.World, _ *referee) {
			w.Strike(world.Fault{Kind: world.FaultDisk, Target: "agent:dallas/4"}, w.Now(), 0, func(string) {})
		}, "acknowledg"},
	} {
		t.Run(name, func(t *testing.T) {
			v := broken(t, c.spoil)
			if !slices.ContainsFunc(v, func(s string) bool { return strings.Contains(s, c.want) }) {
				t.Errorf("want a violation of %s, got %v", c.want, v)
			}
		})
	}
}

// A healthy state breaks no invariant, and each damage to it exactly one.
func TestTheRefereeJudgesAnAgentAtRest(t *testing.T) {
	third := record.Pointer{Config: "a", Region: "dallas", Term: 1, Epoch: 3}
	second := record.Pointer{Config: "a", Region: "dallas", Term: 1, Epoch: 2}
	want := &target{
		pointers:   []*record.Pointer{&third},
		revision:   7,
		cacheLimit: 100,
		headAge:    13 * time.Second,
	}
	for name, c := range map[string]struct {
		damage func(*agentState)
		want   string
	}{
		"healthy":                 {func(*agentState) {}, ""},
		"a full cache":            {func(s *agentState) { s.cacheUsed = 100 }, ""},
		"a head of the right age": {func(s *agentState) { s.headAge = 13 * time.Second }, ""},
		"bodies of a subscriber":  {func(s *agentState) { s.bodies = 9 }, ""},
		"no parent":               {func(s *agentState) { s.attached = false }, "invariant 7"},
		"a circle of parents":     {func(s *agentState) { s.rooted = false }, "the tree"},
		"too many children":       {func(s *agentState) { s.children = wire.MaxChildren + 1 }, "invariant 8"},
		"an old epoch":            {func(s *agentState) { s.pointers = map[string]record.Digest{"a": second.Digest()} }, "invariant 7"},
		"a config that is missing": {func(s *agentState) {
			s.pointers = map[string]record.Digest{"b": third.Digest()}
		}, "invariant 7"},
		"an old revision": {func(s *agentState) { s.revision = 6 }, "invariant 7"},
		"an old head":     {func(s *agentState) { s.headAge = 14 * time.Second }, "invariant 6"},
		"a body that nobody subscribes to": {func(s *agentState) {
			s.relayOnly = true
			s.bodies = 1
		}, "subscriptions"},
		"a cache over its limit": {func(s *agentState) { s.cacheUsed = 101 }, "subscriptions"},
	} {
		w, err := world.New(world.Config{Agents: []int{1}})
		if err != nil {
			t.Fatal(err)
		}
		r := newReferee(w)
		s := agentState{
			name:     "dallas-0",
			attached: true,
			rooted:   true,
			pointers: map[string]record.Digest{"a": third.Digest()},
			revision: 7,
		}
		c.damage(&s)
		r.judge(s, want)
		switch {
		case c.want == "" && len(r.violations) > 0:
			t.Errorf("%s: got %v, want no violation", name, r.violations)
		case c.want != "" && (len(r.violations) != 1 || !strings.Contains(r.violations[0], c.want)):
			t.Errorf("%s: got %v, want one violation of %s", name, r.violations, c.want)
		}
	}
}

func TestTheRefereeKeepsABoundedNumberOfViolations(t *testing.T) {
	w, err := world.New(world.Config{Agents: []int{1}})
	if err != nil {
		t.Fatal(err)
	}
	r := newReferee(w)
	for range 3 * maxViolations {
		r.judge(agentState{name: "dallas-0"}, &target{})
	}
	if len(r.violations) != maxViolations {
		t.Errorf("the referee kept %d violations, want %d", len(r.violations), maxViolations)
	}
}
