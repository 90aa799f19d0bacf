package world

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"banyan/mesh/step"
	"banyan/record"
)

const second = step.Time(time.Second)

func newWorld(t testing.TB, cfg Config) *World {
	t.Helper()
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func settle(t testing.TB, w *World) {
	t.Helper()
	w.Boot()
	w.BeginHeads()
	if err := w.Settle(5 * time.Minute); err != nil {
		t.Fatal(err)
	}
}

// ledger records effects and checks the order of each agent's epochs as they come.
type ledger struct {
	epochs map[effect]uint64
	last   step.Time
}

type effect struct {
	host   int32
	config string
}

func keepLedger(t *testing.T, w *World) *ledger {
	l := &ledger{epochs: map[effect]uint64{}}
	w.Watch(Watcher{Applied: func(a Applied) {
		on := effect{a.Host, a.Config}
		if a.Epoch <= l.epochs[on] {
			t.Errorf("host %d applied epoch %d of %s after %d", a.Host, a.Epoch, a.Config, l.epochs[on])
		}
		l.epochs[on] = a.Epoch
		l.last = a.At
	}})
	return l
}

func (l *ledger) at(config string, epoch uint64) (n int) {
	for on, e := range l.epochs {
		if on.config == config && e == epoch {
			n++
		}
	}
	return n
}

func TestTenThousandAgentsApplyEachEpochOnce(t *testing.T) {
	const agents = 10_000
	w := newWorld(t, Config{Seed: 1, Agents: []int{agents}, Fanout: 16})
	settle(t, w)
	l := keepLedger(t, w)
	for n := uint64(1); n <= 3; n++ {
		start := w.Now()
		w.Publish("payments/limits", n)
		w.Run(start + 5*second)
		if got := l.at("payments/limits", n); got != agents {
			t.Fatalf("epoch %d: %d of %d agents applied it", n, got, agents)
		}
		acked := w.Acked("payments/limits", "dallas")
		if acked == nil || acked.Position != record.At(1, n) || acked.Applied.GetCardinality() != agents || acked.Latency.Count() != agents {
			t.Fatalf("epoch %d: acknowledgements: %+v", n, acked)
		}
		// Four levels of fan-out 16 hold 10,000: the time is the depth's, not the size's.
		if took := time.Duration(l.last - start); took > 100*time.Millisecond {
			t.Errorf("epoch %d took %v of virtual time to the last agent", n, took)
		}
	}
}

func TestOneSeedHasOneHistory(t *testing.T) {
	history := func(seed uint64) string {
		w := newWorld(t, Config{Seed: seed, Agents: []int{200, 100, 50}, Fanout: 4, Network: Network{Jitter: 0.05, Loss: 0.01}, Heads: time.Second})
		var s []byte
		w.Watch(Watcher{Applied: func(a Applied) { s = fmt.Appendln(s, a) }})
		w.Boot()
		w.BeginHeads()
		w.Run(30 * second)
		w.Publish("a", 1)
		w.Crash(5)
		w.Run(60 * second)
		return fmt.Sprint(string(s), w.Events())
	}
	first, again, other := history(7), history(7), history(8)
	if first != again {
		t.Error("two runs with one seed differ")
	}
	if first == other {
		t.Error("two seeds have one history")
	}
}

func TestChildrenOfADeadRelayFindAnotherAndMissNothing(t *testing.T) {
	const agents = 1000
	for seed := uint64(1); seed <= 10; seed++ {
		w := newWorld(t, Config{Seed: seed, Agents: []int{agents}, Fanout: 8, Network: Network{Jitter: 0.1}})
		settle(t, w)
		l := keepLedger(t, w)
		w.Publish("a", 1)
		w.Run(w.Now() + 5*second)
		relays := busiest(w, 3)
		for _, r := range relays {
			w.Crash(r)
		}
		w.Publish("a", 2)
		w.Publish("b", 1)
		w.Run(w.Now() + 60*second)
		if got := l.at("a", 2); got != agents-3 {
			t.Fatalf("seed %d: %d of %d agents have the second epoch", seed, got, agents-3)
		}
		for _, r := range relays {
			w.Start(r)
		}
		w.Run(w.Now() + 30*second)
		if a, b := l.at("a", 2), l.at("b", 1); a != agents || b != agents {
			t.Fatalf("seed %d: after the restart %d and %d of %d agents are current", seed, a, b, agents)
		}
		if got := w.Acked("a", "dallas").Applied.GetCardinality(); got != agents {
			t.Errorf("seed %d: %d of %d acknowledged", seed, got, agents)
		}
	}
}

// busiest returns the n agents with the most children.
func busiest(w *World, n int) []int32 {
	var all []int32
	for i := w.Regions(); i < w.Hosts(); i++ {
		all = append(all, int32(i))
	}
	slices.SortStableFunc(all, func(a, b int32) int { return w.Host(b).Node().Children() - w.Host(a).Node().Children() })
	return all[:n]
}

func TestARegionThatIsCutOffCatchesUpWhenItHeals(t *testing.T) {
	w := newWorld(t, Config{Seed: 3, Agents: []int{50, 50}, Fanout: 4, Heads: 3 * time.Second})
	settle(t, w)
	l := keepLedger(t, w)
	w.Publish("a", 1)
	w.Run(w.Now() + 5*second)
	heal := w.cut(&partition{from: func(h *Host) bool { return h.region == 0 }, to: func(h *Host) bool { return h.region == 1 }})
	for n := uint64(2); n <= 9; n++ {
		w.Publish("a", n)
		w.Run(w.Now() + 10*second)
	}
	if here, there := l.at("a", 9), l.at("a", 1); here != 50 || there != 50 {
		t.Fatalf("while cut off: %d at epoch 9, %d at epoch 1", here, there)
	}
	before := w.Events()
	heal()
	w.Run(w.Now() + 60*second)
	if got := l.at("a", 9); got != 100 {
		t.Fatalf("after healing %d of 100 agents are at epoch 9", got)
	}
	t.Logf("caught up in %d events", w.Events()-before)
}

func TestAShortCutLosesNothing(t *testing.T) {
	w := newWorld(t, Config{Seed: 4, Agents: []int{20, 20}, Fanout: 4})
	settle(t, w)
	l := keepLedger(t, w)
	heal := w.cut(&partition{from: func(h *Host) bool { return h.region == 0 }, to: func(h *Host) bool { return h.region == 1 }, oneWay: true})
	w.Publish("a", 1)
	w.Run(w.Now() + 5*second)
	heal()
	w.Run(w.Now() + 2*second)
	if got := l.at("a", 1); got != 40 {
		t.Errorf("%d of 40 applied within the idle timeout", got)
	}
}

// An agent that was away while 10,000 configs changed, some of them often, is
// current again after one exchange: as many announcements as configs, in pages.
func TestTenThousandConfigsCatchUpInOneExchange(t *testing.T) {
	const configs = 10_000
	w := newWorld(t, Config{Seed: 9, Agents: []int{3}, Fanout: 1, Heads: DefaultHeads, BodyBytes: 100})
	settle(t, w)
	away := int32(w.Regions() + 2)
	w.Crash(away)
	for i := range configs {
		w.Publish(fmt.Sprintf("config-%d", i), 1)
	}
	w.Publish("config-0", 2)
	w.Publish("config-0", 1)
	w.Run(w.Now() + 60*second)
	l := keepLedger(t, w)
	w.Start(away)
	w.Run(w.Now() + 60*second)
	if got := len(l.epochs); got != configs {
		t.Fatalf("%d of %d configs were applied", got, configs)
	}
	if e := l.epochs[effect{away, "config-0"}]; e != 3 {
		t.Errorf("config-0 is at epoch %d, want 3", e)
	}
	if got := w.Host(away).Node().Watermark(); got != configs+2 {
		t.Errorf("the watermark is %d, want %d", got, configs+2)
	}
}

// A coordinator that restarts hears of its whole tree, though all but its own
// children never lost their parents.
func TestARestartedCoordinatorLearnsItsTree(t *testing.T) {
	const agents = 200
	w := newWorld(t, Config{Seed: 5, Agents: []int{agents, 10}, Fanout: 3, Heads: DefaultHeads})
	settle(t, w)
	l := keepLedger(t, w)
	w.Publish("a", 1)
	w.Run(w.Now() + 2*second)
	for range 3 {
		w.Crash(0)
		w.Run(w.Now() + 8*second)
		w.Start(0)
		w.Run(w.Now() + 40*second)
		if got := w.Host(0).Node().Planner().Placed(); got != agents {
			t.Errorf("the planner knows %d of %d agents", got, agents)
		}
	}
	w.Publish("a", 2)
	w.Run(w.Now() + 10*second)
	if got := l.at("a", 2); got != agents+10 {
		t.Errorf("%d of %d agents have the second epoch", got, agents+10)
	}
	if got := w.Acked("a", "dallas").Applied.GetCardinality(); got != agents {
		t.Errorf("%d of %d acknowledged it", got, agents)
	}
}
