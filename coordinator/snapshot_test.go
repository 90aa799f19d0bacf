package coordinator

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
)

// With many rollouts in progress, only those with news take a step at once; the others take turns.
func TestTruthARolloutWithoutNewsTakesItsTurn(t *testing.T) {
	c := crowd(t, 2, quietSteps+10, 3)
	r := c.rollouts
	for range 5 {
		r.look(t.Context())
	}
	news := record.PointerKey{Config: "config-7", Region: "r000"}
	r.swept -= rollout.Tick // a tick later
	first := r.turns(r.news.take())
	if len(first) > quietSteps {
		t.Errorf("%d rollouts without news take a step in one tick, the limit is %d", len(first), quietSteps)
	}
	r.news.ofPointer(news)
	if due := r.turns(r.news.take()); !slices.Equal(due, []string{news.Config}) {
		t.Errorf("with news for %s, steps are taken of %v", news.Config, due)
	}
	had := map[string]bool{}
	for _, config := range first {
		had[config] = true
	}
	r.swept -= rollout.Tick // a tick later
	for _, config := range r.turns(r.news.take()) {
		had[config] = true
	}
	if len(had) != quietSteps+10 {
		t.Errorf("after two ticks, %d of %d rollouts have taken a step", len(had), quietSteps+10)
	}
}

// What a rollout counts step by step is what a count of everything shows, whatever has happened.
func TestASnapshotIsWhatACountOfEverythingShows(t *testing.T) {
	const regions, configs, hosts = 3, 4, 10
	c := crowd(t, regions, configs, hosts)
	random := rand.New(rand.NewPCG(1, 2))
	region := func() string { return fmt.Sprintf("r%03d", random.IntN(regions)) }
	config := func() string { return fmt.Sprint("config-", random.IntN(configs)) }
	happenings := []func(){
		func() { // hosts acknowledge
			key := record.PointerKey{Config: config(), Region: region()}
			p, err := c.ledger.Pointer(t.Context(), key.Config, key.Region)
			if err != nil {
				t.Fatal(err)
			}
			e := wire.NewAckEntry(key, p.Pointer.Position(), p.Pointer.Digest())
			e.Applied.Add(uint32(random.IntN(hosts)))
			e.Failed.Add(uint32(random.IntN(hosts)))
			c.observe(step.Output{Op: step.OpAcked, Message: &wire.Ack{Entries: []wire.AckEntry{*e}}})
		},
		func() { // a coordinator counts
			at := region()
			c.counted("root-"+at, at, census(random.IntN(configs+1), random.IntN(hosts)))
		},
		func() { // a host comes
			at := region()
			name := fmt.Sprint("host-", random.IntN(2*hosts))
			scopes := []string{"", "config-1"}[random.IntN(2)]
			in := api.Roster{First: true, Hosts: []api.RosterHost{{Name: name, Subscriptions: scopes}}}
			c.inventory.hear("root-"+at, at, in)
		},
		func() { // coordinators fall silent
			if random.IntN(10) == 0 {
				c.inventory.expire(time.Now().Add(time.Hour))
				c.tracker.with(func(f *rollout.Tracker) {
					for _, region := range f.Expire(time.Now().Add(time.Hour)) {
						c.rollouts.news.ofRegion(region)
					}
				})
			}
		},
	}
	snapshots := map[string]snapshot{}
	for range 500 {
		happenings[random.IntN(len(happenings))]()
		c.rollouts.turns(c.rollouts.news.take())
		for name, a := range c.rollouts.active {
			s := a.driver.State()
			last := snapshots[name]
			last.stale = a.snapshot.stale
			a.snapshot.stale = nil
			fresh, err := c.rollouts.update(t.Context(), s, last)
			if err != nil {
				t.Fatal(err)
			}
			snapshots[name] = fresh
			pointers, err := c.ledger.PointersOf(t.Context(), name, maps.Keys(s.Regions))
			if err != nil {
				t.Fatal(err)
			}
			if want := c.rollouts.countHosts(s, pointers); !reflect.DeepEqual(fresh.regions, want) {
				t.Fatalf("%s counts %+v, want %+v", name, fresh.regions, want)
			}
		}
	}
}
