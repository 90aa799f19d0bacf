package world

import (
	"math"
	"testing"
	"time"

	"banyan/mesh/step"
)

// The model of links against arithmetic. Propagation is made negligible, and rates
// are 100 Mbit/s, at which 10 MB take 800 ms.
const (
	linkRate = 100e6
	bodySize = 10_000_000
	onePass  = 800 * time.Millisecond
)

func linkWorld(t *testing.T, hosts int, n Network) *World {
	n.Zone, n.CrossAZ = time.Nanosecond, time.Nanosecond
	return newWorld(t, Config{Agents: []int{hosts}, Zones: 1, Network: n})
}

func within(t *testing.T, what string, got step.Time, want time.Duration) {
	t.Helper()
	if ratio := float64(got) / float64(want); math.Abs(ratio-1) > 0.01 {
		t.Errorf("%s took %s, arithmetic says %s", what, time.Duration(got), want)
	}
}

// upAll lets flows pass without nodes.
func upAll(w *World) {
	for i := range w.hosts {
		w.hosts[i].down = false
	}
}

func rates(up, down float64) Network { return Network{UpBps: up, DownBps: down} }

func TestOneSenderAndOneReceiverTakeTheSlowerRate(t *testing.T) {
	for _, c := range []struct {
		name     string
		up, down float64
		want     time.Duration
	}{
		{"equal rates", linkRate, linkRate, onePass},
		{"a slow receiver", linkRate, linkRate / 4, 4 * onePass},
		{"a slow sender", linkRate / 4, linkRate, 4 * onePass},
		{"no limit at the receiver", linkRate, 0, onePass},
	} {
		w := linkWorld(t, 2, rates(c.up, c.down))
		upAll(w)
		var done step.Time
		w.startFlow(1, 2, bodySize, func(at step.Time) { done = at })
		w.Run(60 * second)
		within(t, c.name, done, c.want)
	}
}

func TestAStarTakesTheSendersRateTimesTheReceivers(t *testing.T) {
	const receivers = 8
	w := linkWorld(t, receivers+1, rates(linkRate, linkRate))
	upAll(w)
	var first, last step.Time
	for i := range int32(receivers) {
		w.startFlow(1, 2+i, bodySize, func(at step.Time) {
			if first == 0 {
				first = at
			}
			last = at
		})
	}
	w.Run(60 * second)
	within(t, "the star's last", last, receivers*onePass)
	// The receivers share the sender fairly: the first is hardly ahead of the last.
	if float64(first) < 0.95*float64(last) {
		t.Errorf("the first had it at %s, the last at %s", time.Duration(first), time.Duration(last))
	}
}

func TestManySendersTakeTheReceiversRate(t *testing.T) {
	const senders = 5
	w := linkWorld(t, senders+1, rates(linkRate, linkRate))
	upAll(w)
	var last step.Time
	for i := range int32(senders) {
		w.startFlow(2+i, 1, bodySize, func(at step.Time) { last = at })
	}
	w.Run(60 * second)
	within(t, "five senders to one receiver", last, senders*onePass)
}

func TestAChainThatStoresAndForwardsTakesAPassAHop(t *testing.T) {
	const hops = 4
	w := linkWorld(t, hops+1, rates(linkRate, linkRate))
	upAll(w)
	var done step.Time
	var forward func(from int32)
	forward = func(from int32) {
		w.startFlow(from, from+1, bodySize, func(at step.Time) {
			if done = at; from < hops {
				forward(from + 1)
			}
		})
	}
	forward(1)
	w.Run(60 * second)
	within(t, "a chain of four hops", done, hops*onePass)
}

// pipeline sends a body to the children of from, which send every chunk on as it
// arrives.
func pipeline(w *World, from int32, children func(int32) []int32, done func()) (open []*flow) {
	for _, c := range children(from) {
		f := w.openFlow(from, c, bodySize, func(step.Time) { done() })
		below := pipeline(w, c, children, done)
		f.onChunk = func(_ step.Time, n int64) {
			for _, b := range below {
				w.feed(b, n)
			}
		}
		open = append(open, f)
	}
	return open
}

func TestAPipelinedTreeTakesItsFanOutInPasses(t *testing.T) {
	for _, c := range []struct {
		name          string
		fanout, hosts int32
		depth         int
	}{{"a chain", 1, 5, 4}, {"a binary tree", 2, 15, 3}, {"a tree of fan-out 4", 4, 21, 2}} {
		w := linkWorld(t, int(c.hosts), rates(linkRate, linkRate))
		upAll(w)
		children := func(i int32) (all []int32) {
			for k := range c.fanout {
				if child := (i-1)*c.fanout + k + 2; child <= c.hosts {
					all = append(all, child)
				}
			}
			return all
		}
		var last step.Time
		for _, f := range pipeline(w, 1, children, func() { last = w.now }) {
			w.feed(f, bodySize)
		}
		w.Run(60 * second)
		// Each level begins one round of chunks later than the one above.
		passes := float64(c.fanout) * (1 + float64(c.depth-1)/chunksPerFlow)
		within(t, c.name, last, time.Duration(passes*float64(onePass)))
	}
}

func TestPropagationAddsToTheTransfer(t *testing.T) {
	m, err := Preset("ibm-2024")
	if err != nil {
		t.Fatal(err)
	}
	if m, err = m.First(4); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Config{Agents: []int{1, 0, 0, 1}, Network: Network{Matrix: m, UpBps: linkRate, DownBps: linkRate}})
	upAll(w)
	var done step.Time
	w.startFlow(4, 5, bodySize, func(at step.Time) { done = at })
	w.Run(60 * second)
	within(t, "Dallas to Frankfurt", done, onePass+123*time.Millisecond/2)
}

func TestMessagesDoNotWaitBehindBodies(t *testing.T) {
	w := newWorld(t, Config{Seed: 1, Agents: []int{40}, Fanout: 4, Network: rates(linkRate, linkRate), BodyBytes: bodySize})
	settle(t, w)
	l := keepLedger(t, w)
	w.Publish("large", 1)
	w.Run(w.Now() + second/10)
	w.sizes[Key("small", 1)] = 500
	began := w.Now()
	w.Publish("small", 1)
	w.Run(w.Now() + second/2)
	if got := l.at("small", 1); got != 40 {
		t.Errorf("%d of 40 had the small one %s after it was published, while the large one was on its way", got, time.Duration(w.Now()-began))
	}
	if got := l.at("large", 1); got == 40 {
		t.Error("the large one was through before: nothing was tested")
	}
}
