package world

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTargetsNameTheirHosts(t *testing.T) {
	// Hosts 0 and 1 are coordinators, 2 to 5 agents of dallas in zones 0, 1, 0, 1, and 6
	// and 7 agents of toronto in zones 0 and 1.
	w := newWorld(t, Config{Agents: []int{4, 2}, Zones: 2})
	upAll(w)
	for target, want := range map[string][]int32{
		"leader":                            {0},
		"coordinator:toronto":               {1},
		"region:dallas":                     {0, 2, 3, 4, 5},
		"zone:dallas/1":                     {3, 5},
		"agent:dallas/2":                    {4},
		"agent:toronto/0":                   {6},
		"agents:100%":                       {2, 3, 4, 5, 6, 7},
		"leader, agent:toronto/1":           {0, 7},
		"agent:dallas/0,coordinator:dallas": {0, 2},
	} {
		f := Fault{Kind: FaultSlow, Target: target}
		if err := f.Check(&w.cfg); err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		if got := w.selected(target, w.rand); !slices.Equal(got, want) {
			t.Errorf("%s names %v, want %v", target, got, want)
		}
	}
}

func TestImpossibleFaultsAreRefused(t *testing.T) {
	cfg := Config{Agents: []int{3}}
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		fault Fault
		want  string
	}{
		"kind":            {Fault{Kind: "rust", Target: "leader"}, "crash"},
		"negative start":  {Fault{Kind: FaultCrash, At: -1, Target: "leader"}, "negative"},
		"negative length": {Fault{Kind: FaultCrash, For: -1, Target: "leader"}, "negative"},
		"another side":    {Fault{Kind: FaultCrash, Target: "leader", To: "leader"}, "only a cut"},
		"one way":         {Fault{Kind: FaultCrash, Target: "leader", OneWay: true}, "only a cut"},
		"no target":       {Fault{Kind: FaultCrash}, "coordinator:REGION"},
		"share":           {Fault{Kind: FaultCrash, Target: "agents:30"}, "30%"},
		"share of 0":      {Fault{Kind: FaultCrash, Target: "agents:0%"}, "30%"},
		"agent number":    {Fault{Kind: FaultCrash, Target: "agent:dallas/3"}, "0 to 2"},
		"zone number":     {Fault{Kind: FaultCrash, Target: "zone:dallas/3"}, "0 to 2"},
		"region":          {Fault{Kind: FaultCrash, Target: "region:moon"}, "moon"},
		"second target":   {Fault{Kind: FaultCrash, Target: "leader,region:moon"}, "moon"},
		"far side":        {Fault{Kind: FaultCut, Target: "leader", To: "region:moon"}, "moon"},
	} {
		err := c.fault.Check(&cfg)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want ErrInvalid that says %q", name, err, c.want)
		}
	}
}

// Each fault changes its hosts when it begins, and changes them back when it ends.
func TestFaultsBeginAndEnd(t *testing.T) {
	for _, c := range []struct {
		fault Fault
		holds func(h *Host) bool
	}{
		{Fault{Kind: FaultSlow}, func(h *Host) bool { return h.slow == 10 }},
		{Fault{Kind: FaultSlow, Factor: 3}, func(h *Host) bool { return h.slow == 3 }},
		{Fault{Kind: FaultSkew, Factor: -2}, func(h *Host) bool { return h.skew == -2*time.Second }},
		{Fault{Kind: FaultDisk}, func(h *Host) bool { return h.broken }},
		{Fault{Kind: FaultLate}, func(h *Host) bool { return h.late == 5*time.Second }},
		{Fault{Kind: FaultLate, Factor: 0.5}, func(h *Host) bool { return h.late == time.Second/2 }},
		{Fault{Kind: FaultWithhold}, func(h *Host) bool { return h.lie == FaultWithhold }},
		{Fault{Kind: FaultPoison}, func(h *Host) bool { return h.lie == FaultPoison }},
	} {
		w := newWorld(t, Config{Agents: []int{2}})
		upAll(w)
		c.fault.Target = "agent:dallas/1"
		c.fault.At = 2 * time.Second
		c.fault.For = 3 * time.Second
		var notes []string
		w.Strike(c.fault, second, 0, func(line string) { notes = append(notes, line) })
		hit, other := w.Host(2), w.Host(1)
		w.Run(2 * second)
		before := c.holds(hit)
		w.Run(4 * second)
		during := c.holds(hit)
		spared := !c.holds(other)
		w.Run(7 * second)
		after := c.holds(hit)
		if before || !during || after || !spared {
			t.Errorf("%s: before %v, during %v, after %v; the other host was spared: %v", c.fault, before, during, after, spared)
		}
		if len(notes) != 2 {
			t.Errorf("%s: notes %q, want one for the beginning and one for the end", c.fault, notes)
		}
	}
}

func TestAFaultReadsAsOneLine(t *testing.T) {
	for want, f := range map[string]Fault{
		"crash leader": {Kind: FaultCrash, Target: "leader"},
		"slow leader (4) for 5s": {
			Kind: FaultSlow, Target: "leader", Factor: 4, For: 5 * time.Second,
		},
		"cut leader <-/-> everyone else": {Kind: FaultCut, Target: "leader"},
		"cut leader --/-> region:eu for 1s": {
			Kind: FaultCut, Target: "leader", To: "region:eu", OneWay: true, For: time.Second,
		},
	} {
		if got := f.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A host that crashes while a version is being applied has the old version after a restart;
// a host that crashes after the apply has the new version. A lost disk holds nothing.
func TestACrashLosesWhatIsNotYetOnDisk(t *testing.T) {
	const apply = 500 * time.Millisecond
	for _, c := range []struct {
		crash time.Duration // after the apply began
		want  uint64        // epoch on disk
	}{{apply / 2, 1}, {2 * apply, 2}} {
		costs := DefaultCosts()
		costs.Apply = apply
		w := newWorld(t, Config{Seed: 1, Agents: []int{1}, Costs: costs})
		settle(t, w)
		w.Publish("a", 1)
		w.Run(w.Now().Add(5 * time.Second))
		verified := false
		w.Watch(Watcher{Verified: func(Applied) { verified = true }})
		w.Publish("a", 2)
		w.RunUntil(w.Now().Add(time.Second), time.Millisecond, func() bool { return verified })
		w.Run(w.Now().Add(c.crash))
		w.Crash(1)
		if got, _ := w.Host(1).AppliedEpoch("a"); got != c.want {
			t.Errorf("a crash after %s: epoch %d on disk, want %d", c.crash, got, c.want)
		}
		w.Start(1)
		w.Run(w.Now().Add(20 * time.Second))
		if got, _ := w.Host(1).AppliedEpoch("a"); got != 2 {
			t.Errorf("after the restart the host is at epoch %d, want 2", got)
		}
		w.Crash(1)
		w.LoseDisk(1)
		if _, ok := w.Host(1).AppliedEpoch("a"); ok || w.Host(1).Bodies() != 0 {
			t.Error("the lost disk holds a version")
		}
	}
}
