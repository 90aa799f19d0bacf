package hostile

import (
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/mesh/step"
	"banyan/record"
	"banyan/simulator/world"
)

var hostileSeeds = flag.Int("hostile-seeds", 150, "how many hostile histories to run")

// broke are seeds that once broke an invariant, and by what:
//
//   - a relay that repeats an old pointer under a new revision hid what it withheld:
//     heads told of a revision alone (130, 143, 152, 227, 299)
//   - a node that left two liars in turn was sent back to the first (236, 254, 288)
//   - liars went on relaying for as long as there were children who had not met
//     them (232, 546, 656, 698, 1291)
var broke = []uint64{130, 143, 152, 227, 232, 236, 254, 288, 299, 546, 656, 698, 1291}

func TestNoInvariantBreaksWhateverGoesWrong(t *testing.T) {
	seeds := slices.Clone(broke)
	for i := range *hostileSeeds {
		seeds = append(seeds, uint64(i))
	}
	for n, seed := range seeds {
		h := New(seed)
		if n < len(broke) {
			h.Config.RelayShare = 0 // they were found when everyone subscribed
		}
		out, err := h.Run(false)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Violations) > 0 {
			small := h.Shrink()
			t.Errorf("seed %d: %s\nreproduce: %s\n%s", seed, out.Violations[0], small.Command(), strings.Join(small.Describe(), "\n"))
		}
		if n%20 == 0 {
			if again, _ := h.Run(true); again.History != out.History || again.Events != out.Events {
				t.Errorf("seed %d: two runs differ", seed)
			}
		}
		if out.Effects == 0 && h.Config.RelayShare == 0 { // else there may be nobody who subscribes
			t.Errorf("seed %d: nothing happened", seed)
		}
	}
}

// broken runs a fleet whose world and referee break can spoil, and returns what the
// referee finds.
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

func TestTheRefereeFindsWhatIsBroken(t *testing.T) {
	if v := broken(t, func(*world.World, *referee) {}); len(v) != 0 {
		t.Fatalf("nothing was broken: %v", v)
	}
	for name, c := range map[string]struct {
		spoil func(w *world.World, r *referee)
		want  string
	}{
		"a host that stays down": {func(w *world.World, _ *referee) { w.Crash(5) }, "invariant 7"},
		"a disk that forgets its epoch": {func(w *world.World, _ *referee) {
			w.Crash(5)
			w.LoseDisk(5)
			w.Start(5)
			w.Run(w.Now().Add(20 * time.Second))
		}, "invariant 2"},
		"a version nobody committed": {func(_ *world.World, r *referee) {
			r.applied(world.Applied{Host: 5, Config: "a", Epoch: 77, Version: 9})
		}, "invariant 1"},
		"an epoch won twice": {func(w *world.World, r *referee) { r.commits(w.Current("a", "dallas")) }, "invariant 4"},
		"a pointer in the store that was not committed": {func(w *world.World, r *referee) {
			w.Publish("b", 1)
			w.Run(w.Now().Add(2 * time.Second))
			delete(r.committed, epochKey{record.PointerKey{Config: "b", Region: "dallas"}, 1})
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

// Shrinking must keep a failing history failing, and make it smaller.
func TestShrinkingKeepsAFailureAndMakesItSmaller(t *testing.T) {
	h := New(3)
	// A crash for good is a failure that no protocol can mend.
	h.Faults = append(h.Faults, world.Fault{At: 1, Kind: world.FaultCrash, Target: "agent:dallas/0"})
	small := h.Shrink()
	out, err := small.Run(true)
	if err != nil || len(out.Violations) == 0 {
		t.Fatalf("the shrunk history does not fail (%v)", err)
	}
	if len(small.Keep) != 1 || len(small.KeepUpdates) != 0 {
		t.Errorf("kept faults %v and updates %v, want the crash alone", small.Keep, small.KeepUpdates)
	}
	trace := strings.Join(out.Trace, "\n")
	for _, want := range []string{"FAULT crash agent:dallas/0", "dallas-0 crashes", "VIOLATION"} {
		if !strings.Contains(trace, want) {
			t.Errorf("the trace lacks %q", want)
		}
	}
}
