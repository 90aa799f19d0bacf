package compare

import (
	"math/rand/v2"
	"testing"

	"github.com/bits-and-blooms/bitset"

	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// rarest against a dumb twin: the shard it returns is offered and needed, and no other such
// shard is held by fewer partners. It returns none only if no shard is offered and needed.
func TestTheRarestShardIsTheRarest(t *testing.T) {
	w, err := world.New(world.Config{Agents: []int{2}})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		const shards = 40
		s := &rarestFirst{w: w, rand: r, shards: shards}
		h := &rarestHost{have: bitset.New(shards), asked: bitset.New(shards), held: make([]uint8, shards)}
		peer := &rarestPeer{host: 2, has: bitset.New(shards)}
		wanted := map[uint]bool{}
		least := 1 << 8
		for n := range uint(shards) {
			h.have.SetTo(n, r.IntN(2) == 0)
			h.asked.SetTo(n, r.IntN(4) == 0)
			peer.has.SetTo(n, r.IntN(3) == 0)
			h.held[n] = uint8(r.IntN(5))
			if peer.has.Test(n) && !h.have.Test(n) && !h.asked.Test(n) {
				wanted[n] = true
				least = min(least, int(h.held[n]))
			}
		}
		shard, ok := s.rarest(h, peer)
		if ok != (len(wanted) > 0) {
			t.Fatalf("found is %v, %d shards are wanted", ok, len(wanted))
		}
		if ok && (!wanted[shard] || int(h.held[shard]) != least) {
			t.Fatalf("shard %d: wanted %v, held by %d, the rarest by %d", shard, wanted[shard], h.held[shard], least)
		}
	}
}

// A coordinator hands out every shard once before it hands out any shard twice.
func TestACoordinatorHandsOutEveryShardOnceFirst(t *testing.T) {
	const shards = 30
	s := &rarestFirst{shards: shards}
	h := &rarestHost{have: bitset.New(shards), asked: bitset.New(shards)}
	times := map[uint]int{}
	for range 2 * shards {
		n, ok := s.seeded(h)
		if !ok {
			t.Fatal("the coordinator has no shard")
		}
		times[n]++
		if len(times) < shards && times[n] > 1 {
			t.Fatalf("shard %d was handed out twice after %d shards", n, len(times))
		}
	}
	h.have = h.have.Complement()
	if _, ok := s.seeded(h); ok {
		t.Error("a host that has every shard was given one")
	}
}

// Nothing is lost in a swarm: every host ends with the whole body, and no host can be done
// before the body has passed its link once.
func TestASwarmTakesAtLeastTheLineRate(t *testing.T) {
	cfg := bodyConfig(1, 60, 1)
	r, err := spreadRarestFirst(cfg, BodyRun{Swarm: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.Missed != 0 || r.RatioToLineRate < 1 || r.P50 > r.Last {
		t.Errorf("missed %d, %.2f × line rate, p50 %.0f ms, last %.0f ms", r.Missed, r.RatioToLineRate, r.P50, r.Last)
	}
}

// Hosts 1, 2 and 3 have a bad version after 1, 5 and 40 s; it is rolled back after 30 s, and
// the rollback takes 2 s to each host. So the hosts run it for 31, 27 and 0 s.
func TestExposureIsTheTimeBetweenApplyAndRollback(t *testing.T) {
	w, err := world.New(world.Config{Agents: []int{4}})
	if err != nil {
		t.Fatal(err)
	}
	const s = 1_000_000 // µs
	up := []int32{measure.Never, 1 * s, 5 * s, 40 * s, measure.Never}
	back := []int32{0, 2 * s, 2 * s, 2 * s, 2 * s}
	var all StrategyResult
	all.expose(w, 30e9, up, back, nil)
	if all.ExposedShare != 2.0/4 || all.ExposedSeconds != (31.0+27)/4 {
		t.Errorf("%.2f of the hosts for %.2f s, want 0.50 and 14.50", all.ExposedShare, all.ExposedSeconds)
	}
	var wave StrategyResult
	wave.expose(w, 30e9, up, back, func(i int32) bool { return i == 2 })
	if wave.ExposedShare != 1.0/4 || wave.ExposedSeconds != 27.0/4 {
		t.Errorf("the wave: %.2f of the hosts for %.2f s, want 0.25 and 6.75", wave.ExposedShare, wave.ExposedSeconds)
	}
}

// A star of N agents in one zone: the coordinator sends N messages one after another, so the
// last agent has the update after the commit, N sends, half a round trip, and its own work.
func TestAStarTakesOneSendPerAgent(t *testing.T) {
	const agents = 300
	cfg := world.Config{Agents: []int{agents}, Zones: 1}
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	r, err := newRival(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.star()
	got := r.result("star", "").Update
	c := cfg.Costs
	work := c.Receive + 2*c.Verify + c.Store + c.Apply
	first := cfg.Commit() + c.Send + cfg.Network.Zone/2 + work
	last := first + (agents-1)*c.Send
	if want := measure.Millis(last); got.Max != want {
		t.Errorf("the last agent has the update after %.3f ms, arithmetic says %.3f", got.Max, want)
	}
	if got.Count != agents {
		t.Errorf("%d of %d agents have the update", got.Count, agents)
	}
	if traffic := r.w.Host(0).Traffic(); traffic.Messages != agents || traffic.CPU != agents*c.Send {
		t.Errorf("the coordinator sent %d messages in %s", traffic.Messages, traffic.CPU)
	}
}
