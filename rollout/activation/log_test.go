package activation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/record"
)

// history moves a pointer and its log step by step.
type history struct {
	t   *testing.T
	p   record.Pointer
	log Log
	// away is true if no host acknowledges anything.
	away bool
}

// ref names a version whose content is made from n.
func ref(n uint64) record.Ref { return record.Ref{Version: n, Digest: record.Digest{byte(n)}} }

// ran returns the versions that hosts acknowledge.
func (h *history) ran() []record.Ref {
	if h.away {
		return nil
	}
	return []record.Ref{h.p.Baseline, h.p.Candidate}
}

func (h *history) move(p record.Pointer, c Cause) {
	h.t.Helper()
	p.Config = "t/x"
	p.Region = "eu"
	p.Epoch = h.p.Epoch + 1
	if p.Phase == 0 {
		p.Phase = record.PhaseActive
	}
	h.log = h.log.Moved(h.p, p, h.ran(), time.Unix(int64(p.Epoch), 0), c)
	h.p = p
	h.log, _ = h.log.Acknowledged(h.p, h.ran())
}

// live makes a version the baseline, without a rollout.
func (h *history) live(version uint64) {
	h.t.Helper()
	h.move(record.Pointer{Baseline: ref(version)}, Cause{By: "alice"})
}

// try stages a version, brings the version to a wave of 1%, and takes the version back.
func (h *history) try(version uint64, by string) {
	h.t.Helper()
	h.move(record.Pointer{Baseline: h.p.Baseline, Candidate: ref(version), Phase: record.PhaseStage}, Cause{By: "alice"})
	h.move(record.Pointer{Baseline: h.p.Baseline, Candidate: ref(version), Wave: record.Wave{Share: 100}}, Cause{By: "alice"})
	h.move(record.Pointer{Baseline: h.p.Baseline}, Cause{By: by, Why: "5 of 5 hosts failed", Back: true})
}

// back takes the region back to a version by hand.
func (h *history) back(version uint64) {
	h.t.Helper()
	h.move(record.Pointer{Baseline: ref(version)}, Cause{By: "bob", Why: "checkout is broken", Back: true})
}

// before checks the version to go back to, and the skipped versions.
func (h *history) before(want uint64, skipped ...uint64) {
	h.t.Helper()
	to, over, _ := h.log.Before()
	var got []uint64
	for _, e := range over {
		got = append(got, e.Version)
	}
	if to.Version != want || !slices.Equal(got, skipped) {
		h.t.Errorf("back to %d, skipping %v; want %d, %v\n%+v", to.Version, got, want, skipped, h.log.Entries)
	}
}

// Version 1 runs, a gate takes 2 back, 3 runs: what ran last and well before 3 is 1.
func TestTruthVersionsTakenBackAreNoDefault(t *testing.T) {
	h := history{t: t}
	h.live(1)
	h.before(0)
	h.try(2, Gate)
	h.live(3)
	h.before(1, 2)
	two, _ := h.log.Last(2)
	if !two.Bad() || two.String() != "taken back by its gate" || two.EndedWhy != "5 of 5 hosts failed" || two.Reach != Wave {
		t.Errorf("version 2: %s, %+v", two, two)
	}
	one, _ := h.log.Last(1)
	if one.String() != "replaced by version 3" || one.Since.Unix() != 1 || one.Until.Unix() != 5 {
		t.Errorf("version 1: %s, %+v", one, one)
	}
	h.back(1)
	if e, back := h.log.Back(); !back || e.Version != 3 || e.String() != "rolled back by bob" {
		t.Errorf("after the rollback: %+v, %v", e, back)
	}
	h.before(0, 3, 2)
	h.live(4)
	if e, back := h.log.Back(); back {
		t.Errorf("after version 4 went live, the region is still back from %+v", e)
	}
	h.before(1)
}

// A version that was live while no host was there did not run.
func TestTruthAVersionThatNoHostRanIsNoDefault(t *testing.T) {
	h := history{t: t}
	h.live(1)
	h.live(2)
	h.away = true
	h.live(3)
	h.live(4)
	h.before(2, 3)
	h.away = false
	h.live(5) // hosts came, and ran version 4
	h.before(4)
	three, _ := h.log.Last(3)
	if three.Well() || !three.Live() || three.String() != "replaced by version 4 before a host was known to run it" {
		t.Errorf("version 3: %s, %+v", three, three)
	}
	elsewhere := func(version record.Ref) bool { return version == ref(3) }
	if to, _, ok := h.log.BeforeAs(elsewhere); !ok || to.Version != 3 {
		t.Errorf("as in another region: %+v, %v", to, ok)
	}
}

