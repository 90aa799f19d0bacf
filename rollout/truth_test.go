package rollout

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/mesh/wire"
	"banyan/record"
)

// trial is a rollout of version 2 in regions whose hosts do at once what a pointer says. Hosts
// are in a wave as on a real fleet: by their names.
type trial struct {
	t       *testing.T
	state   State
	hosts   map[string]*hosts // by region
	answers map[string]Answer
	up      time.Duration
}

// hosts are the hosts of a region.
type hosts struct {
	pointer record.Pointer
	names   []string
	labels  map[string]string // of every host
	failing int               // of the hosts of the wave
	silent  int               // of the hosts of the wave
	gone    int               // of all hosts
	excused int               // in quarantine
	named   bool              // the leader knows the names of the hosts
}

func newTrial(t *testing.T, plan string, sizes map[string]int) *trial {
	t.Helper()
	p, err := ParsePlan([]byte(plan))
	if err != nil {
		t.Fatal(err)
	}
	c := &trial{t: t, hosts: map[string]*hosts{}, answers: map[string]Answer{}, up: time.Hour}
	pointers := map[string]record.Pointer{}
	for region, n := range sizes {
		h := &hosts{named: true, pointer: record.Pointer{Config: "a", Region: region, Epoch: 1, Baseline: ref(1), Phase: record.PhaseActive}}
		for i := range n {
			h.names = append(h.names, fmt.Sprintf("%s-%d", region, i))
		}
		c.hosts[region] = h
		pointers[region] = h.pointer
	}
	c.state, err = Start(1, "a", ref(2), p, pointers, nil, "alice", "", time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (h *hosts) seen() Region {
	p := h.pointer
	n := len(h.names) - h.gone
	r := Region{Epoch: p.Epoch, Known: true, Placed: n, Agents: n - h.excused, Applied: n - h.excused}
	if p.Candidate.IsZero() {
		return r
	}
	if p.Phase == record.PhaseActive {
		for _, name := range h.names[:r.Agents] {
			if p.Wave.Covers("a", name, h.labels) {
				r.InWave++
			}
		}
		r.Failed = min(h.failing, r.InWave)
		r.Running = r.InWave - r.Failed - h.silent
		r.Applied -= r.Failed + h.silent
	}
	return r
}

// places returns the places of the hosts that count.
func (h *hosts) places() []uint32 {
	var places []uint32
	if !h.named {
		return nil
	}
	for _, name := range h.names[:h.seen().Agents] {
		places = append(places, record.WavePlace("a", name))
	}
	slices.Sort(places)
	return places
}

func (c *trial) view() View {
	v := View{
		Now:     time.Unix(1, 0),
		Regions: map[string]Region{},
		Places:  func(region string) []uint32 { return c.hosts[region].places() },
		Uptime:  c.up,
		Answers: c.answers,
	}
	for region, h := range c.hosts {
		v.Regions[region] = h.seen()
	}
	return v
}

func (c *trial) take(next State, moves []Move) {
	c.state = next
	for _, p := range moves {
		p.Config = "a"
		c.hosts[p.Region].pointer = p
	}
}

// pass decides a step each second for a duration, and then steps until nothing changes.
func (c *trial) pass(d time.Duration) {
	for range int(d / time.Second) {
		next, moves, _ := Decide(c.state, c.view(), time.Second)
		c.take(next, moves)
	}
	for range 50 {
		next, moves, changed := Decide(c.state, c.view(), 0)
		c.take(next, moves)
		if !changed {
			return
		}
	}
}

func (c *trial) ask(what string) {
	c.t.Helper()
	next, moves, err := Apply(c.state, Request{What: what, By: "bob"}, c.view())
	if err != nil {
		c.t.Fatal(err)
	}
	c.take(next, moves)
}

// is checks the status, and that the reason contains a text.
func (c *trial) is(status Status, why string) {
	c.t.Helper()
	if c.state.Status != status || !strings.Contains(c.state.Why, why) {
		c.t.Errorf("%s (%s), want %s (%s)\n%+v", c.state.Title(), c.state.Why, status, why, c.state.Log)
	}
}

// runs returns the number of hosts of a region that run version 2.
func (c *trial) runs(region string) int { return c.hosts[region].seen().Running }

// A wave with a share has that share of all hosts, rounded up, whatever the names of the hosts. If
// the leader does not know the names, the wave has that many hosts at least.
func TestTruthAWaveOfAShareHasThatManyHosts(t *testing.T) {
	const plan = "waves: [{share: 1%, bake: 1h}, {share: 33.33%, bake: 1h}, {share: 50%, bake: 1h}, {share: 100%}]"
	for n := 1; n <= 60; n++ {
		c := newTrial(t, plan, map[string]int{"eu": n, "us": 17 * n, "ap": n, "af": 0})
		c.hosts["ap"].named = false
		for wave, share := range []float64{0.01, 0.3333, 0.5} {
			c.pass(time.Second)
			if c.state.Wave != wave || c.state.Part != Baking {
				t.Fatalf("wave %d of %d hosts: %s", wave+1, n, c.state.Title())
			}
			for region, h := range c.hosts {
				want := int(math.Ceil(share * float64(len(h.names))))
				got := c.runs(region)
				if got < want || got > want && h.named {
					t.Errorf("wave %d of %d hosts of %s: %d run it, want %d", wave+1, len(h.names), region, got, want)
				}
			}
			c.ask(Promote)
		}
		c.pass(time.Second)
		c.is(Done, "")
	}
}

// The hosts of a wave are chosen when it begins. Hosts that come and go later do not change which
// hosts are in, and the hosts of a wave are in the waves after it.
func TestTruthHostsThatComeDoNotChangeAWave(t *testing.T) {
	c := newTrial(t, "waves: [{share: 20%, bake: 1h}, {share: 30%, bake: 1h}, {share: 100%}]", map[string]int{"eu": 50})
	h := c.hosts["eu"]
	c.pass(time.Second)
	first := h.pointer
	if got := c.runs("eu"); got != 10 {
		t.Fatalf("%d hosts run it, want 10", got)
	}
	for i := range 100 {
		h.names = append(h.names, fmt.Sprintf("new-%d", i))
		c.pass(time.Second)
	}
	h.names = h.names[20:]
	c.pass(time.Second)
	if h.pointer.Wave.Bound != first.Wave.Bound || c.state.Status != Running {
		t.Errorf("%+v, before %+v\n%+v", h.pointer, first, c.state.Log)
	}

	// Hosts leave that come late in the order of waves: the second wave keeps the hosts of the first.
	h.names = slices.DeleteFunc(h.names, func(name string) bool { return record.WavePlace("a", name) > 2*first.Wave.Bound })
	c.state.Regions["eu"].Agents = 0
	c.state.Regions["eu"].InWave = 0
	c.ask(Promote)
	c.pass(time.Second)
	if c.state.Wave != 1 || h.pointer.Wave.Bound < first.Wave.Bound {
		t.Errorf("wave %d, %+v, before %+v", c.state.Wave+1, h.pointer, first)
	}
}

// Hosts that leave while a wave is applied do not make the leader take in others.
func TestTruthAWaveIsFilledOnce(t *testing.T) {
	c := newTrial(t, "waves: [{share: 50%, bake: 1h}, {share: 100%}]\ngates: {maxGone: 50%, minSuccess: 100%}", map[string]int{"eu": 40})
	h := c.hosts["eu"]
	h.silent = 1
	c.pass(time.Second)
	epoch := h.pointer.Epoch
	in := func(name string) bool { return h.pointer.Wave.Covers("a", name, nil) }
	for len(h.names) > 30 {
		i := slices.IndexFunc(h.names, in)
		h.names = slices.Delete(h.names, i, i+1)
	}
	c.pass(time.Second)
	if h.pointer.Epoch != epoch || c.state.Part != Applying {
		t.Errorf("epoch %d, before %d\n%+v", h.pointer.Epoch, epoch, c.state.Log)
	}
}

// A wave of labels that no host of a region carries tests nothing there.
func TestTruthAWaveWithoutHostsDoesNotPass(t *testing.T) {
	c := newTrial(t, "waves: [{labels: {canary: true}}, {share: 100%}]", map[string]int{"eu": 3, "us": 12, "ap": 0})
	c.hosts["eu"].labels = map[string]string{"canary": "true"}
	c.pass(time.Minute)
	c.is(Paused, "wave 1 of 2 (canary=true) has none of the 12 hosts of us")
	c.ask(Resume)
	c.pass(time.Second)
	c.is(Paused, "has none of the 12 hosts of us")
	c.ask(Promote)
	c.pass(time.Second)
	c.is(Done, "")

	// A leader that has just started has not counted the canary.
	c = newTrial(t, "waves: [{labels: {canary: true}}, {share: 100%}]", map[string]int{"eu": 3})
	c.state.Regions["eu"].Agents = 3
	c.state.Plan.Stage.Skip = true
	c.up = 0
	c.hosts["eu"].gone = 2
	c.pass(10 * time.Second)
	c.is(Running, "")

	c = newTrial(t, "waves: [{share: 100%}]", map[string]int{"eu": 3})
	c.hosts["eu"].excused = 3
	c.pass(time.Minute)
	c.is(Paused, "every host of eu is in quarantine for a")
}

// A pause for want of hosts ends when its reason is gone. A pause by a person does not.
func TestTruthAPauseEndsWithItsReason(t *testing.T) {
	c := newTrial(t, "waves: [{share: 100%}]", map[string]int{"eu": 3})
	c.hosts["eu"].excused = 3
	c.pass(time.Minute)
	c.is(Paused, "every host of eu is in quarantine for a")
	c.hosts["eu"].gone = 3 // nobody is counted: the reason is not known to be gone
	c.hosts["eu"].excused = 0
	c.pass(time.Second)
	c.is(Paused, "every host of eu is in quarantine for a")
	c.hosts["eu"].gone = 0
	c.hosts["eu"].excused = 1
	c.pass(time.Second)
	c.is(Done, "")

	c = newTrial(t, "waves: [{labels: {canary: true}, bake: 1h}, {share: 100%}]", map[string]int{"eu": 3})
	c.pass(time.Minute)
	c.is(Paused, "has none of the 3 hosts of eu")
	c.hosts["eu"].labels = map[string]string{"canary": "true"}
	c.pass(time.Second)
	c.is(Running, "")
	c.ask(Pause)
	c.pass(time.Minute)
	c.is(Paused, "by bob")
}

// A host in quarantine that has acknowledged the pointer of the rollout counts with the hosts that run
// the version, also before the census says that it is out of quarantine.
func TestTruthAHostThatRunsTheVersionIsCounted(t *testing.T) {
	tracker := NewTracker()
	p := record.Pointer{
		Config: "a", Region: "eu", Term: 1, Epoch: 5, Baseline: ref(1), Candidate: ref(2), Phase: record.PhaseActive,
	}
	tracker.Moved(p)
	tracker.Counted("one", "eu", &wire.Census{
		Agents:  4,
		Present: indices(0, 4),
		Quarantined: []wire.Quarantined{
			{Index: 2, Name: "c", Config: "a", Position: record.At(1, 3)},
			{Index: 3, Name: "d", Config: "a", Position: record.At(1, 3)},
		},
		Waves: []wire.WaveSize{{Config: "a", Position: p.Position(), Agents: 2, InWave: 1}},
	}, time.Now())
	e := wire.NewAckEntry(p.Key(), p.Position(), p.Digest())
	e.Applied.AddMany([]uint32{0, 1, 2})
	e.Running.AddMany([]uint32{1, 2})
	tracker.Acked(e)
	r := tracker.Region(p, record.At(1, 4))
	if r.Agents != 3 || r.InWave != 2 || r.Running != 2 || r.Applied != 3 {
		t.Errorf("%d agents, %d in the wave, %d run it, %d applied", r.Agents, r.InWave, r.Running, r.Applied)
	}
}

// A paused rollout does not go forward. It is taken back if a gate fails.
func TestTruthAPausedRolloutIsJudged(t *testing.T) {
	const plan = "waves: [{share: 50%, bake: 1h}, {share: 100%}]\ngates: {timeout: 2m}\n"
	start := func(plan string) *trial {
		c := newTrial(t, plan, map[string]int{"eu": 100})
		c.pass(time.Second)
		c.ask(Pause)
		c.pass(time.Hour)
		c.is(Paused, "by bob")
		return c
	}
	c := start(plan)
	c.hosts["eu"].gone = 60
	c.pass(10 * time.Minute)
	c.is(RolledBack, "60 of the 100 agents of eu are gone")
	c = start(plan)
	c.hosts["eu"].failing = 40
	c.pass(10 * time.Second)
	c.is(RolledBack, "40 of 5")
	c = start(plan + "onFailure: pause\n")
	c.hosts["eu"].failing = 40
	c.pass(10 * time.Second)
	c.is(Paused, "by bob")
	if c = start(plan); !c.state.Asks() {
		t.Error("the gates of a paused rollout are not asked")
	}
}

// Regions that have gone through all waves are judged while others follow.
func TestTruthFinishedRegionsAreJudged(t *testing.T) {
	const plan = "regions: [[eu], [us]]\nwaves: [{share: 10%, bake: 1m}, {share: 100%, bake: 1m}]\ngates: {timeout: 2m}\n"
	start := func() *trial {
		c := newTrial(t, plan, map[string]int{"eu": 100, "us": 100})
		for c.state.Group == 0 && c.state.Status == Running {
			c.pass(time.Second)
		}
		return c
	}
	c := start()
	c.hosts["eu"].failing = 90
	c.pass(2 * time.Second)
	c.is(RolledBack, "90 of 100 agents of the wave failed in eu")
	c = start()
	c.hosts["eu"].gone = 90
	c.state.Plan.Waves[0].Bake *= 10
	c.pass(3 * time.Minute)
	c.pass(2 * time.Minute) // the hosts that are gone do not come back
	c.is(RolledBack, "90 of the 100 agents of eu are gone")
	c = start()
	c.pass(10 * time.Minute)
	c.is(Done, "")

	// A person who promoted the first regions past their gates knew of the failures.
	c = newTrial(t, plan, map[string]int{"eu": 100, "us": 100})
	for c.state.Wave == 0 {
		c.pass(time.Second)
	}
	c.ask(Pause)
	c.state.Plan.OnFailure = FailPause
	c.hosts["eu"].failing = 90
	c.ask(Promote)
	c.pass(10 * time.Minute)
	c.is(Done, "")
}

// A ratio without traffic is 0/0, which is not known and not a failure.
func TestTruthNotANumberIsUnknown(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		condition string
		values    []float64
		want      Verdict
	}{
		{"< 0.5", []float64{nan}, Unknown},
		{"< 0.5", []float64{nan, 0.1}, Unknown},
		{"< 0.5", []float64{nan, 0.7}, Fail},
		{"!= 0", []float64{nan}, Unknown},
		{"< 0.5", nil, Unknown},
		{"< 0.5", []float64{0.1, 0.2}, Pass},
		{"< 0.5", []float64{math.Inf(1)}, Fail},
	} {
		if got := (Query{Condition: c.condition}).Judge(c.values); got != c.want {
			t.Errorf("%v %s: %d, want %d", c.values, c.condition, got, c.want)
		}
	}
}

// A rollout that waits names the hosts that hold it up: not those that the plan lets be missing, nor
// those of a region that is through.
func TestTruthAWaitNamesOnlyWhoHoldsItUp(t *testing.T) {
	c := newTrial(t, "waves: [{share: 100%, bake: 1h}]\ngates: {maxUnheard: 50%}", map[string]int{"eu": 4, "us": 4})
	next, moves, _ := Decide(c.state, c.view(), 0)
	c.take(next, moves)
	seen := c.view().Regions
	is := func(what, want string) {
		t.Helper()
		got := c.state.Waits(seen)
		names, _, _ := strings.Cut(strings.TrimPrefix(got, "waiting for "), "; up to ")
		if names != want {
			t.Errorf("%s: waits for %q, want %q", what, got, want)
		}
	}
	eu := seen["eu"]
	eu.Hosts = 6
	eu.Unheard = 2
	eu.Absent = []string{"eu-8, last heard 9s ago", "eu-9, never heard of"}
	eu.Applied = 3
	eu.Waiting = []string{"eu-3: disk is full"}
	us := seen["us"]
	us.Waiting = []string{"us-1, attached"}
	seen["eu"] = eu
	seen["us"] = us
	is("two of six hosts may be missing, and us has staged it", "eu-3: disk is full")
	eu.Hosts = 4
	eu.Unheard = 3
	seen["eu"] = eu
	is("three of four hosts are missing", "eu-8, last heard 9s ago; eu-9, never heard of; eu-3: disk is full")
	eu = Region{Epoch: eu.Epoch, Waiting: []string{"the coordinator of eu, last heard 1m ago"}}
	seen["eu"] = eu
	is("nothing is heard of eu", "the coordinator of eu, last heard 1m ago")
}

// An immediate rollout does not wait for hosts, so it does not say how many run the version.
func TestTruthAnImmediateRolloutSaysThatItWasSent(t *testing.T) {
	log := func(c *trial) string {
		c.pass(time.Second)
		c.is(Done, "")
		var lines []string
		for _, e := range c.state.Log {
			lines = append(lines, e.What)
		}
		return strings.Join(lines, "\n")
	}
	c := newTrial(t, "immediate: true", map[string]int{"eu": 3, "us": 2})
	c.hosts["eu"].silent = 3
	c.hosts["us"].excused = 1
	if text := log(c); !strings.Contains(text, "sent to 5 hosts without gates") || strings.Contains(text, "runs on") {
		t.Errorf("the log says:\n%s", text)
	}
	c = newTrial(t, "immediate: true", map[string]int{"eu": 1})
	if text := log(c); !strings.Contains(text, "sent to 1 host without gates") {
		t.Errorf("the log says:\n%s", text)
	}
}

// A zero in a plan does not silently become the default.
func TestTruthAZeroInAPlanIsNotTheDefault(t *testing.T) {
	for text, want := range map[string]string{
		"stage: {timeout: 0s}":                                   "stage.timeout is 0s; it must be more than 0",
		"stage: {share: 0%}":                                     "stage.share is 0%",
		"gates: {maxGone: 0.0%}":                                 "gates.maxGone is 0.0%",
		"waves: [{share: 100%, gates: {minSuccess: 0%}}]":        "waves[0].gates.minSuccess is 0%",
		"gates: {webhooks: [{url: 'http://a', every: 0s}]}":      "gates.webhooks[0].every is 0s",
		"waves: [{share: 100%, bake: 0s, gates: {maxSkew: 0s}}]": "waves[0].gates.maxSkew is 0s",
	} {
		if _, err := ParsePlan([]byte(text)); !errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for _, text := range []string{"waves: [{labels: {timeout: '0'}, bake: 0s}, {share: 100%}]", "gates: {maxUnheard: 0%, maxFailures: 0}"} {
		if _, err := ParsePlan([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
