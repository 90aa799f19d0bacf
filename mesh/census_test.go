package mesh

import (
	"fmt"
	"reflect"
	"testing"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// A coordinator that follows knows its own quarantine: it is asked to release from it.
func TestAFollowerCountsForItselfToo(t *testing.T) {
	n := NewNode(Config{Self: wire.Identity{Role: wire.RoleCoordinator, Region: "us", Name: "follower"}, Description: wire.Description{Relay: true}, Seeds: []string{"leader:1"}, Planner: NewPlanner(PlannerConfig{})})
	out := n.Step(0, step.Input{Kind: step.InCensus}, nil)
	if len(out) != 1 || out[0].Op != step.OpCensus || out[0].Name != "follower" || out[0].Region != "us" {
		t.Errorf("a follower that is not attached tells of its census: %+v", out)
	}
}

// root is a coordinator under which agents with certain subscriptions are.
func root(t *testing.T, subscriptions ...wire.Subscriptions) *Node {
	p := NewPlanner(PlannerConfig{Fanout: len(subscriptions)})
	n := NewNode(Config{Self: wire.Identity{Role: wire.RoleCoordinator, Region: "eu", Name: "root"}, Description: wire.Description{Relay: true}, HoldsAll: true, Planner: p})
	for i, s := range subscriptions {
		if _, err := p.Join(0, fmt.Sprint("agent-", i), &wire.Join{Description: wire.Description{Addr: "a:1", Relay: true, Subscriptions: s}}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestWhoDoesNotSubscribeIsNotCounted(t *testing.T) {
	n := root(t, "", "db web", wire.SubscribeNothing, "db web", "web/site", "")
	pointer := record.Pointer{Config: "web/site/flags", Region: "eu", Epoch: 3, Baseline: 1, Candidate: 2, Wave: record.Wave{Share: record.WholeFleet}, Phase: record.PhaseActive}
	n.Step(0, step.Input{Kind: step.InPublish, Announcement: &wire.Announcement{Revision: 1, Raw: []byte("p"), Pointer: pointer}}, nil)
	c := n.Census(0)
	want := []wire.Audience{{Subscriptions: wire.SubscribeNothing, Agents: 1}, {Subscriptions: "db web", Agents: 2}, {Subscriptions: "web/site", Agents: 1}}
	if !reflect.DeepEqual(c.Audiences, want) {
		t.Errorf("audiences %v, want %v", c.Audiences, want)
	}
	for config, want := range map[string]int{"db/main": 4, "web/site": 5, "web": 4, "webby": 2, "app": 2} {
		if got := c.Subscribers(config); got != want {
			t.Errorf("%d agents subscribe to %s, want %d", got, config, want)
		}
	}
	if w := c.Waves[0]; w.Agents != 5 || w.InWave != 5 {
		t.Errorf("a wave of everyone has %d of %d, want 5 of 5: %+v", w.InWave, w.Agents, w)
	}
	// One that is silent about what it does not subscribe to is not to blame.
	n.expect(0, record.PointerKey{Config: "db/main", Region: "eu"}, 1)
	a := n.quarantine.answers["db/main"]
	a.from.AddMany([]uint32{0, 1, 3, 5})
	if out := n.Step(2*silenceLimit, step.Input{Kind: step.InTick}, nil); len(n.quarantine.wards) != 0 {
		t.Errorf("quarantined: %+v", out)
	}
}

func TestMoreSubscriptionsThanACensusTellsOfCountAsAll(t *testing.T) {
	var all []wire.Subscriptions
	for i := range wire.MaxAudiences + 10 {
		all = append(all, wire.Subscribe(fmt.Sprint("config-", i)))
	}
	c := root(t, all...).Census(0)
	if len(c.Audiences) != wire.MaxAudiences {
		t.Errorf("%d audiences, the limit is %d", len(c.Audiences), wire.MaxAudiences)
	}
	if got := c.Subscribers("elsewhere"); got != 10 {
		t.Errorf("%d agents are waited for, 10 could not be told of", got)
	}
}

func TestAQuarantineExcusesSubscribersAlone(t *testing.T) {
	n := root(t, "db", "")
	for index := range uint32(2) {
		n.confine(0, ward{index, "db"}, fmt.Sprint("agent-", index), 1, "check", nil)
	}
	c := n.Census(0)
	for config, want := range map[string][]bool{"db": {true, true}, "web": {false, true}} {
		for i, q := range c.Quarantined {
			if got := c.Excused(q, config, 5); got != want[i] {
				t.Errorf("%s is excused from %s: %v, want %v", q.Name, config, got, want[i])
			}
		}
	}
}
