package tree

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"banyan/mesh/step"
	"banyan/mesh/wire"
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
				if parent == "" {
					p.LeaveRoot(0, index[name])
				} else {
					p.leave(0, index[name], p.places[index[parent]])
				}
				delete(m.present, name)
				delete(m.parent, name)
				continue
			}
			join := &wire.Join{Description: wire.Description{
				Addr:          name,
				Relay:         rapid.IntRange(0, 3).Draw(t, "relay") > 0,
				Labels:        map[string]string{"rack": fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "rack"))},
				Subscriptions: wire.Subscriptions(rapid.SampledFrom([]string{"", "a/", "b/"}).Draw(t, "subscriptions")),
			}}
			if had, ok := index[name]; ok {
				join.Index = had + 1
			}
			if m.present[name] {
				join.Avoid = []string{m.parent[name]}
			}
			placed, err := p.Join(0, name, join)
			if err != nil {
				t.Fatal(err)
			}
			if had, ok := index[name]; ok && had != placed.Index {
				t.Fatalf("%s had index %d and was given %d", name, had, placed.Index)
			}
			confirm(p, 0, placed.Index)
			index[name] = placed.Index
			m.parent[name], m.present[name] = placed.Parent.Name, true
			m.check(t, name, fanout, placed.Parent.Name)
		}
		if p.Placed() != m.attached() {
			t.Errorf("the planner counts %d placed, %d are", p.Placed(), m.attached())
		}
		checkTally(t, p)
	})
}

// attached returns the number of agents with a path to the root.
func (m *model) attached() (n int) {
	for name := range m.parent {
		at, ok := name, true
		for ok && at != "" {
			at, ok = m.parent[at]
		}
		if ok {
			n++
		}
	}
	return n
}

// checkTally compares the counts that follow each change with a count of all agents.
func checkTally(t *rapid.T, p *Planner) {
	want := newTally()
	for _, c := range p.places {
		path := c
		for path != &p.root && path != nil && !path.gone {
			path = path.parent
		}
		if path == &p.root {
			want.add(c)
		}
	}
	got := &p.tally
	if got.agents != want.agents || !got.present.Equals(want.present) ||
		!maps.Equal(got.labels, want.labels) || !maps.Equal(got.audiences, want.audiences) {
		t.Errorf("the tally has %v, a count %v", got, want)
	}
	if len(p.relays) > want.agents {
		t.Errorf("%d relays of %d attached agents", len(p.relays), want.agents)
	}
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
		join(t, p, 0, fmt.Sprint(i))
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
		join(t, p, 0, name)
	}
	placed, err := p.Join(0, "c", &wire.Join{Accuse: "a", Description: relay("c")})
	if err != nil || placed.Parent.Name != "b" {
		t.Fatalf("who accuses a was placed under %q (%v), want b", placed.Parent.Name, err)
	}
	confirm(p, 0, placed.Index)
	// One agent can have one other under suspicion: the second accusation frees a.
	placed, err = p.Join(0, "c", &wire.Join{Accuse: "b", Description: relay("c")})
	if err != nil {
		t.Fatal(err)
	}
	confirm(p, 0, placed.Index)
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
		placed, err := p.Join(0, name, &wire.Join{Accuse: fmt.Sprintf("liar-%d", i-1), Description: relay(name)})
		if err != nil {
			t.Fatal(err)
		}
		confirm(p, 0, placed.Index)
	}
	if len(p.suspects) > minSuspects {
		t.Errorf("%d of %d agents are under suspicion", len(p.suspects), len(p.places))
	}
}

func TestALostParentIsNotGivenAgainWhileThereIsOtherRoom(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 2})
	for _, name := range []string{"a", "b", "child"} {
		join(t, p, 0, name)
	}
	placed, err := p.Join(0, "child", &wire.Join{Avoid: []string{"a"}, Description: wire.Description{Addr: "child"}})
	if err != nil || placed.Parent.Name != "b" {
		t.Errorf("placed under %q, %v; want b", placed.Parent.Name, err)
	}
}

