package coordinator

import (
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/coordinator/api"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
)

func TestACoordinatorDescribesItself(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", `{}`)
	s, err := f.alice.Status(f.ctx)
	if err != nil || s.Region != "eu" || !s.Leads || s.Version != "test" || s.Revision == 0 || s.Agents["eu"] != 0 {
		t.Errorf("status %+v, %v", s, err)
	}
	if agents, err := f.alice.Agents(f.ctx); err != nil || len(agents) != 0 {
		t.Errorf("agents %+v, %v", agents, err)
	}
}

func TestTheQuarantineIsListedAndReleased(t *testing.T) {
	f := newFixture(t, nil)
	census := func(coordinator, region, agent string) {
		c := &wire.Census{Agents: 1, Quarantined: []wire.Quarantined{{Index: 3, Name: agent, Config: "a", Position: record.At(1, 5), Reason: "check failed", Millis: 1000}}}
		f.tracker.with(func(t *rollout.Tracker) { t.Counted(coordinator, region, c, time.Now()) })
	}
	// A second coordinator of the region, and one of another, report. The censuses of the
	// first do not replace theirs.
	census("second", "eu", "eu-agent-3")
	census("other", "us", "us-agent-3")
	agents, err := f.alice.Quarantined(f.ctx)
	if err != nil || len(agents) != 2 || agents[0].Name != "eu-agent-3" || agents[0].Reason != "check failed" || time.Since(agents[0].Since) < time.Second {
		t.Errorf("quarantined %+v, %v", agents, err)
	}
	f.refuses("an agent that is not in quarantine", f.alice.Release(f.ctx, "none"), api.CodeNotFound)
	f.refuses("an agent of another region", f.alice.Release(f.ctx, "us-agent-3"), api.CodeRejected)
	if err := f.alice.Release(f.ctx, "eu-agent-3"); err != nil {
		t.Error(err)
	}
}

func TestDriftIsListedUntilItIsGone(t *testing.T) {
	f := newFixture(t, nil)
	report := func(agent string, state wire.DriftState) {
		f.tracker.drifted(&wire.Drift{Region: "eu", Name: agent, Config: "a", Version: 3, State: state})
	}
	report("b", wire.DriftSeen)
	report("a", wire.DriftSeen)
	report("b", wire.DriftRepaired)
	drifts, err := f.alice.Drifts(f.ctx)
	if err != nil || len(drifts) != 2 || drifts[0].Agent != "a" || drifts[0].Repaired || !drifts[1].Repaired || drifts[1].Version != 3 {
		t.Errorf("drifts %+v, %v", drifts, err)
	}
	report("a", wire.DriftGone)
	report("c", wire.DriftGone)
	if drifts, err := f.alice.Drifts(f.ctx); err != nil || len(drifts) != 1 || drifts[0].Agent != "b" {
		t.Errorf("drifts %+v, %v", drifts, err)
	}
}

func TestDriftIsBounded(t *testing.T) {
	tr := newTracker()
	for i := range maxDrift + 10 {
		tr.drifted(&wire.Drift{Region: "eu", Name: string(rune('a'+i%26)) + time.Duration(i).String(), Config: "a", State: wire.DriftSeen})
	}
	if n := len(tr.allDrifts()); n != maxDrift {
		t.Errorf("%d drifts are kept, want %d", n, maxDrift)
	}
}

func TestStatusHasTheAcknowledgements(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", `{}`)
	moved, err := f.alice.Activate(f.ctx, "a", api.Activate{Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	e := wire.NewAckEntry(moved[0].Key(), moved[0].Position(), moved[0].Digest())
	e.Applied.AddMany([]uint32{1, 2})
	e.Failed.Add(3)
	e.Failures = []wire.Failure{{Agent: 3, Name: "eu-agent-3", Reason: "disk full", Attempts: 2}}
	e.Latency.Add(1000)
	c := &wire.Census{Agents: 3}
	if err := c.SetPresent(roaring.BitmapOf(1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	f.tracker.with(func(t *rollout.Tracker) {
		t.Counted("another cell", "eu", c, time.Now())
		t.Moved(moved[0].Pointer) // the watch of the store may not have come to it
		t.Acked(e)
	})
	s, err := f.alice.ConfigStatus(f.ctx, "a")
	if err != nil || len(s.Regions) != 1 {
		t.Fatalf("status %+v, %v", s, err)
	}
	eu := s.Regions[0]
	if eu.Applied != 2 || eu.Failed != 1 || eu.Latency == nil || eu.Latency.MaxMs == 0 || len(eu.Failures) != 1 || eu.Failures[0] != (api.Failure{Agent: "eu-agent-3", Reason: "disk full", Attempts: 2}) {
		t.Errorf("status of eu: %+v", eu)
	}
}
