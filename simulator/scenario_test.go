package simulator

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

const small = `
name: small
duration: 20s
fleet: {agents: 60, regions: 3, fanout: 4}
network: {matrix: ibm-2024, loss: 1%, jitter: 1%, link: 1Gbps}
traffic:
  - {at: 1s, config: a/b, every: 2s, count: 3, body: 2KiB}
  - {at: 9s, config: a/b, rollback: true}
faults:
  - {at: 3s, for: 4s, kind: crash, target: "relays:50%"}
  - {at: 2s, for: 5s, kind: cut, target: region:toronto, to: leader, oneWay: true}
assert: [missed == 0, p99 < 60s, rollback_p99 < 60s, coverage == 100%]
`

func parse(t *testing.T, text string) *Scenario {
	t.Helper()
	s, err := ParseScenario([]byte(text), "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAScenarioRunsAndTellsWhetherItsAssertionsHold(t *testing.T) {
	r, err := parse(t, small).Run(nil)
	if err != nil {
		t.Fatal(err)
	}
	if failed := r.Failed(); len(failed) > 0 {
		t.Errorf("does not hold: %+v", failed)
	}
	if r.Updates != 4 || r.Rest.Count == 0 || r.Rollback.Count == 0 || len(r.ByRegion) != 3 || len(r.Timeline) < 100 {
		t.Errorf("report: %d updates, %d and %d applies, %d regions, %d samples", r.Updates, r.Rest.Count, r.Rollback.Count, len(r.ByRegion), len(r.Timeline))
	}
	least := 1.0
	for _, s := range r.Timeline {
		least = min(least, s.Up)
	}
	if least == 1 {
		t.Error("relays crashed and the timeline does not show it")
	}
	r, err = parse(t, strings.Replace(small, "p99 < 60s", "p99 < 1us", 1)).Run(nil)
	if err != nil {
		t.Fatal(err)
	}
	if failed := r.Failed(); len(failed) != 1 || failed[0].Text != "p99 < 1us" {
		t.Errorf("p99 < 1us holds: %+v", r.Assertions)
	}
}

func TestOneScenarioPrintsTheSameBytesTwice(t *testing.T) {
	print := func() []byte {
		r, err := parse(t, small).Run(nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if a, b := print(), print(); !bytes.Equal(a, b) {
		t.Error("two runs print different reports")
	}
}

func TestTheLibraryIsValid(t *testing.T) {
	all := Scenarios()
	if len(all) < 5 {
		t.Errorf("the library has %d scenarios", len(all))
	}
	for name := range all {
		s, err := LoadScenario(name)
		if err != nil {
			t.Fatal(err)
		}
		if s.Name != name || s.About == "" || len(s.Assert) == 0 {
			t.Errorf("%s: name %q, about %q, %d assertions", name, s.Name, s.About, len(s.Assert))
		}
	}
}

// Each scenario of the library, with a tenth of its hosts. The full ones are `make sim`.
func TestTheLibraryHoldsOnSmallerFleets(t *testing.T) {
	for name := range Scenarios() {
		t.Run(name, func(t *testing.T) {
			s, err := LoadScenario(name)
			if err != nil {
				t.Fatal(err)
			}
			s.Fleet.Agents /= 10
			if s.Fleet.Agents < 1500 {
				s.Fleet.Fanout = 8
			}
			r, err := s.Run(nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range r.Failed() {
				t.Errorf("%s: it is %g", a.Text, a.Value)
			}
		})
	}
}

func TestBadScenariosAreRefusedWithTheirPlace(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"not YAML":             {"name: [", "YAML"},
		"no fleet":             {"name: x\nduration: 1s\n", "fleet"},
		"unknown key":          {"name: x\nduration: 1s\nfleet: {agents: 1, colour: red}\n", "colour"},
		"duration":             {"name: x\nduration: soon\nfleet: {agents: 1}\n", "line 2"},
		"too many agents":      {"name: x\nduration: 1s\nfleet: {agents: 99000000}\n", "maximum"},
		"unknown matrix":       {"name: x\nduration: 1s\nfleet: {agents: 1}\nnetwork: {matrix: moon}\n", "no matrix"},
		"too many regions":     {"name: x\nduration: 1s\nfleet: {agents: 1, regions: 99}\n", "regions"},
		"unknown region":       {"name: x\nduration: 1s\nfleet: {agents: 9}\nfaults: [{at: 0s, kind: crash, target: 'region:moon'}]\n", "moon"},
		"unknown target":       {"name: x\nduration: 1s\nfleet: {agents: 9}\nfaults: [{at: 0s, kind: crash, target: all}]\n", "relays:SHARE"},
		"agent number":         {"name: x\nduration: 1s\nfleet: {agents: 9, regions: 1}\nfaults: [{at: 0s, kind: crash, target: 'agent:dallas/9'}]\n", "0 to 8"},
		"fault after the end":  {"name: x\nduration: 1s\nfleet: {agents: 9}\nfaults: [{at: 5s, kind: crash, target: leader}]\n", "after the end"},
		"other side":           {"name: x\nduration: 1s\nfleet: {agents: 9}\nfaults: [{at: 0s, kind: crash, target: leader, to: leader}]\n", "other side"},
		"config name":          {"name: x\nduration: 1s\nfleet: {agents: 9}\ntraffic: [{config: '../etc'}]\n", "config"},
		"no interval":          {"name: x\nduration: 1s\nfleet: {agents: 9}\ntraffic: [{config: a, count: 5}]\n", "every"},
		"more than can be":     {"name: x\nduration: 1s\nfleet: {agents: 1000000}\ntraffic: [{config: a, count: 1000, every: 1s}]\n", "at most"},
		"unknown metric":       {"name: x\nduration: 1s\nfleet: {agents: 9}\nassert: [p98 < 1s]\n", "no metric"},
		"half an assertion":    {"name: x\nduration: 1s\nfleet: {agents: 9}\nassert: [p99]\n", "OPERATOR"},
		"shrinking waves":      {"name: x\nduration: 1s\nfleet: {agents: 9}\nrollouts: [{config: a, waves: [10%, 5%, 100%], bake: 1s}]\n", "grow"},
		"waves that end early": {"name: x\nduration: 1s\nfleet: {agents: 9}\nrollouts: [{config: a, waves: [10%], bake: 1s}]\n", "100%"},
	} {
		_, err := ParseScenario([]byte(c.text), "")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to say %q", name, err, c.want)
		}
	}
	if _, err := LoadScenario("nowhere.yaml"); err == nil || !strings.Contains(err.Error(), "zone-outage") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func FuzzParseScenario(f *testing.F) {
	f.Add([]byte(small))
	for _, name := range ScenarioNames() {
		raw, err := library.ReadFile("scenarios/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := ParseScenario(raw, ""); err == nil && s.Name == "" {
			t.Error("a scenario without a name was taken")
		}
	})
}

func TestABadVersionStopsAtItsCanaries(t *testing.T) {
	const text = `
name: bad
duration: 60s
fleet: {agents: 2000, regions: 2, fanout: 16}
traffic: [{at: 1s, config: a}]
rollouts: [{at: 5s, config: a, waves: [WAVES], bake: 10s, maxFailures: 1%, BAD}]
`
	run := func(waves, bad string) RolloutResult {
		r, err := parse(t, strings.NewReplacer("WAVES", waves, "BAD", bad).Replace(text)).Run(nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Missed != 0 {
			t.Errorf("waves %s, %s: %d missed", waves, bad, r.Missed)
		}
		return r.Rollouts[0]
	}
	refused := run("2%, 50%, 100%", "refusing: 33%")
	if !refused.RolledBack || refused.ExposedShare > 0.02 || refused.Refused == 0 || refused.Reached != "2%" {
		t.Errorf("a version that a third refuse: %+v", refused)
	}
	broken := run("2%, 50%, 100%", "breaking: 50%, after: 2s")
	if !broken.RolledBack || broken.ExposedShare > 0.03 || broken.DetectSeconds < 2 {
		t.Errorf("a version that breaks after two seconds: %+v", broken)
	}
	if all := run("100%", "refusing: 33%"); !all.RolledBack || all.ExposedShare < 0.1 {
		t.Errorf("the same without canaries: %+v", all)
	}
	if good := run("2%, 50%, 100%", "refusing: 0%"); good.RolledBack || good.Exposed != 2000 || good.Reached != "100%" {
		t.Errorf("a good version: %+v", good)
	}
}

func TestStrategiesCostWhatTheirShapeSays(t *testing.T) {
	all, err := Compare(Config{Seed: 1, Agents: []int{600, 600}, Fanout: 16}, Comparison{Poll: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]StrategyResult{}
	for _, s := range all {
		by[s.Strategy] = s
		if s.Missed != 0 || s.Update.Count != 1200 {
			t.Errorf("%s: %d of 1200 applied, %d missed", s.Strategy, s.Update.Count, s.Missed)
		}
	}
	tree, star, pull, gossip := by["tree"], by["star"], by["pull"], by["gossip"]
	if star.Busiest.Messages < 600 || tree.Busiest.Messages > 100 {
		t.Errorf("messages of the busiest coordinator: star %d, tree %d", star.Busiest.Messages, tree.Busiest.Messages)
	}
	if tree.Update.P99 >= star.Update.P99 || star.Update.P99 >= gossip.Update.P99 || gossip.Update.P99 >= pull.Update.P99 {
		t.Errorf("p99: tree %.0f, star %.0f, gossip %.0f, pull %.0f ms", tree.Update.P99, star.Update.P99, gossip.Update.P99, pull.Update.P99)
	}
	// Half the interval on average, and the whole of it at worst.
	if pull.Update.P50 < 4000 || pull.Update.P50 > 6000 || pull.Update.Max > 11_000 {
		t.Errorf("polling every 10 s: p50 %.0f, max %.0f ms", pull.Update.P50, pull.Update.Max)
	}
	if gossip.Traffic.Bytes < 3*tree.Traffic.Bytes {
		t.Errorf("bytes: gossip %d, tree %d", gossip.Traffic.Bytes, tree.Traffic.Bytes)
	}
	if share := by["tree, canary first"].ExposedShare; share == 0 || share > 0.03 {
		t.Errorf("with a canary first, %.3f of the hosts ran the bad version", share)
	}
}

func TestASweepMarksTheBestOfEachSize(t *testing.T) {
	rows, err := Sweep{Nodes: []int{200, 800}, Fanouts: []int{2, 16, 400}}.Run(Config{Seed: 1, Agents: []int{0, 0}}, func(SweepRow) {})
	if err != nil {
		t.Fatal(err)
	}
	best := map[int]int{}
	for _, r := range rows {
		if r.Missed != 0 {
			t.Errorf("%d nodes, fan-out %d: %d missed", r.Nodes, r.Fanout, r.Missed)
		}
		if r.Best {
			best[r.Nodes]++
		}
	}
	if len(rows) != 6 || best[200] != 1 || best[800] != 1 {
		t.Errorf("%d rows, best of each size: %v", len(rows), best)
	}
	if sizes, err := Sizes(1000, 100_000, 3); err != nil || len(sizes) != 3 || sizes[1] != 10_000 {
		t.Errorf("three sizes from 1000 to 100000: %v, %v", sizes, err)
	}
	for _, bad := range [][3]int{{0, 10, 2}, {10, 5, 2}, {1, MaxAgents + 1, 2}, {1, 2, 0}} {
		if _, err := Sizes(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("sizes %v were taken", bad)
		}
	}
}

// The claim of the README on a fleet of a test's size: 99% within 1.3 × the floor,
// and the floor itself is not undercut.
func TestAFleetStaysNearThePhysicalFloor(t *testing.T) {
	r, err := Simulate(Config{Seed: 1, Agents: Uniform(5000, 10), Fanout: 32, Heads: DefaultHeads, Network: NetworkModel{Loss: 0.001}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Missed != 0 || r.RatioToBound > 1.3 || r.RollbackRatio > 1.3 || r.RatioToBound < 1 {
		t.Errorf("missed %d, update %.2f, rollback %.2f of the floor", r.Missed, r.RatioToBound, r.RollbackRatio)
	}
	if r.Max < r.Bound {
		t.Errorf("the last host had it %.1f ms after, the floor is %.1f", r.Max, r.Bound)
	}
	if len(r.Capacity.Words) < 5 || r.Capacity.Coordinators != 10 {
		t.Errorf("capacity: %+v", r.Capacity)
	}
}

func TestARunCanBeStopped(t *testing.T) {
	done := make(chan struct{})
	close(done)
	if _, err := Simulate(Config{Agents: []int{2000}, Done: done}); err != ErrStopped {
		t.Errorf("got %v, want ErrStopped", err)
	}
}
