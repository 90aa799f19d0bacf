package world

import (
	"math"
	"slices"
	"testing"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// 1,250 bytes take 0.1 ms at 100 Mbit/s. Bytes queue for the link of a host.
func TestBytesQueueForTheLinkOfAHost(t *testing.T) {
	w := newWorld(t, Config{Agents: []int{1}, Network: rates(linkRate, linkRate)})
	for _, c := range []struct {
		at   time.Duration
		size int64
		want time.Duration
	}{
		{0, 1250, 100 * time.Microsecond},
		{0, 2500, 300 * time.Microsecond},
		{time.Millisecond, 1250, 1100 * time.Microsecond},
	} {
		if got := w.Upload(1, step.Time(c.at), c.size); got != step.Time(c.want) {
			t.Errorf("%d bytes at %s have left at %s, want %s", c.size, c.at, time.Duration(got), c.want)
		}
	}
}

func TestWithoutALimitBytesTakeNoTime(t *testing.T) {
	if got := SendTime(1<<30, 0); got != 0 {
		t.Errorf("a GiB takes %s, want 0", got)
	}
	if got := SendTime(10_000_000, linkRate); got != onePass {
		t.Errorf("10 MB take %s, want %s", got, onePass)
	}
}

// 10 MB from 100 Mbit/s to an idle receiver of 25 Mbit/s: 0.8 s of the 3.2 s are over when
// the last byte arrives.
func TestAReceiversLinkOverlapsWithTheSenders(t *testing.T) {
	w := linkWorld(t, 2, rates(linkRate, linkRate/4))
	w.Run(10 * second)
	if got, want := w.TakeIn(1, 2, bodySize), w.Now().Add(2400*time.Millisecond); got != want {
		t.Errorf("the body is in at %s, want %s", time.Duration(got), time.Duration(want))
	}
	// A second body that arrives now waits for the whole of the first.
	if got, want := w.TakeIn(1, 2, bodySize), w.Now().Add(5600*time.Millisecond); got != want {
		t.Errorf("the second body is in at %s, want %s", time.Duration(got), time.Duration(want))
	}
}

// A coordinator has RootBps in both directions, an agent UpBps and DownBps.
func TestCoordinatorsHaveARateOfTheirOwn(t *testing.T) {
	w := newWorld(t, Config{Agents: []int{1}, Network: Network{UpBps: 1e6, DownBps: 2e6, RootBps: 9e6}})
	if up, down := w.upRate(0), w.downRate(0); up != 9e6 || down != 9e6 {
		t.Errorf("the coordinator has %g and %g bit/s, want 9e6", up, down)
	}
	if up, down := w.upRate(1), w.downRate(1); up != 1e6 || down != 2e6 {
		t.Errorf("the agent has %g and %g bit/s, want 1e6 and 2e6", up, down)
	}
}

// With P packets and loss p, a shard is delayed by one round trip with probability
// 1 − (1−p)^P, and by a further round trip if one of the P·p repeated packets is lost, and so on.
func TestLostPacketsOfAShardCostRoundTrips(t *testing.T) {
	const loss, packets, runs = 0.01, 24, 20_000
	w := newWorld(t, Config{Seed: 1, Agents: []int{3}, Network: Network{Loss: loss, CrossAZ: 100 * ms}})
	want, reached := 0.0, 1.0
	for lost := float64(packets); lost > 1e-6; lost *= loss {
		reached *= 1 - math.Pow(1-loss, lost)
		want += reached * 100 // ms of a round trip
	}
	sum := time.Duration(0)
	for range runs {
		sum += w.recovery(1, 2, packets)
	}
	if got := (sum / runs).Seconds() * 1000; math.Abs(got/want-1) > 0.05 {
		t.Errorf("the mean delay is %.2f ms, arithmetic says %.2f", got, want)
	}
}

// A shard of 32 KiB takes 24 packets of 1,392 bytes of payload and 60 bytes of headers.
func TestAShardOnTheWireHasTheHeadersOfItsPackets(t *testing.T) {
	if got, want := ShardWire(32<<10), int64(32<<10+24*60); got != want {
		t.Errorf("got %d bytes, want %d", got, want)
	}
	if got := ShardWire(1); got != 61 {
		t.Errorf("one byte takes %d bytes, want 61", got)
	}
}

// connected opens a link between two hosts without nodes and returns the end of the first.
func connected(w *World, from, to int32) step.PeerID {
	here := step.PeerID(len(w.links))
	w.links = append(w.links,
		link{owner: from, remote: to, other: here + 1, alive: true},
		link{owner: to, remote: from, other: here, alive: true})
	return here
}

// arrivals returns the times of the messages in the queue of host i, in the order of sending.
func arrivals(w *World, i int32) (times []step.Time) {
	var events []event
	for _, e := range w.queue.heap {
		if e.kind == evMessage && e.host == i {
			events = append(events, e)
		}
	}
	slices.SortFunc(events, func(a, b event) int { return int(a.seq) - int(b.seq) })
	for _, e := range events {
		times = append(times, e.at)
	}
	return times
}

// Jitter and loss delay messages, and never reorder the messages of one link.
func TestMessagesOfOneLinkKeepTheirOrder(t *testing.T) {
	w := newWorld(t, Config{Seed: 3, Agents: []int{2}, Network: Network{Jitter: 0.5, Loss: 0.3}})
	upAll(w)
	id := connected(w, 1, 2)
	for range 200 {
		w.transmit(id, &wire.Announcement{}, w.now)
	}
	times := arrivals(w, 2)
	if len(times) != 200 || !slices.IsSorted(times) {
		t.Errorf("%d messages, sorted: %v", len(times), slices.IsSorted(times))
	}
	if times[0] == times[199] {
		t.Error("all messages arrive at once: nothing was tested")
	}
}

// A message is sent into a cut of 2 s, with an idle timeout of 5 s: it arrives when the cut
// ends, half a round trip later. In a cut of 6 s the link dies and the message is lost.
func TestAMessageIntoACutArrivesIfTheCutEndsBeforeTheIdleTimeout(t *testing.T) {
	for _, c := range []struct {
		length  time.Duration
		arrives int
	}{{2 * time.Second, 1}, {6 * time.Second, 0}} {
		w := newWorld(t, Config{Agents: []int{2}, Zones: 1})
		upAll(w)
		id := connected(w, 1, 2)
		side := func(i int32) func(*Host) bool { return func(h *Host) bool { return h == w.Host(i) } }
		heal := w.cut(&partition{from: side(1), to: side(2)})
		w.transmit(id, &wire.Announcement{}, w.now)
		healed := step.Time(c.length)
		w.At(healed, heal)
		// The hosts have no nodes, so the test stops before the inputs that end the link.
		for w.queue.len() > 0 && w.queue.heap[0].kind == evCall {
			w.handle(w.queue.pop())
		}
		times := arrivals(w, 2)
		if len(times) != c.arrives {
			t.Fatalf("a cut of %s: %d messages arrive, want %d", c.length, len(times), c.arrives)
		}
		if c.arrives == 1 && times[0] != healed.Add(w.OneWay(1, 2)) {
			t.Errorf("the message arrives at %s", time.Duration(times[0]))
		}
		if c.arrives == 0 && w.links[id].alive {
			t.Error("the link outlived its idle timeout")
		}
	}
}

func TestAOneWayCutStopsOneDirection(t *testing.T) {
	w := newWorld(t, Config{Agents: []int{2}})
	heal := w.cut(&partition{
		from:   func(h *Host) bool { return h == w.Host(1) },
		to:     func(h *Host) bool { return h == w.Host(2) },
		oneWay: true,
	})
	if !w.cutOff(1, 2) || w.cutOff(2, 1) {
		t.Errorf("cut off: there %v, back %v; want there only", w.cutOff(1, 2), w.cutOff(2, 1))
	}
	heal()
	if w.cutOff(1, 2) {
		t.Error("the cut outlived its end")
	}
}

// Traffic between zones and between regions is counted apart.
func TestTrafficIsCountedByTheBorderItCrosses(t *testing.T) {
	w := newWorld(t, Config{Agents: []int{2, 1}, Zones: 2})
	w.Count(0, 2, 100) // the same zone of the same region
	w.Count(0, 3, 10)  // another zone
	w.Count(0, 4, 1)   // another region
	want := Traffic{Messages: 3, Bytes: 111, CrossZone: 10, CrossRegion: 1}
	if got := w.Host(0).Traffic(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
