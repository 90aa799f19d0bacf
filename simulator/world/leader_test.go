package world

import (
	"testing"
	"time"

	"banyan/record"
)

func TestEachCommitTakesTheNextEpochAndRevision(t *testing.T) {
	s := newStore(newSigner())
	for i, c := range []struct {
		config, region  string
		epoch, revision uint64
	}{{"a", "eu", 1, 1}, {"a", "us", 1, 2}, {"a", "eu", 2, 3}, {"b", "eu", 1, 4}} {
		a := s.commit(s.next(Change{Config: c.config, Version: 5}, c.region, 7))
		if a.Pointer.Epoch != c.epoch || a.Revision != c.revision || a.Pointer.TimeMicros != 7 {
			t.Errorf("commit %d: epoch %d, revision %d; want %d, %d", i, a.Pointer.Epoch, a.Revision, c.epoch, c.revision)
		}
		if got := s.current(a.Pointer.Key()); got != a {
			t.Errorf("commit %d is not the current pointer", i)
		}
	}
	if len(s.pointers) != 3 {
		t.Errorf("the store has %d pointers, want the newest of 3 keys", len(s.pointers))
	}
}

func TestACommitWithAWrongEpochPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("epoch 2 was committed as the first")
		}
	}()
	s := newStore(newSigner())
	s.commit(record.Pointer{Config: "a", Region: "eu", Epoch: 2})
}

// A version is pushed with the first pointer that names it, if its body is small enough.
func TestAVersionIsPushedOnce(t *testing.T) {
	w := newWorld(t, Config{Agents: []int{1}, BodyBytes: 1000, PushLimit: 2000})
	w.SetBodySize(Key("a", 3), 2001)
	for i, c := range []struct {
		version uint64
		pushed  bool
	}{{1, true}, {1, false}, {2, true}, {1, false}, {3, false}, {4, true}} {
		p := w.store().next(Change{Config: "a", Version: c.version}, "dallas", 0)
		if push := w.pushFor(0, &p); (push != nil) != c.pushed {
			t.Errorf("pointer %d to version %d: pushed is %v, want %v", i, c.version, push != nil, c.pushed)
		}
	}
	none := newWorld(t, Config{Agents: []int{1}, PushLimit: -1})
	p := none.store().next(Change{Config: "a", Version: 1}, "dallas", 0)
	if none.pushFor(0, &p) != nil {
		t.Error("a version was pushed over a negative limit")
	}
}

// A leader that crashes before the commit moves nothing, also if it is up again by then.
func TestALeaderThatCrashesBeforeTheCommitMovesNothing(t *testing.T) {
	w := newWorld(t, Config{Seed: 1, Agents: []int{3}, Fanout: 2})
	settle(t, w)
	w.Publish("a", 1)
	w.Run(w.Now().Add(w.cfg.Commit() / 2))
	w.Crash(0)
	w.Start(0)
	w.Run(w.Now().Add(time.Second))
	if w.Current("a", "dallas") != nil {
		t.Error("the pointer was committed")
	}
	w.Publish("a", 1)
	w.Run(w.Now().Add(time.Second))
	if a := w.Current("a", "dallas"); a == nil || a.Pointer.Epoch != 1 {
		t.Errorf("the next leader committed %+v", a)
	}
}

func TestAPreloadedConfigRunsEverywhere(t *testing.T) {
	w := newWorld(t, Config{Agents: []int{3, 2}})
	w.Preload("a")
	for i := range w.Agents() {
		h := w.Host(i)
		epoch, ok := h.AppliedEpoch("a")
		if !ok || epoch != 1 || !h.Holds(Key("a", 1)) || h.Bodies() != 1 {
			t.Errorf("%s: epoch %d, %d bodies", h.Name(), epoch, h.Bodies())
		}
	}
}

func TestCommitTakesTheRoundTripToAMajority(t *testing.T) {
	m, err := Preset("ibm-2024")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Agents:  make([]int, len(m.Regions)),
		Network: Network{Matrix: m},
	}
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	at := func(name string) int { return m.Index(name) }
	for _, c := range []struct {
		voters []int
		want   time.Duration
	}{
		{nil, 2200*time.Microsecond + time.Millisecond},
		{[]int{0}, time.Millisecond},
		// Dallas, Toronto (34 ms) and Frankfurt (123 ms): two are a majority.
		{[]int{0, at("toronto"), at("frankfurt")}, 35 * time.Millisecond},
		// With Sydney (185 ms) and Tokyo (141 ms), three of five are a majority.
		{[]int{0, at("sydney"), at("tokyo"), at("toronto"), at("frankfurt")}, 124 * time.Millisecond},
	} {
		cfg.Voters = c.voters
		if got := cfg.Commit(); got != c.want {
			t.Errorf("voters %v: a commit takes %s, want %s", c.voters, got, c.want)
		}
	}
	// The floor counts only regions with agents: Frankfurt is 61.5 ms away.
	cfg.Voters = []int{0}
	cfg.Agents[at("frankfurt")] = 1
	if got, want := cfg.Bound(), time.Millisecond+61500*time.Microsecond; got != want {
		t.Errorf("the floor is %s, want %s", got, want)
	}
}