// fill places n agents in three zones. Their parents report them.
func fill(t testing.TB, p *Planner, n int) {
	t.Helper()
	for i := range n {
		now := step.Time(i) * step.Time(time.Millisecond)
		d := relay(fmt.Sprint(i))
		d.Labels = map[string]string{wire.ZoneLabel: fmt.Sprint(i % 3)}
		placed, err := p.Join(now, fmt.Sprint(i), &wire.Join{Description: d})
		if err != nil {
			t.Fatal(err)
		}
		confirm(p, now, placed.Index)
	}
}

// The bound: a leave moves those that were right below it, and nobody else; so of
// 50,000 agents, 1% that leave for good move about as many others.
func TestChurnMovesFewOthers(t *testing.T) {
	const agents, fanout = 50_000, 32
	p := NewPlanner(PlannerConfig{Fanout: fanout})
	fill(t, p, agents)
	parents := func() map[uint32]*place {
		m := map[uint32]*place{}
		for i, c := range p.places {
			m[i] = c.parent
		}
		return m
	}
	before := parents()
	now := step.Time(time.Hour)
	r := rand.New(rand.NewPCG(1, 1))
	left := map[uint32]bool{}
	for len(left) < agents/100 {
		left[uint32(r.IntN(agents))] = true
	}
	for index := range uint32(agents) {
		if !left[index] {
			continue
		}
		c := p.places[index]
		p.leave(now, index, c.parent)
	}
	now += step.Time(10 * time.Second)
	// Orphans ask for another place; so does everyone who left, 10 seconds later.
	for index := range uint32(agents) {
		c := p.places[index]
		switch {
		case left[index]:
			if _, err := p.Join(now, c.name, &wire.Join{Description: wire.Description{Addr: c.Addr, Relay: true, Labels: c.Labels}}); err != nil {
				t.Fatal(err)
			}
		case c.parent != &p.root && c.parent != nil && left[c.parent.index]:
			if _, err := p.Join(now, c.name, &wire.Join{Avoid: []string{c.parent.name}, Description: wire.Description{Addr: c.Addr, Relay: true, Labels: c.Labels}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	moved := 0
	for index, parent := range parents() {
		if !left[index] && parent != before[index] {
			moved++
		}
	}
	if moved > 3*agents/100 {
		t.Errorf("1%% left, and %d of the other %d moved", moved, agents)
	}
	t.Logf("%d left and came back, %d others moved", len(left), moved)
}

func TestNobodyIsDeeperThanTheLimit(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 2, MaxDepth: 3})
	fill(t, p, 100)
	deepest, atRoot := 0, 0
	for _, c := range p.places {
		deepest = max(deepest, c.hops)
		if c.parent == &p.root {
			atRoot++
		}
	}
	// 2 + 4 + 8 have places; the root takes the rest, and what fits below them.
	if deepest != 3 || atRoot < 3 || p.Placed() != 100 {
		t.Errorf("%d hops deep, %d at the root, %d placed", deepest, atRoot, p.Placed())
	}
}

func TestBackupsAreNeverBelowWhoHasThemAndElsewhere(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 8})
	fill(t, p, 3000)
	with, far := 0, 0
	for _, c := range p.places {
		for _, b := range c.backups {
			if b.isBelow(c) || b == c.parent {
				t.Fatalf("%s has %s as its backup, which is its parent or below it", c.name, b.name)
			}
		}
		if len(c.backups) > 0 && c.parent != &p.root {
			with++
			if c.backups[0].branch != c.branch {
				far++
			}
		}
		if c.shadows > 2*c.slots {
			t.Errorf("%s is the backup of %d", c.name, c.shadows)
		}
	}
	if with < 2500 || far < with*9/10 {
		t.Errorf("of 3000 agents %d have a relay as backup, %d in another branch", with, far)
	}
}

func TestAgentsHangInTheirOwnZone(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 16})
	fill(t, p, 3000)
	own, deepest := 0, 0
	for _, c := range p.places {
		if c.parent == &p.root || c.parent.zone() == c.zone() {
			own++
		}
		deepest = max(deepest, c.hops)
	}
	if own < 2900 || deepest > 4 {
		t.Errorf("%d of 3000 agents hang in their own zone, %d hops deep", own, deepest)
	}
}

