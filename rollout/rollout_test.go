package rollout

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"banyan/mesh/wire"
	"banyan/record"
)

const threeWaves = `
regions: [[eu, us], [ap]]
waves: [{share: 10%, bake: 30s}, {share: 50%, bake: 10s}, {share: 100%, bake: 10s}]
gates: {minSuccess: 90%}
`

// ref names a version whose content is made from n.
func ref(n uint64) record.Ref {
	if n == 0 {
		return record.Ref{}
	}
	return record.Ref{Version: n, Digest: record.Digest{byte(n)}}
}

// controller runs a rollout against a store, and dies at a commit.
type controller struct {
	t       testing.TB
	fleet   map[string]*region
	stored  []byte   // the committed state, as JSON
	moves   []string // the committed moves
	commits int
	dieAt   int                      // the commit at which the controller dies, from 1; -1 for none
	before  bool                     // the controller dies before that commit, not after it
	baked   map[string]time.Duration // time in the bake of each group and wave
}

func newController(t testing.TB, plan string, regions ...string) *controller {
	c := &controller{t: t, fleet: map[string]*region{}, dieAt: -1, baked: map[string]time.Duration{}}
	pointers := map[string]record.Pointer{}
	for _, name := range regions {
		c.fleet[name] = &region{agents: 100, pointer: record.Pointer{Baseline: ref(1), Epoch: 1, Phase: record.PhaseActive}}
		pointers[name] = c.fleet[name].pointer
	}
	p, err := ParsePlan([]byte(plan))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(1, "a", ref(2), p, pointers, nil, "alice", "", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	c.stored, _ = json.Marshal(s)
	return c
}

// run drives the rollout until it is over, or until the controller dies; what is in
// memory only is lost then.
func (c *controller) run(now *time.Duration) (died bool) {
	var s State
	if err := json.Unmarshal(c.stored, &s); err != nil {
		c.t.Fatal(err)
	}
	d := NewDriver(s, *now-time.Second)
	for step := 0; !d.Over(); step++ {
		if step > 10_000 {
			c.t.Fatalf("the rollout does not end: %s", s.Title())
		}
		v := c.view()
		v.Now = time.Unix(0, 0).Add(*now)
		before := d.State()
		next, moves, changed := d.Step(*now, v)
		*now += time.Second
		if before.Part == Baking && next.Part == Baking {
			c.baked[fmt.Sprint(before.Group, before.Wave)] += time.Second
		}
		if changed && c.commit(d, next, moves) {
			return true
		}
	}
	return false
}

// commit writes a step, and reports whether the controller died before or after it.
func (c *controller) commit(d *Driver, next State, moves []Move) (died bool) {
	c.commits++
	if c.commits == c.dieAt && c.before {
		return true
	}
	for _, p := range moves {
		r := c.fleet[p.Region]
		if p.Epoch != r.pointer.Epoch+1 {
			c.t.Fatalf("a move of %s to epoch %d, but the pointer is at %d: a step was repeated or left out", p.Region, p.Epoch, r.pointer.Epoch)
		}
		r.pointer = p
		c.moves = append(c.moves, p.String())
	}
	c.stored, _ = json.Marshal(next)
	d.Committed()
	return c.commits == c.dieAt
}

// A controller may die before or after any commit. The next controller ends the rollout by
// the same moves, and no bake is shorter.
func TestAControllerMayDieAtEveryStep(t *testing.T) {
	for _, failing := range []int{0, 30} {
		setUp := func() *controller {
			c := newController(t, threeWaves, "eu", "us", "ap")
			c.fleet["ap"].failing = failing // agents of the second group
			return c
		}
		whole, now := setUp(), time.Duration(0)
		if whole.run(&now) {
			t.Fatal("died")
		}
		for at := 1; at <= whole.commits; at++ {
			for _, before := range []bool{true, false} {
				c, now := setUp(), time.Duration(0)
				c.dieAt, c.before = at, before
				for lives := 0; c.run(&now); lives++ {
					c.dieAt = -1
				}
				if !reflect.DeepEqual(c.moves, whole.moves) {
					t.Errorf("died at commit %d (before it: %t): moves\n%q, want\n%q", at, before, c.moves, whole.moves)
				}
				for wave, d := range whole.baked {
					if c.baked[wave] < d {
						t.Errorf("died at commit %d (before it: %t): wave %s baked for %s, want %s", at, before, wave, c.baked[wave], d)
					}
				}
			}
		}
		t.Logf("%d commits, %d moves", whole.commits, len(whole.moves))
	}
}

// A clock that jumped or a machine that slept makes a step say that a long time has passed.
// The step counts at most maxStep of that time.
func TestABakeIsNotCutShortByAJump(t *testing.T) {
	c, now := newController(t, threeWaves, "eu", "us", "ap"), time.Duration(0)
	c.dieAt = 3
	c.run(&now)
	var s State
	if err := json.Unmarshal(c.stored, &s); err != nil {
		t.Fatal(err)
	}
	for s.Part != Baking {
		s, _, _ = Decide(s, c.view(), 0)
	}
	s, moves, _ := Decide(s, c.view(), 48*time.Hour)
	if len(moves) > 0 || s.Spent > maxStep {
		t.Errorf("after a jump of two days: %s spent, moves %v", s.Spent, moves)
	}
}

func (c *controller) view() View {
	v := View{Regions: map[string]Region{}}
	for name, r := range c.fleet {
		v.Regions[name] = r.seen()
	}
	return v
}

// Agents fail or fall silent and people make requests at random times. Epochs grow by one,
// no candidate follows the decision to take the version back, and a version that was taken
// back is in no pointer.
func TestHistoriesOfRollouts(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c := newController(t, threeWaves, "eu", "us", "ap")
		var s State
		if err := json.Unmarshal(c.stored, &s); err != nil {
			r.Fatal(err)
		}
		take := func(next State, moves []Move) {
			for _, p := range moves {
				held := c.fleet[p.Region]
				if p.Epoch != held.pointer.Epoch+1 {
					r.Fatalf("a move of %s to epoch %d, which is at %d", p.Region, p.Epoch, held.pointer.Epoch)
				}
				if !s.Decided.IsZero() && !p.Candidate.IsZero() {
					r.Fatalf("a candidate after it was decided to take the version back")
				}
				held.pointer = p
			}
			s = next
		}
		for range rapid.IntRange(1, 200).Draw(r, "steps") {
			name := rapid.SampledFrom([]string{"eu", "us", "ap"}).Draw(r, "region")
			switch rapid.IntRange(0, 12).Draw(r, "event") {
			case 0:
				c.fleet[name].failing = rapid.IntRange(0, 30).Draw(r, "failing")
			case 1:
				c.fleet[name].silent = rapid.IntRange(0, 30).Draw(r, "silent")
			case 2:
				c.fleet[name].unknown = !c.fleet[name].unknown
			case 3:
				what := rapid.SampledFrom([]string{Pause, Resume, Promote, Abort, Leave}).Draw(r, "request")
				if next, moves, err := Apply(s, Request{What: what, By: "bob", Regions: []string{name}}, c.view()); err == nil {
					take(next, moves)
				}
			default:
				v := c.view()
				v.Now = time.Unix(1, 0)
				next, moves, _ := Decide(s, v, time.Duration(rapid.IntRange(0, 20).Draw(r, "seconds"))*time.Second)
				take(next, moves)
			}
			if len(s.Log) > maxEntries {
				r.Fatalf("%d lines of history", len(s.Log))
			}
		}
		if s.Status == RolledBack || s.Status == Aborted {
			for name, held := range c.fleet {
				if p := held.pointer; !s.Regions[name].Left && s.Regions[name].Began > 0 && (p.Baseline != ref(1) || !p.Candidate.IsZero()) {
					r.Fatalf("%s: %s after the rollout was %s", name, p, s.Status)
				}
			}
		}
	})
}

