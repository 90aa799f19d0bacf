package simulator

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"banyan/mesh/wire"
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
		h := NewHostile(seed)
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

// sabotage breaks a world so that the referee has something to find.
func sabotage(t *testing.T, break_ func(w *World)) []string {
	t.Helper()
	w := newWorld(t, Config{Seed: 1, Agents: []int{12}, Fanout: 3, Heads: DefaultHeads})
	r := newReferee(w)
	settle(t, w)
	w.Publish("a", 1)
	w.Run(w.Now() + 2*second)
	break_(w)
	w.Publish("a", 2)
	w.Run(w.Now() + 20*second)
	r.atRest()
	return r.violations
}

func TestTheRefereeFindsWhatIsBroken(t *testing.T) {
	if v := sabotage(t, func(*World) {}); len(v) != 0 {
		t.Fatalf("nothing was broken: %v", v)
	}
	for name, c := range map[string]struct {
		break_ func(w *World)
		want   string
	}{
		"a host that stays down": {func(w *World) { w.Crash(5) }, "invariant 7"},
		"a disk that forgets its epoch": {func(w *World) {
			w.Crash(5)
			w.hosts[5].disk = disk{}
			w.Start(5)
			w.Run(w.Now() + 20*second)
		}, "invariant 2"},
		"a version nobody committed": {func(w *World) { w.persist(5, invented(), 9, 0) }, "invariant 1"},
		"an epoch won twice":         {func(w *World) { w.store.epochs[ackKey{"a", "dallas"}]-- }, "invariant 4"},
		"a store that loses a commit": {func(w *World) {
			w.Publish("b", 1)
			w.Run(w.Now() + 2*second)
			w.store.pointers[1] = invented()
		}, "invariant 5"},
		"acknowledgements that don't count": {func(w *World) { w.watch.acked = nil; w.hosts[5].broken = true }, "acknowledg"},
	} {
		t.Run(name, func(t *testing.T) {
			v := sabotage(t, c.break_)
			if !slices.ContainsFunc(v, func(s string) bool { return strings.Contains(s, c.want) }) {
				t.Errorf("want a violation of %s, got %v", c.want, v)
			}
		})
	}
}

func invented() *wire.Announcement {
	a := &wire.Announcement{Revision: 99, Raw: []byte("invented")}
	a.Pointer.Config, a.Pointer.Region, a.Pointer.Epoch, a.Pointer.Baseline = "a", "dallas", 77, 9
	return a
}

// Shrinking must keep a failing history failing, and make it smaller.
func TestShrinkingKeepsAFailureAndMakesItSmaller(t *testing.T) {
	h := NewHostile(3)
	// A crash for good is a failure that no protocol can mend.
	h.Faults = append(h.Faults, Fault{At: 1, Kind: "crash", Target: "agent:dallas/0"})
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
