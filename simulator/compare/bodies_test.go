package compare

import (
	"testing"

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

func TestABodyReachesEveryLiveHostWhateverHappens(t *testing.T) {
	for _, b := range BodyRuns() {
		r, err := Body(bodyConfig(1, 150, 1), b)
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

func TestCoordinatorsOfOtherRegionsTradeABody(t *testing.T) {
	r, err := Body(bodyConfig(2, 200, 5), BodyRun{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Missed != 0 || r.RatioToLineRate > 1.6 {
		t.Errorf("missed %d, %.2f × line rate", r.Missed, r.RatioToLineRate)
	}
}