func TestAPlaceIsKeptForAWhile(t *testing.T) {
	join := &wire.Join{Description: wire.Description{Addr: "x", Relay: true}}
	p := NewPlanner(PlannerConfig{Fanout: 1, Grace: 30 * time.Second})
	for _, name := range []string{"a", "b", "c"} { // a chain
		placed, err := p.Join(0, name, join)
		if err != nil {
			t.Fatal(err)
		}
		confirm(p, 0, placed.Index)
	}
	p.Leave(step.Time(time.Second), 0, 2, 1)
	late, _ := p.Join(step.Time(2*time.Second), "late", join)
	if late.Parent.Name == "b" {
		t.Error("the place of one that left a second ago was given to another")
	}
	again := &wire.Join{Index: 3, Description: join.Description}
	if back, _ := p.Join(step.Time(3*time.Second), "c", again); back.Parent.Name != "b" || back.Index != 2 {
		t.Errorf("who came back in time was placed under %q with index %d", back.Parent.Name, back.Index)
	}
	p.Leave(step.Time(4*time.Second), 0, 2, 1)
	if other, _ := p.Join(step.Time(40*time.Second), "other", &wire.Join{Avoid: []string{"late"}, Description: wire.Description{Addr: "x"}}); other.Parent.Name != "b" {
		t.Errorf("after the grace time the next was placed under %q", other.Parent.Name)
	}
}

// relay returns the description of an agent that relays.
func relay(addr string) wire.Description { return wire.Description{Addr: addr, Relay: true} }

// join has an agent join, and its parent report it.
func join(t testing.TB, p *Planner, now step.Time, name string, avoid ...string) wire.Placement {
	t.Helper()
	again := &wire.Join{Avoid: avoid, Description: relay(name)}
	if index, known := p.byName[name]; known {
		again.Index = index + 1
	}
	placed, err := p.Join(now, name, again)
	if err != nil {
		t.Fatal(err)
	}
	confirm(p, now, placed.Index)
	return placed
}

func confirm(p *Planner, now step.Time, index uint32) {
	c := p.places[index]
	p.adopt(now, wire.Member{Index: index, Name: c.name, Description: c.Description}, c.parent)
}

func TestOneThatFlapsGetsChildrenLast(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 1, Grace: time.Millisecond})
	now := step.Time(0)
	for range maxFlaps + 1 {
		join(t, p, now, "flappy")
		now += step.Time(time.Second)
		p.LeaveRoot(now, 0)
	}
	join(t, p, now, "flappy")
	now += step.Time(time.Second)
	if first := join(t, p, now, "first"); first.Parent.Name != "flappy" {
		t.Errorf("without other room the first agent is placed under %q", first.Parent.Name)
	}
	steady := join(t, p, now, "second", "flappy")
	if next := join(t, p, now, "next"); next.Parent.Name == "flappy" {
		t.Error("an agent was placed under one that stays for a second each time")
	}
	_ = steady
	if !p.places[0].flappy(now) || p.places[0].flappy(now+step.Time(maxFlaps)*flapDecay) {
		t.Error("flaps do not count, or for ever")
	}
}

// A dial that fails is not a stay, and many that flap together have a common cause.
func TestOnlyStaysOfFewCountAsFlaps(t *testing.T) {
	const agents = 400
	p := NewPlanner(PlannerConfig{Fanout: 16, Grace: time.Millisecond})
	now := step.Time(0)
	for range 5 {
		for i := range agents {
			again := &wire.Join{Index: p.byName[fmt.Sprint(i)] + 1, Description: relay("x")}
			if _, err := p.Join(now, fmt.Sprint(i), again); err != nil && !errors.Is(err, ErrBusy) {
				t.Fatal(err)
			}
		}
		now += step.Time(time.Second)
	}
	flappers := func() (n int) {
		for _, c := range p.places {
			if c.flappy(now) {
				n++
			}
		}
		return n
	}
	if n := flappers(); n != 0 {
		t.Errorf("%d agents that were never attached count as flapping", n)
	}
	for range 2 * maxFlaps {
		for i := range agents {
			join(t, p, now, fmt.Sprint(i))
		}
		now += step.Time(6 * time.Second)
		for i := range agents {
			if c := p.places[uint32(i)]; c.parent == &p.root {
				p.LeaveRoot(now, c.index)
			}
		}
	}
	if n := flappers(); n > agents/flapShare {
		t.Errorf("of %d agents that flap together %d are to blame", agents, n)
	}
}

