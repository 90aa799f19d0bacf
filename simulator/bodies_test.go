package simulator

import (
	"strings"
	"testing"
	"time"

	"banyan/record"
)

func bodyConfig(seed uint64, agents, regions int) Config {
	matrix, err := Preset("ibm-2024")
	if err == nil {
		matrix, err = matrix.First(regions)
	}
	if err != nil {
		panic(err) // embedded
	}
	return Config{Seed: seed, Agents: Uniform(agents, regions), Heads: DefaultHeads, Fanout: 16, BodyBytes: 8 << 20,
		Network: NetworkModel{Matrix: matrix, UpBps: 100e6, DownBps: 100e6}}
}

func TestABodyReachesEveryLiveHostWhateverHappens(t *testing.T) {
	for _, b := range BodyRuns() {
		r, err := SimulateBody(bodyConfig(1, 150, 1), b)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s, %s: %.2f × line rate, %.1f%% twice", r.Arrangement, r.Condition, r.RatioToLineRate, 100*r.DuplicateShare)
		if r.Missed != 0 {
			t.Errorf("%s, %s: %d live hosts did not get it", r.Arrangement, r.Condition, r.Missed)
		}
		if r.DuplicateShare > 0.1 {
			t.Errorf("%s, %s: %.0f%% of the shards came twice", r.Arrangement, r.Condition, 100*r.DuplicateShare)
		}
		if (b.Relays > 0) != (r.Relays > 0) {
			t.Errorf("%s, %s: %d hosts relay alone", r.Arrangement, r.Condition, r.Relays)
		}
		if b == (BodyRun{}) && r.RatioToLineRate > 1.5 {
			t.Errorf("circles took %.2f × line rate", r.RatioToLineRate)
		}
		if b.Poison > 0 && r.Poisoned == 0 {
			t.Error("nobody was sent poison: the run shows nothing")
		}
	}
}

func TestACacheThatIsFullDeclinesAndEveryoneIsServed(t *testing.T) {
	cfg := bodyConfig(7, 80, 1)
	cfg.RelayShare, cfg.CacheLimit, cfg.Fanout = 0.9, 8*record.MaxShardBytes, 3
	r, err := newRun(cfg, "a")
	if err != nil {
		t.Fatal(err)
	}
	declines := 0
	r.w.Trace(func(line string) { declines += strings.Count(line, "declines") })
	u := r.spread(Change{Config: "a", Version: 2}, 0)
	if missing := r.waiting(u); missing > 0 {
		t.Errorf("%d hosts did not get it", missing)
	}
	if declines == 0 {
		t.Error("nothing was declined: the run shows nothing")
	}
	for i := range r.w.agents() {
		if used := r.w.hosts[i].node.CacheUsed(); used > cfg.CacheLimit {
			t.Errorf("host %d keeps %d bytes for others, the limit is %d", i, used, cfg.CacheLimit)
		}
	}
}

func TestCoordinatorsOfOtherRegionsTradeABody(t *testing.T) {
	r, err := SimulateBody(bodyConfig(2, 200, 5), BodyRun{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Missed != 0 || r.RatioToLineRate > 1.6 {
		t.Errorf("missed %d, %.2f × line rate", r.Missed, r.RatioToLineRate)
	}
}

func TestACapacityRunTellsOfItsBodyAndOfAllTraffic(t *testing.T) {
	r, err := Simulate(bodyConfig(5, 60, 1))
	if err != nil {
		t.Fatal(err)
	}
	total, hosts := int64(0), 0
	for _, role := range r.Roles {
		total, hosts = total+role.Total.Bytes, hosts+role.Hosts
	}
	if whole := int64(hosts-1) * r.Body.Bytes; total < whole || total > whole*5/4 {
		t.Errorf("%d hosts sent %d bytes for a body of %d", hosts, total, r.Body.Bytes)
	}
	if shards := float64(r.Body.Bytes) / (32 << 10); r.Body.Messages < shards || r.Body.Messages > 2*shards {
		t.Errorf("a host sent %.0f messages for %.0f shards", r.Body.Messages, shards)
	}
}

func TestABodyThatNoPointerNamesAnyMoreIsGivenUp(t *testing.T) {
	cfg := bodyConfig(3, 60, 1)
	const config = "capacity/body"
	r, err := newRun(cfg, config)
	if err != nil {
		t.Fatal(err)
	}
	w := r.w
	w.Run(w.now.Add(5 * time.Second))
	r.meter.move(Change{Config: config, Version: 2}, false)
	w.Run(w.now.Add(200 * time.Millisecond)) // of some 700 that it takes
	back := r.update(Change{Config: config, Version: 1}, true)
	if back.missing != 0 {
		t.Fatalf("%d hosts did not go back", back.missing)
	}
	before := w.bodies.Shards
	w.Run(w.now.Add(10 * time.Second))
	if after := w.bodies.Shards; after > before {
		t.Errorf("%d shards still came of a version that nobody wants", after-before)
	}
}

func TestAHostThatRestartsGoesOnWhereItWas(t *testing.T) {
	const config = "capacity/body"
	r, err := newRun(bodyConfig(4, 60, 1), config)
	if err != nil {
		t.Fatal(err)
	}
	w := r.w
	w.Run(w.now.Add(5 * time.Second))
	u := r.meter.move(Change{Config: config, Version: 2}, false)
	w.Run(w.now.Add(400 * time.Millisecond))
	key := record.FormKey{VersionKey: versionKey(config, 2)}
	victim := int32(w.regions())
	had := w.hosts[victim].disk.partial[key].Count()
	if had == 0 {
		t.Fatal("the host had nothing yet: the test shows nothing")
	}
	w.Crash(victim)
	w.Run(w.now.Add(time.Second))
	w.Start(victim)
	w.RunUntil(w.now.Add(updateLimit), 10*time.Millisecond, func() bool { return u.missing == 0 })
	if u.missing != 0 {
		t.Fatalf("%d hosts did not get it", u.missing)
	}
	t.Logf("it had %d shards when it died", had)
}
