package simulator

import (
	"fmt"
	"testing"
	"time"

	"banyan/mesh"
)

const second = mesh.Time(time.Second)

// ledger records effects and checks the order of each agent's epochs as they come.
type ledger struct {
	t      *testing.T
	epochs map[effect]uint64
	last   mesh.Time
}

type effect struct {
	agent  int
	config string
}

func watch(t *testing.T, w *World) *ledger {
	l := &ledger{t: t, epochs: map[effect]uint64{}}
	w.OnApplied = func(a Applied) {
		on := effect{a.Agent, a.Config}
		if a.Epoch <= l.epochs[on] {
			t.Errorf("agent %d applied epoch %d of %s after %d", a.Agent, a.Epoch, a.Config, l.epochs[on])
		}
		l.epochs[on], l.last = a.Epoch, a.At
	}
	return l
}

func (l *ledger) at(epoch uint64) (n int) {
	for _, e := range l.epochs {
		if e == epoch {
			n++
		}
	}
	return n
}

func TestTenThousandAgentsApplyEachEpochOnce(t *testing.T) {
	const agents = 10_000
	w := New(Config{Agents: agents, Fanout: 16, Jitter: 200 * time.Microsecond, Seed: 1})
	l := watch(t, w)
	w.Run(30 * second)
	for i := 1; i <= agents; i++ {
		if !w.Node(i).Attached() {
			t.Fatalf("agent %d has no parent", i)
		}
	}
	for epoch := uint64(1); epoch <= 3; epoch++ {
		start := w.Now()
		w.Publish("payments/limits", epoch, epoch)
		w.Run(start + 5*second)
		if got := l.at(epoch); got != agents {
			t.Fatalf("epoch %d: %d of %d agents applied it", epoch, got, agents)
		}
		acked := w.Acked["payments/limits"]
		if acked.Epoch != epoch || acked.Applied.GetCardinality() != agents {
			t.Fatalf("epoch %d: %d acknowledgements of epoch %d reached the root", epoch, acked.Applied.GetCardinality(), acked.Epoch)
		}
		if acked.Latency.Count() != agents {
			t.Errorf("epoch %d: %d latencies", epoch, acked.Latency.Count())
		}
		// Four levels of fan-out 16 hold 10,000: the skew is depth, not size.
		if took := time.Duration(l.last - start); took > 60*time.Millisecond {
			t.Errorf("epoch %d took %v of virtual time to the last agent", epoch, took)
		}
	}
}

func TestOneSeedHasOneHistory(t *testing.T) {
	history := func() string {
		w := New(Config{Agents: 500, Fanout: 8, Jitter: time.Millisecond, Seed: 7})
		var s string
		w.OnApplied = func(a Applied) { s += fmt.Sprintln(a) }
		w.Run(10 * second)
		w.Publish("a", 1, 1)
		w.Crash(3, time.Second)
		w.Run(20 * second)
		return s + fmt.Sprint(w.Events())
	}
	if first, second := history(), history(); first != second {
		t.Error("two runs with one seed differ")
	}
}

func TestChildrenOfADeadRelayFindAnotherAndMissNothing(t *testing.T) {
	const agents = 1000
	for seed := uint64(1); seed <= 20; seed++ {
		w := New(Config{Agents: agents, Fanout: 8, Jitter: time.Millisecond, Seed: seed})
		l := watch(t, w)
		w.Run(20 * second)
		w.Publish("a", 1, 1)
		w.Run(25 * second)
		for _, relay := range []int{1, 2, 9} {
			w.Crash(relay, 2*time.Second)
		}
		w.Publish("a", 2, 2)
		w.Publish("b", 1, 1)
		w.Run(w.Now() + 60*second)
		for i := 1; i <= agents; i++ {
			if i == 1 || i == 2 || i == 9 {
				continue
			}
			if !w.Node(i).Attached() || w.Node(i).Revision(region) != 3 {
				t.Fatalf("seed %d: agent %d is at revision %d, attached %v", seed, i, w.Node(i).Revision(region), w.Node(i).Attached())
			}
		}
		for _, relay := range []int{1, 2, 9} {
			clear(l.epochs) // they restart with nothing remembered
			w.Restart(relay)
		}
		w.Run(w.Now() + 30*second)
		if got := w.Acked["a"].Applied.GetCardinality(); got != agents {
			t.Errorf("seed %d: %d of %d acknowledged", seed, got, agents)
		}
	}
}