// Hosts that go dark together with their relay do not count, and come back.
func TestAgentsBelowAGoneRelayDoNotCount(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 2})
	names := []string{"a", "b", "a1", "b1", "a2", "b2", "a11"}
	for _, name := range names {
		join(t, p, 0, name)
	}
	below := func(top string) (n int) {
		p.places[p.byName[top]].walk(func(*place) bool { n++; return true })
		return n
	}
	lost := below("a")
	if lost < 3 {
		t.Fatalf("a has %d agents in its branch", lost)
	}
	now := step.Time(time.Minute)
	p.LeaveRoot(now, 0)
	if p.Placed() != len(names)-lost {
		t.Errorf("with a and the agents below dark, %d of %d count", p.Placed(), len(names))
	}
	if late := join(t, p, now, "late"); p.places[p.byName[late.Parent.Name]].branch == p.places[0] {
		t.Errorf("a new agent was placed under %s, which is dark", late.Parent.Name)
	}
	join(t, p, now+step.Time(time.Second), "a")
	if p.Placed() != len(names)+1 {
		t.Errorf("a came back with its children, and %d of %d count", p.Placed(), len(names)+1)
	}
	p.LeaveRoot(now+step.Time(2*time.Second), 0)
	now += step.Time(time.Hour)
	if c := TakeCensus(now, p, NewQuarantine(p), nil); int(c.Agents) != len(names)+1-lost || below("a") != 1 {
		t.Errorf("%d agents count, and a has %d places below", c.Agents, below("a")-1)
	}
}

// The process of a relay was replaced: its children went elsewhere, or died with it.
func TestARestartedRelayHasNoChildren(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 1})
	start := func(instance uint64) {
		d := relay("a")
		d.Instance = instance
		placed, err := p.Join(0, "a", &wire.Join{Description: d})
		if err != nil {
			t.Fatal(err)
		}
		confirm(p, 0, placed.Index)
	}
	start(1)
	join(t, p, 0, "child")
	start(1)
	if p.Placed() != 2 {
		t.Errorf("the same process joins again, and %d of 2 count", p.Placed())
	}
	start(2)
	if p.Placed() != 1 {
		t.Errorf("another process has the identity of a, and %d count", p.Placed())
	}
}

// An agent that joined and never came to its parent does not count for ever.
func TestAPlaceThatIsNotTakenIsGivenBack(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 1})
	join(t, p, 0, "a")
	if _, err := p.Join(0, "b", &wire.Join{Description: relay("b")}); err != nil {
		t.Fatal(err)
	}
	if c := TakeCensus(confirmTime, p, NewQuarantine(p), nil); c.Agents != 1 {
		t.Errorf("%d agents count", c.Agents)
	}
}

func TestListsCorrectThePictureBothWays(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 2})
	for _, name := range []string{"a", "b", "x", "y"} {
		join(t, p, 0, name)
	}
	a, b := p.places[0], p.places[1]
	x, y := p.places[2], p.places[3]
	if x.parent != a || y.parent != b {
		t.Fatalf("x is under %s, y under %s", x.parent.name, y.parent.name)
	}
	// Old lists change nothing.
	p.Reconcile(settleTime-1, 0, 0, nil)
	undescribed := p.Reconcile(settleTime-1, 1, 1, []uint32{2, 3})
	if len(undescribed) != 0 || x.parent != a || x.gone || p.Placed() != 4 {
		t.Errorf("a list from before a change was believed; undescribed: %v", undescribed)
	}
	// The report that x left was lost.
	p.Reconcile(settleTime, 0, 0, nil)
	if !x.gone || p.Placed() != 3 {
		t.Errorf("x gone: %v; %d count", x.gone, p.Placed())
	}
	// The report that y moved to a was lost. A list has no names, so y must be described.
	if got := p.Reconcile(settleTime, 0, 0, []uint32{3, 99}); !slices.Equal(got, []uint32{3, 99}) || y.parent != b {
		t.Errorf("undescribed: %v; y is under %s", got, y.parent.name)
	}
	p.Adopt(settleTime, 0, wire.Member{Index: 3, Name: "y", Description: relay("y")}, 0)
	if got := p.Reconcile(settleTime, 0, 0, []uint32{3}); len(got) != 0 || y.parent != a || p.Placed() != 3 {
		t.Errorf("undescribed: %v; y is under %s; %d count", got, y.parent.name, p.Placed())
	}
	p.ReconcileRoot(9*settleTime, []uint32{0})
	if !b.gone || p.Placed() != 2 {
		t.Errorf("b is gone: %v; %d count", b.gone, p.Placed())
	}
}

