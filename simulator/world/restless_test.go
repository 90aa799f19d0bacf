package world

import (
	"fmt"
	"testing"
	"time"
)

// A host with FaultRestart starts once in every period, and stays up after the fault.
func TestHostsRestartAgainAndAgain(t *testing.T) {
	w := newWorld(t, Config{Seed: 1, Agents: []int{2}, Heads: time.Second})
	settle(t, w)
	w.Strike(Fault{Kind: FaultRestart, Target: "agent:dallas/1", Factor: 10, For: 100 * time.Second}, w.Now(), 0, func(string) {})
	w.Run(w.Now().Add(3 * time.Minute))
	hit, other := w.Host(2), w.Host(1)
	if n := hit.Boots(); n != 11 || hit.Down() || !hit.Node().Attached() {
		t.Errorf("the host started %d times and is down: %v", n, hit.Down())
	}
	if n := other.Boots(); n != 1 {
		t.Errorf("the other host started %d times", n)
	}
}

// A relay that withholds all news and sends old news all the time does not keep its children from
// what is new, for as long as it goes on.
func TestTruthARelayThatChattersHoldsNobodyBack(t *testing.T) {
	w := newWorld(t, Config{Seed: 1, Agents: []int{6}, Fanout: 1, Heads: time.Second})
	settle(t, w)
	w.Publish("a", 1)
	w.Run(w.Now().Add(5 * time.Second))
	w.Strike(Fault{Kind: FaultChatter, Target: fmt.Sprintf("agent:dallas/%d", topmost(w))}, w.Now(), 1, func(string) {})
	for epoch := uint64(2); epoch < 6; epoch++ {
		w.Publish("a", epoch)
		w.Run(w.Now().Add(time.Minute))
		for i := range w.Agents() {
			if got, _ := w.Host(i).AppliedEpoch("a"); got != epoch {
				t.Errorf("%s is at epoch %d of %d", w.Host(i).Name(), got, epoch)
			}
		}
	}
}

// topmost returns the number of an agent that hangs on the coordinator and has children.
func topmost(w *World) (number int32) {
	for i := range w.Agents() {
		if parent, _ := w.Parent(i); w.IsCoordinator(parent) && w.Host(i).Node().Children() > 0 {
			return i - int32(w.Regions())
		}
	}
	panic("no relay")
}

// What a leader signs has the time of the leader's clock. A clock that was ahead by a day and is right
// again holds nobody back.
func TestTruthALeaderWhoseClockWasAheadIsHeard(t *testing.T) {
	w := newWorld(t, Config{Seed: 1, Agents: []int{3}, Heads: time.Second})
	settle(t, w)
	w.Strike(Fault{Kind: FaultSkew, Target: "leader", Factor: 86_400, For: 20 * time.Second}, w.Now(), 0, func(string) {})
	w.Publish("a", 1)
	w.Run(w.Now().Add(10 * time.Second))
	ahead := func(i int32) time.Duration {
		return time.Duration(w.Host(i).Node().Head().TimeMicros)*time.Microsecond - time.Duration(w.Now())
	}
	for i := range w.Agents() {
		if got := ahead(i); got < 23*time.Hour {
			t.Errorf("the newest head of %s is ahead by %s while the leader's clock is", w.Host(i).Name(), got)
		}
	}
	w.Run(w.Now().Add(20 * time.Second))
	w.Publish("a", 2)
	w.Run(w.Now().Add(5 * time.Second))
	for i := range w.Agents() {
		if got, _ := w.Host(i).AppliedEpoch("a"); got != 2 || ahead(i) > 0 || ahead(i) < -3*time.Second {
			t.Errorf("%s is at epoch %d; its newest head is ahead by %s", w.Host(i).Name(), got, ahead(i))
		}
	}
}
