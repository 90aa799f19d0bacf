package bench

import (
	"context"
	"testing"
	"time"

	"banyan/coordinator/api"
)

func TestDemoReachesEverybodyAndRefusesEveryAttack(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	result, err := Demo(ctx, DemoConfig{Agents: 6, Changed: []byte(`{"on": true}`), Examples: []api.Draft{
		{Config: "web/flags", Body: []byte(`{"on": false}`), ContentType: "application/json"},
		{Config: "edge/nginx", Body: []byte("worker_processes auto;"), ContentType: "text/plain"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if !result.Refused.All() {
		t.Errorf("refused: %+v", result.Refused)
	}
	if len(result.Steps) != 4 {
		t.Fatalf("steps: %+v", result.Steps)
	}
	for _, s := range result.Steps {
		if s.Applied != 6 || s.MaxMs <= 0 || s.P50Ms > s.MaxMs {
			t.Errorf("step %+v", s)
		}
	}
}

func TestTruthTheDemoOfMishapsSaysWhatIsSo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	told := 0
	r, err := DemoTruth(ctx, DemoTruthConfig{Agents: 4, Say: func(DemoChapter) { told++ }})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Honest() || len(r.Chapters) != 5 || told != 5 {
		t.Errorf("%d chapters, %d told: %+v", len(r.Chapters), told, r)
	}
	r.Chapters[4].Statements[0].True = false
	if r.Honest() {
		t.Error("a false statement counts as honest")
	}
}

func TestFanoutMissesNobody(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := Fanout(ctx, FanoutConfig{Agents: 20, Fanout: 3, Updates: 3})
	if err != nil {
		t.Fatal(err)
	}
	if r.Missed != 0 || r.AppliedP50 <= 0 || r.AppliedP50 < r.VerifiedP50 || r.CPUPerAgentUs <= 0 || r.RollbackMax <= 0 {
		t.Errorf("%+v", r)
	}
}

func TestSummariesTakeQuantiles(t *testing.T) {
	var latencies []time.Duration
	for i := 100; i >= 1; i-- {
		latencies = append(latencies, time.Duration(i)*time.Millisecond)
	}
	if s := summarize(latencies); s.count != 100 || s.p50 != 51 || s.p99 != 100 || s.max != 100 {
		t.Errorf("%+v", s)
	}
	if s := summarize(nil); s != (summary{}) {
		t.Errorf("of nothing: %+v", s)
	}
}
