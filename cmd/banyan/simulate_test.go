package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func simulate(t *testing.T, code int, words []string, args ...string) result {
	t.Helper()
	args = append([]string{"simulate"}, args...)
	return expect(t, runCLI(t, "", args...), code, words, args)
}

func TestASimulationPrintsWhatAPlannerAsks(t *testing.T) {
	r := simulate(t, 0, nil, "--nodes", "600", "--regions", "3", "-o", "json")
	var got map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"nodes", "regions", "seed", "p50_ms", "p99_ms", "max_ms", "bound_ms", "ratio_to_bound", "events", "wall_s", "peak_rss_bytes", "capacity"} {
		if _, ok := got[field]; !ok {
			t.Errorf("the report lacks %s", field)
		}
	}
	if got["nodes"] != 600.0 || got["regions"] != 3.0 || got["missed"] != 0.0 {
		t.Errorf("nodes %v, regions %v, missed %v", got["nodes"], got["regions"], got["missed"])
	}
	page := filepath.Join(t.TempDir(), "report.html")
	simulate(t, 0, []string{"gossip", "coordinators", "What breaks first"}, "--nodes", "300", "--regions", "2", "--compare", "--html", page)
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "<svg") {
		t.Errorf("the page: %d bytes, %v", len(html), err)
	}
}

func TestOneSeedPrintsTheSameBytes(t *testing.T) {
	args := []string{"--nodes", "400", "--regions", "4", "--seed", "7", "--loss", "1%", "--jitter", "2%", "--reproducible", "-o", "json"}
	a, b := simulate(t, 0, nil, args...), simulate(t, 0, nil, args...)
	if a.stdout != b.stdout {
		t.Error("two runs of one seed print different bytes")
	}
	args[5] = "8"
	if c := simulate(t, 0, nil, args...); c.stdout == a.stdout {
		t.Error("two seeds print the same")
	}
}

func TestAScenarioThatDoesNotHoldFails(t *testing.T) {
	text := "name: x\nduration: 5s\nfleet: {agents: 50, regions: 2}\ntraffic: [{at: 1s, config: a}]\nassert: [missed == 0, p99 < 1us]\n"
	simulate(t, exitFailed, []string{"1 of 2 assertions", "p99 < 1us", "DOES NOT HOLD"}, "run", file(t, "bad.yaml", text))
	simulate(t, 0, []string{"holds"}, "run", file(t, "good.yaml", strings.Replace(text, "1us", "10s", 1)))
	simulate(t, exitRejected, []string{"line 3", "agents"}, "run", file(t, "broken.yaml", "name: x\nduration: 5s\nfleet: {agents: many}\n"))
	simulate(t, exitFailed, []string{"bad-deploy"}, "run", "no-such-scenario")
	simulate(t, 0, []string{"black-friday", "zone-outage"}, "scenarios")
}

func TestHostileSeedsAndOneOfThemInWords(t *testing.T) {
	simulate(t, 0, []string{"20 seeds", "0 failed"}, "fuzz", "--seeds", "20")
	simulate(t, 0, []string{"fleet:", "fault 0", "applies", "history"}, "fuzz", "--seed", "5", "--trace")
	simulate(t, exitUsage, []string{"go with --seed"}, "fuzz", "--trace")
	simulate(t, exitUsage, []string{"--faults"}, "fuzz", "--seed", "1", "--faults", "999")
}

func TestASweepNamesTheBestFanOut(t *testing.T) {
	r := simulate(t, 0, nil, "sweep", "--nodes", "100..400", "--steps", "2", "--fanout", "2,16", "--regions", "2", "-o", "json")
	var rows []struct {
		Nodes int
		Best  bool
	}
	if err := json.Unmarshal([]byte(r.stdout), &rows); err != nil || len(rows) != 4 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	simulate(t, exitUsage, []string{"FROM..TO"}, "sweep", "--nodes", "few..many")
	simulate(t, exitRejected, []string{"from 9 to 3"}, "sweep", "--nodes", "9..3")
}

func TestBadSimulationsAreRefused(t *testing.T) {
	simulate(t, exitRejected, []string{"no matrix", "ibm-2024"}, "--matrix", "moon")
	simulate(t, exitRejected, []string{"99 regions"}, "--regions", "99")
	simulate(t, exitUsage, []string{"share"}, "--loss", "much")
	simulate(t, exitUsage, []string{"quantity"}, "--link", "fast")
	simulate(t, exitRejected, []string{"row 1"}, "--matrix", file(t, "m.csv", "from,a\nb,0\n"))
}

// A number, size or duration that makes no sense is a usage error that names the flag. It
// does not silently become the default.
func TestFlagsOutOfRangeAreUsageErrors(t *testing.T) {
	for _, line := range []string{
		"simulate --nodes 0",
		"simulate --nodes -5 --regions 1",
		"simulate --fanout 0",
		"simulate --regions -1",
		"simulate --zones 0",
		"simulate --loss 100%",
		"simulate --body 0B",
		"simulate --heads -1s",
		"simulate --compare --poll 0s",
		"simulate --compare --detect 0s",
		"simulate --compare --updates-per-day 0",
		"simulate --compare --price-zone -1",
		"simulate sweep --steps 0",
		"simulate sweep --fanout 8,0",
		"simulate bodies --nodes 0",
		"simulate rollouts --look 0s",
		"simulate rollouts --after -1s",
		"simulate fuzz --seeds 0",
		"bench fanout --agents 0",
		"bench fanout --fanout -1",
		"bench fanout --updates 1",
		"bench fanout --body 0",
		"bench fanout --loss 100%",
		"bench fanout --delay -1ms",
		"bench body --agents 0",
		"bench body --body 0B",
		"bench body --link 0bps",
		"bench body --runs 0",
		"bench body --only nonsense",
		"bench rollback --agents 0",
		"bench rollback --size-agents 0",
		"bench rollback --rounds 0",
		"bench rollback --size-rounds -3",
		"bench rollback --small 0B",
		"bench idle --agents 0",
		"bench idle --for 0s",
		"bench calibrate --agents -1",
		"bench calibrate --fanout 0",
		"demo --agents 0",
		"demo rollout --agents 9",
	} {
		args := strings.Fields(line)
		flag := args[len(args)-2]
		if line == "simulate --nodes -5 --regions 1" {
			flag = "--nodes"
		}
		expect(t, runCLI(t, "", args...), exitUsage, []string{flag}, args)
	}
}

// --push-limit 0 means that no body is pushed, so every host fetches the body and an update
// takes longer than with a push.
func TestAPushLimitOfZeroPushesNothing(t *testing.T) {
	p50 := func(limit string) float64 {
		r := simulate(t, 0, nil, "--nodes", "200", "--regions", "1", "--push-limit", limit, "-o", "json")
		var got struct {
			P50 float64 `json:"p50_ms"`
		}
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
			t.Fatal(err)
		}
		return got.P50
	}
	if none, some := p50("0"), p50("16KiB"); none <= some {
		t.Errorf("p50 is %.1f ms without a push and %.1f ms with a push", none, some)
	}
}