// No agent speaks for agents of another branch, whatever it sends: it can't take their children away,
// or accuse in their name.
func TestTruthReportsAreAboutTheBranchTheyComeFrom(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 2})
	for _, name := range []string{"a", "b", "x", "y"} {
		join(t, p, 0, name)
	}
	b, y := p.places[1], p.places[3]
	later := 2 * settleTime
	undescribed := p.Reconcile(later, 0, 1, nil)
	p.Leave(later, 0, 3, 1)
	p.Accuse(0, 3, "b")
	known := p.Adopt(later, 0, wire.Member{Index: 2, Name: "x", Description: relay("x")}, 1)
	if !slices.Equal(undescribed, []uint32{1}) || known || y.parent != b || y.gone || p.Placed() != 4 || b.accuser != nil {
		t.Errorf("undescribed %v, adopted: %v; y is under %v, gone: %v; %d count; b is accused by %v",
			undescribed, known, y.parent, y.gone, p.Placed(), b.accuser)
	}
	// Where b says so itself, the same is believed.
	p.Accuse(1, 3, "b")
	p.Leave(later, 1, 3, 1)
	if !y.gone || p.Placed() != 3 || b.accuser != y {
		t.Errorf("y gone: %v; %d count; b is accused by %v", y.gone, p.Placed(), b.accuser)
	}
}

// An agent that lost its last child lists its children only once, and that list may be lost. An agent
// that does not list the children that the planner has for it is asked, again and again.
func TestTruthAgentsThatDoNotListTheirChildrenAreAsked(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 1})
	for _, name := range []string{"a", "b", "c"} { // a chain
		join(t, p, 0, name)
	}
	want := func(at step.Time, agents ...uint32) {
		t.Helper()
		if got := p.Silent(at); !slices.Equal(got[0], agents) {
			t.Errorf("silent: %v, want %v", got, agents)
		}
	}
	want(listSoon - 1)
	want(listSoon, 0, 1)
	want(2*listSoon - 1)
	want(2*listSoon, 0, 1)
	p.Reconcile(2*listSoon, 0, 0, []uint32{1})
	p.Reconcile(2*listSoon, 0, 1, []uint32{})
	if p.Placed() != 2 {
		t.Fatalf("%d count", p.Placed())
	}
	want(2*listSoon + listTime - 1)
	want(2*listSoon+listTime, 0, 1) // the place of c is kept for the grace time
	// Lists of a whole branch may have been lost while there was no path to it.
	p.LeaveRoot(200*listTime, 0)
	want(200 * listTime)
	join(t, p, 200*listTime, "a")
	want(200*listTime + listSoon - 1)
	want(200*listTime+listSoon, 0)
}

// The queues of absent and of unconfirmed agents have one entry for each agent, however often the agent
// comes and goes.
func TestQueuesHoldEachAgentOnce(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 4})
	join(t, p, 0, "a")
	for i := range 100 {
		at := step.Time(i)
		p.LeaveRoot(at, 0)
		join(t, p, at, "a")
	}
	p.LeaveRoot(100, 0)
	if n := p.unconfirmed.order.Len() + p.lapsing.order.Len() + p.forgetting.order.Len(); n != 2 {
		t.Errorf("%d entries, want one for the unconfirmed join and one for the absence", n)
	}
	p.expire(step.Time(time.Hour))
	p.expire(step.Time(2 * time.Hour))
	if n := p.unconfirmed.order.Len() + p.lapsing.order.Len() + p.forgetting.order.Len(); n != 0 || len(p.places) != 0 {
		t.Errorf("%d entries and %d places after two hours", n, len(p.places))
	}
}