// indices returns the indices from a to b-1 as in a census.
func indices(a, b uint64) []byte {
	var c wire.Census
	set := roaring.New()
	set.AddRange(a, b)
	if err := c.SetPresent(set); err != nil {
		panic(err)
	}
	return c.Present
}

func TestTheTrackerCountsWithoutTheQuarantined(t *testing.T) {
	tracker := NewTracker()
	p := record.Pointer{Config: "a", Region: "eu", Epoch: 5, Baseline: ref(1), Candidate: ref(2), Phase: record.PhaseActive}
	tracker.Moved(p)
	if r := tracker.Region(p, 5); r.Known {
		t.Error("a region without a census is known")
	}
	// Agent 3 failed config a before the rollout began. Agent 4 failed the candidate. Agent 9
	// failed another config, and counts.
	quarantined := []wire.Quarantined{{Index: 3, Name: "c", Config: "a", Position: 4}, {Index: 4, Name: "d", Config: "a", Position: 5}, {Index: 9, Name: "e", Config: "b", Position: 70}}
	tracker.Counted("one", "eu", &wire.Census{Agents: 10, Present: indices(0, 10), Labels: map[string]uint32{"zone=a": 3}, Quarantined: quarantined,
		Waves: []wire.WaveSize{{Config: "a", Position: 5, Agents: 8, InWave: 6}}}, time.Now())
	tracker.Counted("two", "eu", &wire.Census{Agents: 5, Labels: map[string]uint32{"zone=a": 2}}, time.Now())
	if r := tracker.Region(p, 5); r.Known {
		t.Error("a region that only one of two coordinators has counted is known")
	}
	tracker.Counted("two", "eu", &wire.Census{Agents: 5, Present: indices(20, 25), Waves: []wire.WaveSize{{Config: "a", Position: 5, Agents: 5, InWave: 1}}}, time.Now())
	if n := tracker.Labels()["zone=a"]; n != 3 {
		t.Errorf("%d agents of zone a, want 3: only the newest census of a coordinator counts", n)
	}
	e := wire.NewAckEntry(record.PointerKey{Config: "a", Region: "eu"}, p.Position(), p.Digest())
	e.Applied.AddMany([]uint32{1, 2, 9, 15})
	e.Running.AddMany([]uint32{1, 9, 15}) // 15 has left since
	e.Failed.AddMany([]uint32{3, 4})
	e.Failures = []wire.Failure{{Agent: 3, Name: "c", Reason: "disk"}, {Agent: 4, Name: "d", Reason: "check"}}
	e.Latency.Add(1000)
	e.Latency.Add(5000)
	tracker.Acked(e)
	got := tracker.Region(p, 5)
	want := Region{Epoch: 5, Content: p.Content(), Known: true, Placed: 15, Agents: 13, InWave: 7, Applied: 3, Running: 2, Failed: 1, Skew: got.Skew, Reasons: []string{"d: check"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if d := got.Skew - 4*time.Millisecond; d.Abs() > time.Millisecond/2 {
		t.Errorf("skew %s", got.Skew)
	}
	// Agents that joined after the census are in Sizes, and not in Region before the next
	// census.
	tracker.Placed("two", "eu", 7)
	if r := tracker.Region(p, 5); r.Placed != 15 || tracker.Sizes()["eu"].Agents != 17 {
		t.Errorf("%d placed, %d agents", r.Placed, tracker.Sizes()["eu"].Agents)
	}
	tracker.Expire(time.Now().Add(time.Minute))
	if r := tracker.Region(p, 5); r.Known || tracker.Covers("eu") {
		t.Error("a coordinator that has sent no census for long still counts")
	}
	old := wire.NewAckEntry(record.PointerKey{Config: "a", Region: "eu"}, 4, record.Digest{4})
	old.Applied.Add(100)
	tracker.Acked(old)
	if r := tracker.Region(p, 5); r.Applied != 0 {
		t.Errorf("%d agents count as applied without a census: what they acknowledged is old news", r.Applied)
	}
}

func TestPlansAreCheckedAgainstTheFleet(t *testing.T) {
	p, err := ParsePlan([]byte("regions: [[eu]]\nwaves: [{labels: {canary: true}}, {share: 100%}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		regions []string
		labels  map[string]int
		ok      bool
	}{
		{[]string{"eu"}, map[string]int{"canary=true": 1}, true},
		{[]string{"us"}, map[string]int{"canary=true": 1}, false},
		{[]string{"eu"}, map[string]int{"canary=false": 1}, false},
	} {
		if err := p.CheckFleet(c.regions, c.labels); (err == nil) != c.ok {
			t.Errorf("regions %v, labels %v: %v", c.regions, c.labels, err)
		}
	}
}

func FuzzParsePlan(f *testing.F) {
	f.Add([]byte(threeWaves))
	f.Add([]byte("waves: [{labels: {canary: true}, bake: 5m}, {share: 100%}]\nonFailure: pause\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := ParsePlan(raw)
		if err != nil {
			return
		}
		regions := map[string]record.Pointer{"eu": {}}
		for _, group := range p.Regions {
			for _, region := range group {
				regions[region] = record.Pointer{}
			}
		}
		s, err := Start(1, "a", ref(1), p, regions, nil, "alice", "", time.Time{})
		if err != nil {
			t.Fatalf("a plan that was taken can't be started: %v", err)
		}
		if _, err := json.Marshal(s); err != nil {
			t.Fatal(err)
		}
	})
}
