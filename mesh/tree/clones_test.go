package tree

import (
	"reflect"
	"slices"
	"testing"

	"banyan/mesh/wire"
)

// described returns the description of an instance.
func described(id uint64, addr string) wire.Description {
	return wire.Description{Addr: addr, Instance: id, Relay: true}
}

// present returns the number of agents whose acknowledgements count.
func present(t *testing.T, p *Planner, q *Quarantine) uint64 {
	t.Helper()
	set, err := TakeCensus(p.now, p, q, nil).PresentAgents()
	if err != nil {
		t.Fatal(err)
	}
	return set.GetCardinality()
}

// clones returns the addresses in the description of agent h.
func clones(p *Planner) []string {
	for _, a := range p.Agents() {
		if a.Name == "h" {
			return a.Clones
		}
	}
	return nil
}

// Two live instances of one identity are noticed when the one that was pushed out comes back. Their
// identity does not count until one of them is gone.
func TestTruthTwoInstancesOfOneIdentityAreNoticed(t *testing.T) {
	p := NewPlanner(PlannerConfig{})
	q := NewQuarantine(p)
	join := func(id uint64, addr string) uint32 {
		t.Helper()
		placement, err := p.Join(p.now+1, "h", &wire.Join{Description: described(id, addr)})
		if err != nil {
			t.Fatal(err)
		}
		p.AdoptRoot(p.now, wire.Member{Index: placement.Index, Name: "h", Description: described(id, addr)})
		return placement.Index
	}
	relay, err := p.Join(0, "relay", &wire.Join{Description: described(9, "r:1")})
	if err != nil {
		t.Fatal(err)
	}
	p.AdoptRoot(0, wire.Member{Index: relay.Index, Name: "relay", Description: described(9, "r:1")})
	join(1, "a:1")
	join(2, "b:1") // a restart, as far as is known
	if got := p.TakeClones(); len(got) != 0 || clones(p) != nil || present(t, p, q) != 2 {
		t.Fatalf("a restart is taken for a clone: %v, %v", got, clones(p))
	}
	index := join(1, "a:1")
	want := []Clone{{Agent: "h", Addrs: [2]string{"b:1", "a:1"}}}
	if got := p.TakeClones(); !reflect.DeepEqual(got, want) || present(t, p, q) != 1 {
		t.Fatalf("clones %v, want %v; %d count", got, want, present(t, p, q))
	}
	if got := clones(p); !reflect.DeepEqual(got, []string{"b:1", "a:1"}) {
		t.Errorf("agents shows %v", got)
	}

	// The other instance goes to a relay, so that both stay.
	p.Adopt(p.now, relay.Index, wire.Member{Index: index, Name: "h", Description: described(2, "b:1")}, relay.Index)
	p.now += 10 * cloneMemory
	if got := p.TakeClones(); len(got) != 0 || present(t, p, q) != 1 {
		t.Errorf("clones %v, %d count: both are live, which was said", got, present(t, p, q))
	}
	p.LeaveRoot(p.now, index) // the first instance ends
	if n := present(t, p, q); n != 2 || clones(p) != nil {
		t.Errorf("after one of the instances ended: %d count, clones %v", n, clones(p))
	}
}

// While an identity counts as cloned, a list of children corrects its place. Only a parent that has
// another of its instances is right as well.
func TestTruthTheListOfAParentCorrectsAClone(t *testing.T) {
	p := NewPlanner(PlannerConfig{})
	parents := make([]uint32, 3)
	for i, name := range []string{"first", "second", "third"} {
		parents[i] = join(t, p, 0, name).Index
		p.AdoptRoot(0, wire.Member{Index: parents[i], Name: name, Description: relay(name)})
	}
	placement, err := p.Join(0, "h", &wire.Join{Description: described(1, "a:1")})
	if err != nil {
		t.Fatal(err)
	}
	moved := func(instance uint64, parent uint32) {
		h := wire.Member{Index: placement.Index, Name: "h", Description: described(instance, "a:1")}
		p.Adopt(p.now, parent, h, parent)
	}
	moved(1, parents[0])
	moved(2, parents[1])
	moved(1, parents[0])
	if len(p.TakeClones()) != 1 {
		t.Fatal("the clone was not noticed")
	}
	now := p.now + settleTime
	children := []uint32{placement.Index}
	for i, want := range [][]uint32{nil, nil, children} {
		if got := p.Reconcile(now, parents[i], parents[i], children); !slices.Equal(got, want) {
			t.Errorf("after the list of parent %d, %v must be described, want %v", i, got, want)
		}
	}
}

// An instance that ended long ago is not listed among the instances that run.
func TestTruthOnlyInstancesThatRunAreListed(t *testing.T) {
	p := NewPlanner(PlannerConfig{})
	q := NewQuarantine(p)
	join := func(id uint64, addr string) {
		t.Helper()
		placement, err := p.Join(p.now+1, "h", &wire.Join{Description: described(id, addr)})
		if err != nil {
			t.Fatal(err)
		}
		p.AdoptRoot(p.now, wire.Member{Index: placement.Index, Name: "h", Description: described(id, addr)})
	}
	join(1, "old:1")
	join(2, "a:1") // a restart
	p.now += 2 * cloneMemory
	join(3, "b:1")
	join(2, "a:1")
	if n := present(t, p, q); n != 0 {
		t.Errorf("%d agents count", n)
	}
	if got := clones(p); !reflect.DeepEqual(got, []string{"b:1", "a:1"}) {
		t.Errorf("agents shows %v", got)
	}
}

// An agent that is started again and again is no clone.
func TestTruthARestartIsNoClone(t *testing.T) {
	p := NewPlanner(PlannerConfig{})
	q := NewQuarantine(p)
	for id := range uint64(20) {
		placement, err := p.Join(p.now+1, "h", &wire.Join{Description: described(id+1, "a:1")})
		if err != nil {
			t.Fatal(err)
		}
		p.AdoptRoot(p.now, wire.Member{Index: placement.Index, Name: "h", Description: described(id+1, "a:1")})
		if id%3 == 0 {
			p.LeaveRoot(p.now, placement.Index)
		}
	}
	if got := p.TakeClones(); len(got) != 0 || clones(p) != nil || len(p.places[p.byName["h"]].others) > maxInstances || present(t, p, q) != 1 {
		t.Errorf("clones %v, %v", got, clones(p))
	}
}