// Hosts that acknowledge the version are noted once, and after a leader has started anew.
func TestTruthAnAcknowledgementIsNoted(t *testing.T) {
	h := history{t: t, away: true}
	h.live(1)
	ran := []record.Ref{ref(1), ref(9)}
	log, changed := h.log.Acknowledged(h.p, ran)
	if one, _ := log.Last(1); !changed || !one.Well() {
		t.Errorf("version 1: %+v, changed %v", one, changed)
	}
	if _, changed := log.Acknowledged(h.p, ran); changed {
		t.Error("noted twice")
	}
	raw, err := log.Encode()
	if err != nil {
		t.Fatal(err)
	}
	h.log, err = Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	h.live(2)
	h.before(1)
	h.away = true
	h.live(3)
	h.live(4)
	log, changed = h.log.AcknowledgedLate([]record.Ref{ref(3), {Version: 2, Digest: record.Digest{99}}})
	if to, _, _ := log.Before(); !changed || to.Version != 3 {
		t.Errorf("a host ran version 3, which was replaced by then: %+v, changed %v", to, changed)
	}
	if _, changed := log.AcknowledgedLate([]record.Ref{ref(3)}); changed {
		t.Error("noted twice")
	}
	h.p.Baseline = ref(2)
	log, changed = Log{}.Acknowledged(h.p, []record.Ref{ref(2)})
	if two, _ := log.Last(2); !changed || !two.Well() {
		t.Errorf("version 2 in a log that was lost: %+v, changed %v", two, changed)
	}
}

func TestTruthAVersionThatRunsAgainIsCleared(t *testing.T) {
	h := history{t: t}
	h.live(1)
	h.try(2, Gate)
	if h.log.RanWell(ref(2)) || !h.log.RanWell(ref(1)) || h.log.RanWell(ref(9)) {
		t.Error("version 1 ran well, and no other")
	}
	h.live(2)
	h.live(3)
	h.before(2)
	h.back(2)
	h.before(1, 3)
	if got := h.log.Ran(); !slices.Equal(got, []uint64{2, 1}) {
		t.Errorf("ran well: %v", got)
	}
}

func TestTruthARegionThatWasTakenBackByItsGateIsBack(t *testing.T) {
	h := history{t: t}
	h.live(1)
	h.live(2)
	h.try(3, Gate)
	if e, back := h.log.Back(); !back || e.Version != 3 {
		t.Errorf("%+v, %v", e, back)
	}
	h.before(1, 3)
}

// A candidate that a newer version replaces is neither good nor bad.
func TestTruthASupersededVersionIsNotBad(t *testing.T) {
	h := history{t: t}
	h.live(1)
	h.move(record.Pointer{Baseline: ref(1), Candidate: ref(2), Wave: record.Wave{Share: 100}}, Cause{By: "alice"})
	h.move(record.Pointer{Baseline: ref(1), Candidate: ref(3), Wave: record.Wave{Share: 100}}, Cause{By: "alice"})
	h.live(3)
	h.before(1)
	two, _ := h.log.Last(2)
	if two.Bad() || two.Well() || two.String() != "replaced by version 3" {
		t.Errorf("version 2: %s, %+v", two, two)
	}
}

func TestTruthFailedRolloutsDoNotEvictWhatRan(t *testing.T) {
	h := history{t: t}
	h.live(1)
	h.live(2)
	for v := range uint64(3 * MaxEntries) {
		h.try(v+3, Gate)
	}
	for v := range uint64(3 * MaxEntries) {
		h.move(record.Pointer{Baseline: ref(2), Candidate: ref(v + 100), Phase: record.PhaseStage}, Cause{By: "alice"})
	}
	if got := h.log.Ran(); !slices.Equal(got, []uint64{2, 1}) {
		t.Errorf("ran well: %v", got)
	}
	if n := len(h.log.Entries); n > 3*MaxEntries+1 {
		t.Errorf("%d entries", n)
	}
}

// A version that ran well, then failed, does not look well after its failure is evicted.
func TestTruthAnEvictedFailureLeavesNoGoodName(t *testing.T) {
	h := history{t: t}
	h.live(1)
	h.live(2)
	h.live(3)
	h.try(1, Gate)
	for v := range uint64(2 * MaxEntries) {
		h.try(v+4, Gate)
	}
	if h.log.RanWell(ref(1)) {
		t.Error("version 1 failed last")
	}
}

// A pointer that was moved without a log is the first entry.
func TestTruthALogBeginsWithThePointerThatItFinds(t *testing.T) {
	h := history{t: t, p: record.Pointer{Epoch: 7, Baseline: ref(4), TimeMicros: 3_000_000}}
	h.live(5)
	h.before(4)
	four, _ := h.log.Last(4)
	if four.Epoch != 7 || four.Since.Unix() != 3 {
		t.Errorf("%+v", four)
	}
}

func TestALogIsSmall(t *testing.T) {
	h := history{t: t}
	long := strings.Repeat("é", MaxText)
	for v := range uint64(4 * MaxEntries) {
		h.move(record.Pointer{Baseline: ref(v + 1)}, Cause{By: long, Why: long})
		h.try(v+1000, long)
	}
	raw, err := h.log.Encode()
	if err != nil || len(raw) > MaxLog {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	got, err := Decode(raw)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(h.log) {
		t.Errorf("decoded: %v", err)
	}
	if _, err := Decode(make([]byte, MaxLog+1)); err == nil {
		t.Error("a log beyond the limit was decoded")
	}
}

func FuzzDecode(f *testing.F) {
	p := record.Pointer{Epoch: 1, Baseline: ref(1)}
	raw, _ := Log{}.Moved(record.Pointer{}, p, nil, time.Unix(1, 0), Cause{By: "alice"}).Encode()
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := Decode(raw)
		if err != nil {
			return
		}
		l.Before()
		l.Back()
		l.Ran()
		l.Moved(record.Pointer{Baseline: ref(1), Epoch: 1}, record.Pointer{Baseline: ref(2), Epoch: 2}, nil, time.Unix(1, 0), Cause{})
	})
}
