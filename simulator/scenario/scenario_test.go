package scenario

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
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
	s, err := Parse([]byte(text), "")
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
	all := Library()
	if len(all) < 5 {
		t.Errorf("the library has %d scenarios", len(all))
	}
	for name := range all {
		s, err := Load(name)
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
	for name := range Library() {
		t.Run(name, func(t *testing.T) {
			s, err := Load(name)
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
		_, err := Parse([]byte(c.text), "")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to say %q", name, err, c.want)
		}
	}
	if _, err := Load("nowhere.yaml"); err == nil || !strings.Contains(err.Error(), "zone-outage") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	for _, name := range Names() {
		raw, err := library.ReadFile("scenarios/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := Parse(raw, ""); err == nil && s.Name == "" {
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
