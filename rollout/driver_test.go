package rollout

import (
	"testing"
	"time"

	"banyan/record"
)

func newDriver(t *testing.T, now time.Duration) (*Driver, *controller) {
	c := newController(t, threeWaves, "eu", "us", "ap")
	p, err := ParsePlan([]byte(threeWaves))
	if err != nil {
		t.Fatal(err)
	}
	pointers := map[string]record.Pointer{}
	for name, r := range c.fleet {
		pointers[name] = r.pointer
	}
	s, err := Start(1, "a", ref(2), p, pointers, nil, "alice", "", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return NewDriver(s, now), c
}

func (c *controller) apply(moves []Move) {
	for _, p := range moves {
		c.fleet[p.Region].pointer = p
	}
}

// toBaking steps a driver once a second until its first wave bakes.
func toBaking(t *testing.T, d *Driver, c *controller) time.Duration {
	now := time.Duration(0)
	for range 100 {
		if d.Stored().Part == Baking {
			return now
		}
		now += time.Second
		_, moves, changed := d.Step(now, c.view())
		if changed {
			c.apply(moves)
			d.Committed()
		}
	}
	t.Fatalf("the first wave does not bake; the rollout is %s, %s", d.Stored().Status, d.Stored().Part)
	return 0
}

func TestAFailedTransactionIsDecidedAnew(t *testing.T) {
	d, c := newDriver(t, 0)
	_, first, changed := d.Step(time.Second, c.view())
	if !changed || !d.Writing() || len(first) != 2 || d.Stored().Part != "" || d.State().Part != "" {
		t.Fatalf("changed %t, moves %v, stored %q: a transaction in flight is not stored", changed, first, d.Stored().Part)
	}
	d.Failed()
	_, again, changed := d.Step(2*time.Second, c.view())
	if !changed || len(again) != 2 || again[0].Epoch != first[0].Epoch {
		t.Errorf("after a failed transaction: moves %v, want %v again", again, first)
	}
	d.Committed()
	if d.Writing() || d.Stored().Part != Staging || d.State().Part != Staging {
		t.Errorf("after the commit: stored %q, in memory %q", d.Stored().Part, d.State().Part)
	}
}

func TestOneTransactionIsInFlight(t *testing.T) {
	d, c := newDriver(t, 0)
	d.Step(time.Second, c.view())
	defer func() {
		if recover() == nil {
			t.Error("a step was decided while a transaction was in flight")
		}
	}()
	d.Step(2*time.Second, c.view())
}

func TestARestartForgetsWhatWasInMemoryOnly(t *testing.T) {
	d, c := newDriver(t, 0)
	now := toBaking(t, d, c)
	d.Step(now+3*time.Second, c.view()) // under the checkpoint of 5 s
	if d.State().Spent != 3*time.Second || d.Stored().Spent != 0 {
		t.Fatalf("spent %s in memory, %s stored", d.State().Spent, d.Stored().Spent)
	}
	d.Restart(now + time.Hour)
	if d.State().Spent != 0 {
		t.Errorf("after a restart %s are spent", d.State().Spent)
	}
	d.Step(now+time.Hour+time.Second, c.view())
	if d.State().Spent != time.Second {
		t.Errorf("a second after a restart %s are spent: the outage counted", d.State().Spent)
	}
}

func TestLoadTakesAnotherWritersState(t *testing.T) {
	d, c := newDriver(t, 0)
	now := toBaking(t, d, c)
	_, _, changed := d.Step(now+8*time.Second, c.view())
	if !changed {
		t.Fatal("8 s of a bake are worth a write")
	}
	paused, _, err := Apply(d.Stored(), Request{What: Pause, By: "bob"}, c.view())
	if err != nil {
		t.Fatal(err)
	}
	d.Load(paused, now+9*time.Second)
	if d.Writing() || d.State().Status != Paused {
		t.Errorf("writing %t, status %s", d.Writing(), d.State().Status)
	}
	resumed, _, err := Apply(paused, Request{What: Resume, By: "bob"}, c.view())
	if err != nil {
		t.Fatal(err)
	}
	d.Load(resumed, now+9*time.Second)
	d.Step(now+10*time.Second, c.view())
	if d.State().Spent != 2*time.Second {
		t.Errorf("%s are spent since the last step 2 s ago", d.State().Spent)
	}
	another := resumed
	another.ID++
	d.Load(another, now+20*time.Second)
	d.Step(now+21*time.Second, c.view())
	if d.State().Spent != time.Second {
		t.Errorf("%s are spent of a rollout that began 1 s ago", d.State().Spent)
	}
}

func TestPaceGathersWakesIntoOneStep(t *testing.T) {
	var p Pace
	if p.Due(0) {
		t.Error("a step is due that nobody asked for")
	}
	due, first := p.Wake(time.Second)
	if due != time.Second+Gather || !first {
		t.Errorf("due at %s, first %t", due, first)
	}
	due, first = p.Wake(time.Second + Gather/2)
	if due != time.Second+Gather || first {
		t.Errorf("a second wake: due at %s, first %t", due, first)
	}
	if p.Due(due - 1) {
		t.Error("due before its time")
	}
	if !p.Due(due) || p.Due(due) {
		t.Error("a step is taken once")
	}
}
