package tree

import (
	"fmt"
	"reflect"
	"testing"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// subscribers returns a planner of agents with the given subscriptions, and its quarantine.
func subscribers(t *testing.T, subscriptions ...wire.Subscriptions) (*Planner, *Quarantine) {
	p := NewPlanner(PlannerConfig{Fanout: len(subscriptions)})
	for i, s := range subscriptions {
		join := &wire.Join{Description: wire.Description{Addr: "a:1", Relay: true, Subscriptions: s}}
		if _, err := p.Join(0, fmt.Sprint("agent-", i), join); err != nil {
			t.Fatal(err)
		}
	}
	return p, NewQuarantine(p)
}

func TestAgentsThatDoNotSubscribeAreNotCounted(t *testing.T) {
	p, q := subscribers(t, "", "db web", wire.SubscribeNothing, "db web", "web/site", "")
	pointer := record.Pointer{
		Config:    "web/site/flags",
		Region:    "eu",
		Epoch:     3,
		Baseline:  record.Ref{Version: 1, Digest: record.Digest{1}},
		Candidate: record.Ref{Version: 2, Digest: record.Digest{2}},
		Wave:      record.Wave{Share: record.WholeFleet},
		Phase:     record.PhaseActive,
	}
	c := TakeCensus(0, p, q, []Candidate{{Pointer: &pointer, Since: 3}})
	want := []wire.Audience{
		{Subscriptions: wire.SubscribeNothing, Agents: 1},
		{Subscriptions: "db web", Agents: 2},
		{Subscriptions: "web/site", Agents: 1},
	}
	if !reflect.DeepEqual(c.Audiences, want) {
		t.Errorf("audiences %v, want %v", c.Audiences, want)
	}
	for config, want := range map[string]int{"db/main": 4, "web/site": 5, "web": 4, "webby": 2, "app": 2} {
		if got := c.Subscribers(config); got != want {
			t.Errorf("%d agents subscribe to %s, want %d", got, config, want)
		}
	}
	if w := c.Waves[0]; w.Agents != 5 || w.InWave != 5 {
		t.Errorf("a wave of every agent has %d of %d agents, want 5 of 5: %+v", w.InWave, w.Agents, w)
	}
}

func TestAnAgentThatDoesNotSubscribeIsNotSilent(t *testing.T) {
	p, q := subscribers(t, "", "db web", wire.SubscribeNothing, "db web", "web/site", "")
	q.Expect(0, "db/main", 1)
	e := wire.NewAckEntry(record.PointerKey{Config: "db/main", Region: "eu"}, 1, record.Digest{1})
	e.Applied.AddMany([]uint32{0, 1, 3, 5})
	q.Observe(0, e)
	if changes := q.Wake(2 * silenceLimit); len(changes) != 0 {
		t.Errorf("quarantined: %+v", changes)
	}
	// One subscriber of six that does not answer is quarantined, and released when it leaves.
	q.Expect(2*silenceLimit, "db/main", 2)
	e = wire.NewAckEntry(record.PointerKey{Config: "db/main", Region: "eu"}, 2, record.Digest{2})
	e.Applied.AddMany([]uint32{0, 1, 3})
	q.Observe(2*silenceLimit, e)
	changes := q.Wake(4 * silenceLimit)
	if want := []Change{{Agent: "agent-5", Config: "db/main", Reason: "silent"}}; !reflect.DeepEqual(changes, want) {
		t.Errorf("changes %+v, want %+v", changes, want)
	}
	p.LeaveRoot(4*silenceLimit, 5)
	changes = q.Wake(4 * silenceLimit)
	if want := []Change{{Agent: "agent-5", Config: "db/main", Released: true}}; !reflect.DeepEqual(changes, want) {
		t.Errorf("changes %+v, want %+v", changes, want)
	}
}

func TestSubscriptionsBeyondTheLimitOfACensusCountAsEverything(t *testing.T) {
	var all []wire.Subscriptions
	for i := range wire.MaxAudiences + 10 {
		all = append(all, wire.Subscribe(fmt.Sprint("config-", i)))
	}
	p, q := subscribers(t, all...)
	c := TakeCensus(0, p, q, nil)
	if len(c.Audiences) != wire.MaxAudiences {
		t.Errorf("%d audiences, the limit is %d", len(c.Audiences), wire.MaxAudiences)
	}
	if got := c.Subscribers("elsewhere"); got != 10 {
		t.Errorf("%d agents are waited for, want the 10 beyond the limit", got)
	}
}

// A host that fails config db must run what a rollout of config web brings, and counts there.
func TestTruthAQuarantineIsForOneConfig(t *testing.T) {
	p, q := subscribers(t, "db", "")
	for index := range uint32(2) {
		q.confine(0, caseKey{p.places[index], "db"}, fmt.Sprint("agent-", index), 1, "check", nil)
	}
	waves := []Candidate{
		{&record.Pointer{Config: "db", Epoch: 9, Wave: record.Wave{Share: record.WholeFleet}}, 5},
		{&record.Pointer{Config: "web", Epoch: 9, Wave: record.Wave{Share: record.WholeFleet}}, 5},
	}
	c := TakeCensus(0, p, q, waves)
	if c.Waves[0].InWave != 0 || c.Waves[1].InWave != 1 {
		t.Errorf("%d hosts count for db, want 0; %d count for web, want 1", c.Waves[0].InWave, c.Waves[1].InWave)
	}
	for config, want := range map[string][]bool{"db": {true, true}, "web": {false, false}} {
		for i, entry := range c.Quarantined {
			if got := c.Excused(entry, config, 5); got != want[i] {
				t.Errorf("%s is excused from %s: %v, want %v", entry.Name, config, got, want[i])
			}
		}
	}
}

// A minute after a start the answers to all configs are due at one time. The coordinator looks for
// silent agents in many short steps, between which it does its other work.
func TestTruthTheSearchForSilentAgentsIsCutIntoSteps(t *testing.T) {
	const configs = 300
	subscriptions := make([]wire.Subscriptions, 400)
	for i := range 398 {
		subscriptions[i] = wire.SubscribeNothing // looked at, because they do not answer either
	}
	_, q := subscribers(t, subscriptions...)
	for i := range configs {
		config := fmt.Sprint("config-", i)
		q.Expect(0, config, 1)
		e := wire.NewAckEntry(record.PointerKey{Config: config, Region: "eu"}, 1, record.Digest{1})
		e.Applied.Add(398)
		q.Observe(0, e)
	}
	found, steps := 0, 0
	for len(q.due) > 0 {
		changes := q.Wake(q.Deadline())
		found += len(changes)
		steps++
		if most := len(changes) * len(subscriptions); most > 2*maxLooks {
			t.Fatalf("step %d looked at %d agents", steps, most)
		}
	}
	if found != configs || steps < 5 {
		t.Errorf("a silent agent was found for %d configs in %d steps, want %d in at least 5", found, steps, configs)
	}
}

// A quarantine, and the pardon after it, end with the place of the agent, although no answer is awaited
// and nobody acknowledges anything.
func TestTruthAQuarantineEndsWithTheAgentsPlace(t *testing.T) {
	p, q := subscribers(t, "", "")
	failed := func(agent uint32) *wire.AckEntry {
		e := wire.NewAckEntry(record.PointerKey{Config: "a", Region: "eu"}, 1, record.Digest{1})
		e.AddFailure(wire.Failure{Agent: agent, Name: p.Name(agent), Reason: "no", Attempts: QuarantineAfter})
		return e
	}
	q.Observe(0, failed(0))
	q.Observe(0, failed(1))
	if len(q.cases) != 2 || len(q.Release("agent-1")) != 1 || len(q.pardons) != 1 {
		t.Fatalf("%d cases, %d pardons", len(q.cases), len(q.pardons))
	}
	p.LeaveRoot(1, 0)
	p.LeaveRoot(1, 1)
	released := 0
	for now := q.Deadline(); now < forgetAfter+2*gonePeriod; now = q.Deadline() {
		p.expire(now)
		released += len(q.Wake(now))
	}
	if released != 1 || len(q.cases) != 0 || len(q.pardons) != 0 || q.Deadline() != step.Never {
		t.Errorf("%d released; %d cases, %d pardons; next look at %d", released, len(q.cases), len(q.pardons), q.Deadline())
	}
}
