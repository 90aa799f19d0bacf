package coordinator

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/internal/quantity"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The JSON of an answer is a promise to programs in other languages. A field that is
// renamed, moved or dropped in a package below must not change the JSON.
func TestTheJSONOfAnswersIsUnchanged(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	for name, answer := range map[string]any{
		"rollout_full":  apiRollout(fullState(at), map[string]rollout.Region{"eu": fullRegion()}),
		"rollout_empty": apiRollout(rollout.State{Regions: map[string]*rollout.RegionState{}}, nil),
		"quarantined":   apiQuarantined(rollout.Quarantined{Quarantined: quarantinedAgent(), Region: "eu", Since: at}),
		"holders_full": api.Holders{
			Config:  "a",
			Version: 3,
			Regions: map[string]api.Heard{"eu": {Agents: 4, Subscribers: 3, Heard: 2}},
			Holders: []api.Holder{
				apiHolder(holder{"eu", wire.Holding{Agent: 1, Name: "eu-agent-1", Whole: true, Form: 1, Shards: 12, Of: 10, Cached: true}}),
				apiHolder(holder{"us", wire.Holding{Name: "x"}}),
			},
		},
		"stored_rollout": fullState(at),
		"stored_sizes":   storedSizes(map[string]rollout.Size{"eu": {Agents: 5, Audiences: []wire.Audience{{Subscriptions: "db,web", Agents: 4}}}, "us": {}}),
		"agent":          apiAgent(place()),
		"agent_bare":     apiAgent(tree.AgentPlace{Name: "bare"}),
	} {
		t.Run(name, func(t *testing.T) { golden(t, name, answer) })
	}
}

func golden(t *testing.T, name string, answer any) {
	raw, err := json.MarshalIndent(answer, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw, '\n')
	path := filepath.Join("testdata", "json", name+".json")
	if *update {
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, raw, want)
	}
}

// fullState has a value other than zero in every field.
func fullState(at time.Time) rollout.State {
	failures := 3
	gates := rollout.Gates{
		MinSuccess:  0.95,
		MaxFailures: &failures,
		MaxGone:     0.2,
		MaxSkew:     quantity.Duration(time.Second),
		Timeout:     quantity.Duration(time.Minute),
		Queries: []rollout.Query{{
			Name:      "errors",
			URL:       "http://prometheus:9090",
			Query:     "rate(errors[1m])",
			Condition: "< 0.5",
			Every:     quantity.Duration(15 * time.Second),
			Limit:     quantity.Duration(time.Minute),
			Strikes:   2,
		}},
		Webhooks: []rollout.Webhook{{
			Name:    "budget",
			URL:     "http://slo/budget",
			Every:   quantity.Duration(15 * time.Second),
			Limit:   quantity.Duration(time.Minute),
			Strikes: 1,
		}},
	}
	return rollout.State{
		ID:      7,
		Config:  "payments/limits",
		Version: 12,
		Plan: rollout.Plan{
			Name:      "careful",
			About:     "for payments",
			Immediate: true,
			Stage:     rollout.Stage{Skip: true, Share: 0.99, Timeout: quantity.Duration(5 * time.Minute)},
			Regions:   [][]string{{"eu"}, {"us", "ap"}},
			Waves: []rollout.Wave{{
				Labels: map[string]string{"canary": "true"},
				Share:  0.1,
				Bake:   quantity.Duration(time.Minute),
				Gates:  &gates,
			}},
			Gates:     gates,
			OnFailure: rollout.FailPause,
		},
		By:        "alice",
		Message:   "raise the limits",
		Status:    rollout.Returning,
		Why:       "gate \"errors\": <too many>",
		End:       rollout.RolledBack,
		Group:     1,
		Wave:      2,
		Part:      rollout.Baking,
		Spent:     1500 * time.Millisecond,
		Short:     500 * time.Millisecond,
		Overdue:   map[string]time.Duration{"errors": 2 * time.Second},
		Skipped:   true,
		Full:      true,
		Regions:   map[string]*rollout.RegionState{"eu": {Baseline: record.Ref{Version: 11, Digest: record.Digest{11}}, Began: 4, Epoch: 6, Left: true, Bound: 2_500_000, Filled: true, Waived: true, Agents: 100, InWave: 10, Counted: 6}, "us": {}},
		Approver:  "bob",
		Started:   at,
		Ended:     at.Add(time.Minute),
		Decided:   at.Add(time.Second),
		Recovered: at.Add(2 * time.Second),
		Exposed:   9,
		Log:       []rollout.Entry{{At: at, What: "rollout 7 of payments/limits version 12 started by alice"}},
	}
}

func fullRegion() rollout.Region {
	return rollout.Region{
		Epoch:   6,
		Known:   true,
		Placed:  101,
		Agents:  100,
		InWave:  10,
		Applied: 9,
		Running: 8,
		Failed:  1,
		Skew:    3 * time.Millisecond,
		Reasons: []string{"eu-agent-1: check failed"},
	}
}

func quarantinedAgent() wire.Quarantined {
	return wire.Quarantined{Index: 3, Name: "eu-agent-3", Config: "payments/limits", Position: record.At(1, 5), Reason: "check failed", Millis: 1200, Audience: 2}
}

func place() tree.AgentPlace {
	return tree.AgentPlace{
		Index:         4,
		Name:          "eu-agent-4",
		Addr:          "10.0.0.4:7400",
		Relay:         true,
		Labels:        map[string]string{"zone": "a"},
		Parent:        "eu-agent-1",
		Depth:         2,
		Children:      3,
		Attached:      true,
		Confined:      true,
		Accuser:       "eu-agent-9",
		Subscriptions: []string{},
		Clones:        []string{"10.0.0.4:7400", "10.0.0.9:7400"},
	}
}
