package mesh

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// model is the dumb twin of the planner: who is whose child, as told by the
// placements it gave.
type model struct {
	parent  map[string]string // "" is the root
	present map[string]bool
}

// Whatever joins, leaves and comes back in whatever order: no cycle, no parent
// over its fan-out while it was the planner that chose it, indices stay.
func TestPlacementsFormATreeWithinTheFanout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fanout := rapid.IntRange(1, 5).Draw(t, "fanout")
		p := NewPlanner(PlannerConfig{Fanout: fanout})
		m := model{parent: map[string]string{}, present: map[string]bool{}}
		index := map[string]uint32{}
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			name := fmt.Sprintf("a%d", rapid.IntRange(0, 40).Draw(t, "agent"))
			if m.present[name] && rapid.Bool().Draw(t, "leave") {
				parent := m.parent[name]
				p.Leave(index[name], parent == "", index[parent])
				delete(m.present, name)
				delete(m.parent, name)
				continue
			}
			join := &Join{Addr: name, Relay: rapid.IntRange(0, 3).Draw(t, "relay") > 0}
			if m.present[name] {
				join.Avoid = []string{m.parent[name]}
			}
			placed, err := p.Join(name, join)
			if err != nil {
				t.Fatal(err)
			}
			if had, ok := index[name]; ok && had != placed.Index {
				t.Fatalf("%s had index %d and was given %d", name, had, placed.Index)
			}
			index[name] = placed.Index
			m.parent[name], m.present[name] = placed.Parent.Name, true
			m.check(t, name, fanout, placed.Parent.Name)
		}
		if p.Placed() != len(m.parent) {
			t.Errorf("the planner counts %d placed, %d are", p.Placed(), len(m.parent))
		}
	})
}

func (m *model) check(t *rapid.T, name string, fanout int, parent string) {
	hops := 0
	for at := name; at != ""; hops++ {
		next, ok := m.parent[at]
		if !ok {
			break // its ancestor left; the planner must not have chosen such a place
		}
		if at = next; hops > 1000 {
			t.Fatalf("%s was placed in a cycle", name)
		}
	}
	if parent == "" {
		return // the root takes what fits nowhere else
	}
	children := 0
	for _, p := range m.parent {
		if p == parent {
			children++
		}
	}
	if children > fanout {
		t.Fatalf("%s was given child %d of fan-out %d", parent, children, fanout)
	}
	if !m.present[parent] {
		t.Fatalf("%s was placed under %s, which is not there", name, parent)
	}
}

func TestTreeIsAsFlatAsTheFanoutAllows(t *testing.T) {
	const fanout, agents = 4, 4 + 16 + 64 + 1
	p := NewPlanner(PlannerConfig{Fanout: fanout})
	for i := range agents {
		if _, err := p.Join(fmt.Sprint(i), &Join{Relay: true}); err != nil {
			t.Fatal(err)
		}
	}
	byDepth := map[int]int{}
	for _, a := range p.Agents() {
		byDepth[a.Depth]++
	}
	if byDepth[1] != 4 || byDepth[2] != 16 || byDepth[3] != 64 || byDepth[4] != 1 {
		t.Errorf("agents by depth: %v", byDepth)
	}
}

func TestAnAccusedRelayIsGivenNoMoreChildrenAndFewCanBeAccused(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 2})
	for _, name := range []string{"a", "b", "c", "d"} {
		if _, err := p.Join(name, &Join{Addr: name, Relay: true}); err != nil {
			t.Fatal(err)
		}
	}
	if placed, err := p.Join("c", &Join{Addr: "c", Relay: true, Accuse: "a"}); err != nil || placed.Parent.Name != "b" {
		t.Fatalf("who accuses a was placed under %q (%v), want b", placed.Parent.Name, err)
	}
	// One agent can have one other under suspicion: the second accusation frees a.
	if _, err := p.Join("c", &Join{Addr: "c", Relay: true, Accuse: "b"}); err != nil {
		t.Fatal(err)
	}
	accused := map[string]string{}
	for _, a := range p.Agents() {
		if a.Accuser != "" {
			accused[a.Name] = a.Accuser
		}
	}
	if len(accused) != 1 || accused["b"] != "c" {
		t.Fatalf("suspects and their accusers: %v", accused)
	}
	for i := range 50 {
		name := fmt.Sprintf("liar-%d", i)
		if _, err := p.Join(name, &Join{Addr: name, Relay: true, Accuse: fmt.Sprintf("liar-%d", i-1)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.suspects) > minSuspects {
		t.Errorf("%d of %d agents are under suspicion", len(p.suspects), len(p.places))
	}
}

func TestALostParentIsNotGivenAgainWhileThereIsOtherRoom(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 2})
	for _, name := range []string{"a", "b", "child"} {
		if _, err := p.Join(name, &Join{Addr: name, Relay: true}); err != nil {
			t.Fatal(err)
		}
	}
	placed, err := p.Join("child", &Join{Addr: "child", Avoid: []string{"a"}})
	if err != nil || placed.Parent.Name != "b" {
		t.Errorf("placed under %q, %v; want b", placed.Parent.Name, err)
	}
}

func TestAFullTreeSaysSo(t *testing.T) {
	p := NewPlanner(PlannerConfig{MaxAgents: 2})
	for i := range 3 {
		_, err := p.Join(fmt.Sprint(i), &Join{})
		if full := errors.Is(err, ErrFull); full != (i == 2) {
			t.Errorf("agent %d: %v", i, err)
		}
	}
	if _, err := p.Join("1", &Join{}); err != nil {
		t.Errorf("an agent that has a place was refused: %v", err)
	}
}

// Agents keep the index of an earlier incarnation of their coordinator, and new
// ones never get an index that such an agent may still hold.
func TestIndicesSurviveARestartOfTheCoordinator(t *testing.T) {
	p := NewPlanner(PlannerConfig{FirstIndex: 1000})
	old, err := p.Join("old", &Join{Index: 43})
	if err != nil || old.Index != 42 {
		t.Errorf("an agent with index 42 was given %d, %v", old.Index, err)
	}
	thief, err := p.Join("thief", &Join{Index: 43})
	if err != nil || thief.Index < 1000 {
		t.Errorf("a second agent that claims index 42 was given %d, %v", thief.Index, err)
	}
	liar, err := p.Join("liar", &Join{Index: 2000})
	if err != nil || liar.Index < 1000 || liar.Index >= 1010 {
		t.Errorf("an agent that claims an index nobody gave was given %d, %v", liar.Index, err)
	}
}

func BenchmarkPlanner50kJoins(b *testing.B) {
	for b.Loop() {
		p := NewPlanner(PlannerConfig{Fanout: 32})
		for i := range 50_000 {
			if _, err := p.Join(fmt.Sprint(i), &Join{Relay: true}); err != nil {
				b.Fatal(err)
			}
		}
	}
}
