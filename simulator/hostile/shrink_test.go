package hostile

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/simulator/world"
)

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

// needs returns an oracle that fails a history if and only if the faults and updates happen
// that are named.
func needs(faults, updates []int) func(*History) bool {
	return func(h *History) bool {
		for _, i := range faults {
			if !keeps(h.Keep, i) {
				return false
			}
		}
		for _, i := range updates {
			if !keeps(h.KeepUpdates, i) {
				return false
			}
		}
		return true
	}
}

// If a failure needs certain faults and updates and no others, shrinking keeps exactly those.
func TestShrinkingFindsExactlyTheNeededFaultsAndUpdates(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		h := &History{Faults: make([]world.Fault, 1+r.IntN(12)), Updates: make([]Update, 1+r.IntN(12))}
		var faults, updates []int
		for i := range h.Faults {
			if r.IntN(3) == 0 {
				faults = append(faults, i)
			}
		}
		for i := range h.Updates {
			if r.IntN(3) == 0 {
				updates = append(updates, i)
			}
		}
		fails := needs(faults, updates)
		small := h.shrink(fails)
		if !fails(small) {
			t.Fatalf("the shrunk history does not fail: kept %v and %v", small.Keep, small.KeepUpdates)
		}
		if !slices.Equal(small.Keep, faults) || !slices.Equal(small.KeepUpdates, updates) {
			t.Fatalf("kept %v and %v, needed %v and %v", small.Keep, small.KeepUpdates, faults, updates)
		}
		if h.Keep != nil || h.KeepUpdates != nil {
			t.Fatal("shrinking changed the original history")
		}
	}
}

// A history that was shrunk before is shrunk further, and brings nothing back.
func TestShrinkingStartsFromTheFaultsThatAreKept(t *testing.T) {
	h := &History{Faults: make([]world.Fault, 6), Updates: make([]Update, 3), Keep: []int{1, 3, 5}}
	small := h.shrink(needs([]int{3}, nil))
	if !slices.Equal(small.Keep, []int{3}) || len(small.KeepUpdates) != 0 {
		t.Errorf("kept %v and %v, want fault 3 alone", small.Keep, small.KeepUpdates)
	}
}

func TestTheStoryNamesWhatIsKept(t *testing.T) {
	h := New(3)
	h.Faults = []world.Fault{
		{At: time.Second, Kind: world.FaultCrash, Target: "leader"},
		{At: 2 * time.Second, For: time.Second, Kind: world.FaultCut, Target: "region:dallas"},
	}
	h.Updates = []Update{{Config: "a"}, {Config: "b", Back: true}, {Config: "c", Percent: 30}}
	h.Keep = []int{1}
	h.KeepUpdates = []int{}
	if got, want := h.Command(), "banyan simulate fuzz --seed 3 --faults 1 --updates none --trace"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	story := strings.Join(h.Describe(), "\n")
	// The hostile phase begins 2 s after the 5 s in which agents join.
	if !strings.Contains(story, "fault 1 at 9.000s: cut region:dallas <-/-> everyone else for 1s") {
		t.Errorf("the story lacks the cut: %s", story)
	}
	if strings.Contains(story, "crash") || strings.Contains(story, "update") {
		t.Errorf("the story names a fault or update that is left out: %s", story)
	}
	h.KeepUpdates = nil
	story = strings.Join(h.Describe(), "\n")
	for _, want := range []string{"a: new version", "b: rollback", "c: candidate for 30%"} {
		if !strings.Contains(story, want) {
			t.Errorf("the story lacks %q: %s", want, story)
		}
	}
}

// Every fault of a generated history is possible on its fleet, and ends before the quiet
// phase unless a relay lies or the leader's clock stays ahead.
func TestGeneratedFaultsArePossibleAndEnd(t *testing.T) {
	liars := []world.FaultKind{world.FaultWithhold, world.FaultForge, world.FaultReplay, world.FaultChatter}
	kinds := map[world.FaultKind]int{}
	for seed := range uint64(300) {
		h := New(seed)
		if err := h.Config.Complete(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, f := range h.Faults {
			kinds[f.Kind]++
			if err := f.Check(&h.Config); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			clock := f.Kind == world.FaultSkew && f.Target == "leader" && f.Factor > 0
			if f.For == 0 && !clock && !slices.Contains(liars, f.Kind) {
				t.Errorf("seed %d: fault %q never ends", seed, f)
			}
			long := f.Kind == world.FaultRestore || f.Kind == world.FaultRival || f.Kind == world.FaultCrash
			if end := f.At + f.For; end > hostilePhase && !(long && end == hostilePhase+noticed) {
				t.Errorf("seed %d: fault %q ends in the quiet phase", seed, f)
			}
		}
	}
	for _, kind := range world.FaultKinds() {
		if kinds[kind] == 0 {
			t.Errorf("300 seeds have no fault of kind %s", kind)
		}
	}
}