// Places are freed: hosts that come and go, each with a name of its own, fill the tree for no longer
// than an hour.
func TestPlacesOfForgottenAgentsAreFreed(t *testing.T) {
	p := NewPlanner(PlannerConfig{MaxAgents: 100, Indices: 10_000})
	now := step.Time(0)
	for i := range 5000 {
		now += step.Time(time.Minute)
		placed := join(t, p, now, fmt.Sprint("host-", i))
		p.AdmitToGossip(placed.Index)
		p.leave(now+step.Time(time.Second), placed.Index, p.places[placed.Index].parent)
	}
	if len(p.places) > 62 || len(p.byName) != len(p.places) || p.gossip > 62 || len(p.relays) > 62 {
		t.Errorf("%d places, %d names, %d in the pool of gossip, %d relays", len(p.places), len(p.byName), p.gossip, len(p.relays))
	}
	placed, err := p.Join(now, "host-7", &wire.Join{Index: 8, Description: relay("x")})
	if err != nil || placed.Index != 7 {
		t.Errorf("a forgotten host came back and has index %d, not 7: %v", placed.Index, err)
	}
}

func TestIndicesAreReservedBlockByBlock(t *testing.T) {
	p := NewPlanner(PlannerConfig{FirstIndex: 100, Indices: 2})
	if !p.NeedsIndices() {
		t.Error("two indices are enough")
	}
	join(t, p, 0, "a")
	join(t, p, 0, "b")
	if _, err := p.Join(0, "c", &wire.Join{Description: relay("c")}); !errors.Is(err, ErrBusy) {
		t.Errorf("without an index to give: %v", err)
	}
	p.Reserved(500, 2000)
	if c := join(t, p, 0, "c"); c.Index != 500 || p.NeedsIndices() {
		t.Errorf("c has index %d", c.Index)
	}
	for index, kept := range map[uint32]bool{99: true, 300: true, 501: false, 600: false, 9999: true} {
		if p.mayKeepIndex(index) != kept {
			t.Errorf("index %d may be kept: %v", index, !kept)
		}
	}
}

// An agent has an index of a block that this planner has reserved: another incarnation reserved the
// block, so others may have indices of it too.
func TestABlockThatAnotherIncarnationReservedIsDiscarded(t *testing.T) {
	p := NewPlanner(PlannerConfig{FirstIndex: 100, Indices: 10})
	p.Reserved(5000, 10)
	p.Reserved(9000, 1000)
	for _, index := range []uint32{107, 5003} {
		p.AdoptRoot(0, wire.Member{Index: index, Name: fmt.Sprint(index), Description: relay("a")})
	}
	if a := join(t, p, 0, "a"); a.Index != 9000 || p.indices.left != 999 {
		t.Errorf("a new agent has index %d, and %d are left", a.Index, p.indices.left)
	}
}

func TestBranchesGrowAlike(t *testing.T) {
	const agents, fanout = 10_000, 16
	p := NewPlanner(PlannerConfig{Fanout: fanout})
	for i := range agents {
		join(t, p, step.Time(i)*step.Time(time.Millisecond), fmt.Sprint(i))
	}
	largest, branches := 0, 0
	for c := p.root.firstChild; c != nil; c = c.next {
		largest = max(largest, c.size)
		branches++
	}
	if mean := agents / branches; largest > mean+fanout {
		t.Errorf("the largest of %d branches has %d agents, the mean is %d", branches, largest, mean)
	}
}

