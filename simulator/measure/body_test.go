package measure

import (
	"strings"
	"testing"
	"time"

	"banyan/record"
	"banyan/simulator/world"
)

func bodyConfig(seed uint64, agents, regions int) world.Config {
	matrix, err := world.Preset("ibm-2024")
	if err == nil {
		matrix, err = matrix.First(regions)
	}
	if err != nil {
		panic(err) // embedded
	}
	return world.Config{Seed: seed, Agents: world.Uniform(agents, regions), Heads: world.DefaultHeads, Fanout: 16, BodyBytes: 8 << 20,
		Network: world.Network{Matrix: matrix, UpBps: 100e6, DownBps: 100e6}}
}

func TestACacheThatIsFullDeclinesAndEveryoneIsServed(t *testing.T) {
	cfg := bodyConfig(7, 80, 1)
	cfg.RelayShare, cfg.CacheLimit, cfg.Fanout = 0.9, 8*record.MaxShardBytes, 3
	r, err := Begin(cfg, "a")
	if err != nil {
		t.Fatal(err)
	}
	declines := 0
	r.World.Trace(func(line string) { declines += strings.Count(line, "declines") })
	u := r.Spread(world.Change{Config: "a", Version: 2}, 0)
	if missing := r.Waiting(u); missing > 0 {
		t.Errorf("%d hosts did not get it", missing)
	}
	if declines == 0 {
		t.Error("nothing was declined: the run shows nothing")
	}
	for i := range r.World.Agents() {
		if used := r.World.Host(i).Node().CacheUsed(); used > cfg.CacheLimit {
			t.Errorf("host %d keeps %d bytes for others, the limit is %d", i, used, cfg.CacheLimit)
		}
	}
}

func TestACapacityRunTellsOfItsBodyAndOfAllTraffic(t *testing.T) {
	r, err := Fleet(bodyConfig(5, 60, 1))
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
	r, err := Begin(cfg, config)
	if err != nil {
		t.Fatal(err)
	}
	w := r.World
	w.Run(w.Now().Add(5 * time.Second))
	r.Meter.Move(world.Change{Config: config, Version: 2}, false)
	w.Run(w.Now().Add(200 * time.Millisecond)) // of some 700 that it takes
	back := r.Update(world.Change{Config: config, Version: 1}, true)
	if back.Missing != 0 {
		t.Fatalf("%d hosts did not go back", back.Missing)
	}
	before := w.BodyTraffic().Shards
	w.Run(w.Now().Add(10 * time.Second))
	if after := w.BodyTraffic().Shards; after > before {
		t.Errorf("%d shards still came of a version that nobody wants", after-before)
	}
}

func TestAHostThatRestartsGoesOnWhereItWas(t *testing.T) {
	const config = "capacity/body"
	r, err := Begin(bodyConfig(4, 60, 1), config)
	if err != nil {
		t.Fatal(err)
	}
	w := r.World
	w.Run(w.Now().Add(5 * time.Second))
	u := r.Meter.Move(world.Change{Config: config, Version: 2}, false)
	w.Run(w.Now().Add(400 * time.Millisecond))
	victim := int32(w.Regions())
	had := w.Host(victim).Shards(world.Key(config, 2))
	if had == 0 {
		t.Fatal("the host had nothing yet: the test shows nothing")
	}
	w.Crash(victim)
	w.Run(w.Now().Add(time.Second))
	w.Start(victim)
	w.RunUntil(w.Now().Add(UpdateLimit), 10*time.Millisecond, func() bool { return u.Missing == 0 })
	if u.Missing != 0 {
		t.Fatalf("%d hosts did not get it", u.Missing)
	}
	t.Logf("it had %d shards when it died", had)
}
