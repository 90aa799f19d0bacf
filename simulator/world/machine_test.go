package world

import (
	"slices"
	"testing"
	"time"

	"banyan/mesh/step"
)

const ms = time.Millisecond

func sharedMachine(t *testing.T, m Machine) *World {
	return newWorld(t, Config{Agents: []int{4}, Machine: &m})
}

// Five jobs of 10 ms on two cores end after 10, 10, 20, 20 and 30 ms.
func TestCoresShareTheWorkOfAllHosts(t *testing.T) {
	w := sharedMachine(t, Machine{Cores: 2})
	var ends []time.Duration
	for i := range int32(5) {
		w.machine.compute(i%4, 10*ms, func() { ends = append(ends, time.Duration(w.now)) })
	}
	w.Run(second)
	if want := []time.Duration{10 * ms, 10 * ms, 20 * ms, 20 * ms, 30 * ms}; !slices.Equal(ends, want) {
		t.Errorf("the jobs ended at %v, want %v", ends, want)
	}
	if got := w.Host(0).Traffic().CPU; got != 20*ms {
		t.Errorf("host 0 spent %s on two jobs, want 20ms", got)
	}
}

// While the core is busy, messages for hosts 1, 2 and 1 and a write of host 3 arrive. The
// write goes first; then come both messages of host 1, and then the message of host 2.
func TestWritesGoBeforeMessagesAndAHostsMessagesStayTogether(t *testing.T) {
	w := sharedMachine(t, Machine{Cores: 1})
	var order []string
	did := func(what string) func() { return func() { order = append(order, what) } }
	w.machine.compute(0, ms, did("busy"))
	w.machine.message(1, ms, did("message 1a"))
	w.machine.message(2, ms, did("message 2"))
	w.machine.message(1, ms, did("message 1b"))
	w.machine.compute(3, ms, did("write"))
	w.Run(second)
	want := []string{"busy", "write", "message 1a", "message 1b", "message 2"}
	if !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
}

// A write of 1 ms processor and 8 ms disk, of which a core waits a quarter, takes the core
// for 3 ms and then the disk for 6 ms. Two writes on two cores share the disk: they end
// after 9 and 15 ms.
func TestTheDiskOfAMachinePerformsOneWriteAfterAnother(t *testing.T) {
	w := sharedMachine(t, Machine{Cores: 2, Held: 0.25})
	var ends []time.Duration
	for i := range int32(2) {
		w.machine.write(i, ms, 8*ms, func() { ends = append(ends, time.Duration(w.now)) })
	}
	w.Run(second)
	if want := []time.Duration{9 * ms, 15 * ms}; !slices.Equal(ends, want) {
		t.Errorf("the writes ended at %v, want %v", ends, want)
	}
}

// On hosts of their own, writes do not wait for each other, and a slow host takes as many
// times longer as it is slow.
func TestHostsOfTheirOwnWriteAtTheSameTime(t *testing.T) {
	w := newWorld(t, Config{Agents: []int{2}, Costs: Costs{Store: 3 * ms, Apply: 2 * ms}})
	w.Host(2).slow = 10
	ends := map[int32]time.Duration{}
	for _, i := range []int32{1, 2} {
		w.StoreAndApply(i, func() { ends[i] = time.Duration(w.now) })
	}
	w.Run(second)
	if ends[1] != 5*ms || ends[2] != 50*ms {
		t.Errorf("the writes ended at %v, want 5ms and 50ms", ends)
	}
}

// Work on one processor queues: 2 ms requested at 0 and 3 ms requested at 1 ms end at 2 and
// 5 ms; 1 ms requested at 9 ms ends at 10 ms.
func TestWorkQueuesForTheProcessorOfAHost(t *testing.T) {
	w := newWorld(t, Config{Agents: []int{1}})
	for _, c := range []struct{ at, cost, want time.Duration }{
		{0, 2 * ms, 2 * ms},
		{1 * ms, 3 * ms, 5 * ms},
		{9 * ms, 1 * ms, 10 * ms},
	} {
		if got := w.Spend(1, step.Time(c.at), c.cost); got != step.Time(c.want) {
			t.Errorf("%s of work at %s ends at %s, want %s", c.cost, c.at, time.Duration(got), c.want)
		}
	}
	if got := w.Host(1).Traffic().CPU; got != 6*ms {
		t.Errorf("the host spent %s, want 6ms", got)
	}
}