func TestTheRootTakesNoMoreThanItHolds(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 16})
	for i := range wire.MaxChildren {
		if _, err := p.Join(0, fmt.Sprint(i), &wire.Join{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Join(0, "one more", &wire.Join{}); !errors.Is(err, ErrBusy) {
		t.Errorf("one more than the root takes: %v", err)
	}
}

// A host asks for a place while there is none, and never again.
func TestTruthAnAgentThatWasPutOffAndGaveUpIsForgotten(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 16})
	for i := range wire.MaxChildren {
		if _, err := p.Join(0, fmt.Sprint(i), &wire.Join{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Join(0, "given up", &wire.Join{}); !errors.Is(err, ErrBusy) {
		t.Fatalf("one more than the root takes: %v", err)
	}
	p.ReconcileRoot(2*forgetAfter, nil)
	if _, known := p.byName["given up"]; known {
		t.Error("an agent that never had a parent has a place for ever")
	}
}

func TestAdoptionTellsThePlannerWhereAgentsWent(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 4, FirstIndex: 100, Indices: 1000})
	// Agents of an earlier incarnation are told of from the root on.
	p.AdoptRoot(0, wire.Member{Index: 1, Name: "a", Description: wire.Description{Addr: "a", Relay: true}})
	p.Adopt(0, 1, wire.Member{Index: 2, Name: "b", Description: wire.Description{Addr: "b", Relay: true}}, 1)
	p.Adopt(0, 1, wire.Member{Index: 3, Name: "c", Description: wire.Description{Addr: "c", Relay: true}}, 2)
	if p.Placed() != 3 || p.places[3].parent != p.places[2] {
		t.Fatalf("%d placed", p.Placed())
	}
	// A cycle, and an unknown parent, change nothing.
	p.Adopt(0, 1, wire.Member{Index: 1, Name: "a", Description: wire.Description{Relay: true}}, 3)
	known := p.Adopt(0, 1, wire.Member{Index: 4, Name: "d", Description: wire.Description{Relay: true}}, 77)
	if known || p.Placed() != 3 || p.places[1].parent != &p.root || p.Name(3) != "c" || p.places[4] != nil {
		t.Errorf("%d placed, a under %v, 3 is %q", p.Placed(), p.places[1].parent, p.Name(3))
	}
	p.Adopt(0, 1, wire.Member{Index: 3, Name: "c", Description: wire.Description{Relay: true}}, 1) // it went to its backup
	p.Leave(0, 1, 3, 2)                                                                            // and the old parent says it is gone
	if p.places[3].parent != p.places[1] || p.places[3].gone {
		t.Error("old news of an agent that moved was believed")
	}
	if late, err := p.Join(0, "new", &wire.Join{}); err != nil || late.Index < 100 {
		t.Errorf("a new agent was given index %d, %v", late.Index, err)
	}
}

// Two agents have one index after the store was restored from an older copy. Both give it up, and get
// indices of their own.
func TestTruthTwoAgentsDoNotKeepOneIndex(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 4, Indices: 1000})
	join(t, p, 0, "relay")
	given := join(t, p, 0, "new")
	child := join(t, p, 0, "child")
	p.adopt(0, wire.Member{Index: child.Index, Name: "child", Description: relay("child")}, p.places[given.Index])
	p.Adopt(0, 0, wire.Member{Index: given.Index, Name: "old", Description: relay("old")}, 0)
	if got := p.TakeDisplaced(); !slices.Equal(got, []uint32{given.Index}) || len(p.TakeDisplaced()) != 0 {
		t.Fatalf("displaced %v, want %d", got, given.Index)
	}
	if p.Placed() != 1 || p.tally.present.Contains(given.Index) {
		t.Errorf("%d agents count", p.Placed())
	}
	indices := map[uint32]bool{given.Index: true}
	for _, name := range []string{"old", "new"} {
		indices[join(t, p, 0, name).Index] = true
	}
	if len(indices) != 3 {
		t.Errorf("indices %v", indices)
	}
	// The process of an agent was replaced: it comes with another index.
	p.Adopt(0, 0, wire.Member{Index: 99, Name: "new", Description: relay("new")}, 0)
	if got := p.TakeDisplaced(); len(got) != 0 || p.byName["new"] != 99 || p.Placed() != 3 {
		t.Errorf("displaced %v; the agent has index %d; %d count", got, p.byName["new"], p.Placed())
	}
}

