package rollout

import (
	"reflect"
	"testing"
	"time"

	"banyan/mesh/wire"
	"banyan/record"
)

func TestARolloutWaitsForSubscribersOnly(t *testing.T) {
	tracker := NewTracker()
	now := time.Now()
	tracker.Counted("one", "eu", &wire.Census{Agents: 10, Audiences: []wire.Audience{{Subscriptions: "db", Agents: 4}},
		Quarantined: []wire.Quarantined{
			{Index: 3, Config: "db/main", Position: 1, Audience: 1},
			{Index: 4, Config: "db/main", Position: 1},
			{Index: 5, Config: "web/site", Position: 1, Audience: 1},
		}}, now)
	tracker.Counted("two", "eu", &wire.Census{Agents: 5, Audiences: []wire.Audience{{Subscriptions: wire.SubscribeNothing, Agents: 5}}}, now)
	for config, want := range map[string]Region{
		"db/main":  {Epoch: 2, Known: true, Placed: 10, Agents: 8}, // both in quarantine for it are excused
		"web/site": {Epoch: 2, Known: true, Placed: 6, Agents: 6},  // the one in quarantine for it would not count anyway
	} {
		p := record.Pointer{Config: config, Region: "eu", Epoch: 2, Baseline: ref(1), Phase: record.PhaseActive}
		want.Content = p.Content()
		if got := tracker.Region(p, 2); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", config, got, want)
		}
	}
	eu := tracker.Sizes()["eu"]
	if eu.Agents != 15 || eu.Subscribers("db/main") != 10 || eu.Subscribers("web/site") != 6 {
		t.Errorf("sizes %+v", eu)
	}
}