// What a process has acknowledged says nothing of the next process with the identity: it may have
// lost its disk, or subscribe to something else. So it gets another index.
func TestTruthAnotherProcessHasAnotherIndex(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 4, Indices: 1000})
	q := NewQuarantine(p)
	first := join(t, p, 0, "host")
	q.confine(0, caseKey{p.places[first.Index], "db"}, "host", 1, "check", nil)
	again := join(t, p, 0, "host")
	if again.Index != first.Index {
		t.Errorf("a process that joins again has index %d, then %d", first.Index, again.Index)
	}
	next, err := p.Join(0, "host", &wire.Join{Description: relay("host")})
	if err != nil || next.Index == first.Index || p.tally.present.Contains(first.Index) || !p.tally.present.Contains(next.Index) {
		t.Errorf("the next process has index %d after %d: %v", next.Index, first.Index, err)
	}
	if c := TakeCensus(0, p, q, nil); len(c.Quarantined) != 1 || c.Quarantined[0].Index != next.Index || c.Agents != 1 {
		t.Errorf("census: %+v", c)
	}
}

func TestAFullTreeSaysSo(t *testing.T) {
	p := NewPlanner(PlannerConfig{MaxAgents: 2})
	for i := range 3 {
		_, err := p.Join(0, fmt.Sprint(i), &wire.Join{})
		if full := errors.Is(err, ErrFull); full != (i == 2) {
			t.Errorf("agent %d: %v", i, err)
		}
	}
	if _, err := p.Join(0, "1", &wire.Join{}); err != nil {
		t.Errorf("an agent that has a place was refused: %v", err)
	}
}

// Agents keep the index of an earlier incarnation of their coordinator, and new
// ones never get an index that such an agent may still hold.
func TestIndicesSurviveARestartOfTheCoordinator(t *testing.T) {
	p := NewPlanner(PlannerConfig{FirstIndex: 1000})
	old, err := p.Join(0, "old", &wire.Join{Index: 43})
	if err != nil || old.Index != 42 {
		t.Errorf("an agent with index 42 was given %d, %v", old.Index, err)
	}
	thief, err := p.Join(0, "thief", &wire.Join{Index: 43})
	if err != nil || thief.Index < 1000 {
		t.Errorf("a second agent that claims index 42 was given %d, %v", thief.Index, err)
	}
	liar, err := p.Join(0, "liar", &wire.Join{Index: 2000})
	if err != nil || liar.Index < 1000 || liar.Index >= 1010 {
		t.Errorf("an agent that claims an index that is yet to be given was given %d, %v", liar.Index, err)
	}
}

func BenchmarkPlanner50kJoins(b *testing.B) {
	for b.Loop() {
		p := NewPlanner(PlannerConfig{Fanout: 32})
		for i := range 50_000 {
			if _, err := p.Join(0, fmt.Sprint(i), &wire.Join{Description: wire.Description{Relay: true}}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// Many agents join at one time. They get places below relays that have a parent, and the root does
// not take more children than it has places.
func TestAgentsWaitForRelaysThatHaveJustJoined(t *testing.T) {
	p := NewPlanner(PlannerConfig{Fanout: 2})
	first, err := p.Join(0, "a", &wire.Join{Description: relay("a")})
	if err != nil {
		t.Fatal(err)
	}
	join(t, p, 0, "b-leaf") // the root is full
	p.places[p.byName["b-leaf"]].Relay = false
	third := &wire.Join{Description: relay("c")}
	if _, err := p.Join(0, "c", third); !errors.Is(err, ErrBusy) {
		t.Errorf("an agent has a place below a relay that may have no parent: %v", err)
	}
	confirm(p, step.Time(time.Second), first.Index)
	if placed, err := p.Join(step.Time(time.Second), "c", third); err != nil || placed.Parent.Name != "a" {
		t.Errorf("placed under %q, %v", placed.Parent.Name, err)
	}
	// The relay that is awaited joins again and again, and never has a parent: nobody waits for ever.
	p.places[first.Index].Relay = false
	for now := step.Time(2 * time.Second); ; now += step.Time(time.Second) {
		if now > step.Time(20*time.Second) {
			t.Fatal("an agent waits for ever")
		}
		again := &wire.Join{Index: p.byName["c"] + 1, Description: relay("c")}
		if _, err := p.Join(now, "c", again); err != nil {
			t.Fatal(err)
		}
		placed, err := p.Join(now, "d", &wire.Join{Avoid: []string{"a"}, Description: relay("d")})
		if err == nil {
			if placed.Parent.Name != "" {
				t.Errorf("placed under %q, want the root", placed.Parent.Name)
			}
			break
		}
	}
}
