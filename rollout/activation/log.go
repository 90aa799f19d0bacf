package activation

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"banyan/record"
)

// Outcome says how the time of a version in a region ended.
type Outcome string

// The outcomes.
const (
	// Running means that the region's pointer names the version.
	Running Outcome = "running"
	// Replaced means that another version took over, and that neither a gate nor a person took
	// this version back.
	Replaced Outcome = "replaced"
	// TakenBack means that a gate, or a person, took the version back during its rollout.
	TakenBack Outcome = "taken_back"
	// RolledBack means that a person took the version back after it was live in the whole region.
	RolledBack Outcome = "rolled_back"
	// Deleted means that a person deleted the config.
	Deleted Outcome = "deleted"
)

// Reach says how much of a region was told to run a version. Values grow.
type Reach uint8

// The reaches.
const (
	// Staged means that the hosts of the region were told to fetch the version.
	Staged Reach = 1
	// Wave means that a part of the region was told to run the version.
	Wave Reach = 2
	// Whole means that the version was the region's baseline: every host was told to run it.
	Whole Reach = 3
)

// Cause says who moves a pointer, and why.
type Cause struct {
	// By is a person, or "gate".
	By  string
	Why string
	// Back is true if the move takes back the versions that the pointer names no longer.
	Back bool
}

// Gate is the Cause.By of a move that the rollout controller made because a gate failed.
const Gate = "gate"

// Entry is the time of one version in a region.
type Entry struct {
	Version uint64 `json:"version"`
	// Manifest is the digest of the version's manifest.
	Manifest record.Digest `json:"manifest"`
	// Epoch is the first epoch of the pointer that named the version.
	Epoch uint64 `json:"epoch"`
	Reach Reach  `json:"reach"`
	// Ran is true if at least one host of the region has acknowledged that it runs the version.
	// A version that was live while no host was there, or that every host refused, did not run. A
	// version that ran well before counts as run when it is brought live again.
	Ran bool `json:"ran,omitempty"`
	// Since is the time at which the first hosts were told to run the version; to fetch the
	// version, if Reach is Staged.
	Since time.Time `json:"since"`
	// Until is the time at which the pointer stopped naming the version; zero while it runs.
	Until   time.Time `json:"until,omitzero"`
	Outcome Outcome   `json:"outcome"`
	// By brought the version, for the reason Why.
	By  string `json:"by"`
	Why string `json:"why,omitempty"`
	// Back is true if the version came by a rollback.
	Back bool `json:"back,omitempty"`
	// Next is the version that the pointer named instead; 0 if there was none.
	Next uint64 `json:"next,omitempty"`
	// Ended is the epoch of the pointer that stopped naming the version; 0 while it runs.
	Ended uint64 `json:"ended,omitempty"`
	// EndedBy ended the time of the version, for the reason EndedWhy.
	EndedBy  string `json:"ended_by,omitempty"`
	EndedWhy string `json:"ended_why,omitempty"`
}

// Ref names the version by number and content.
func (e Entry) Ref() record.Ref { return record.Ref{Version: e.Version, Digest: e.Manifest} }

// Well reports whether the version ran: it was live in the whole region, a host acknowledged it,
// and nobody took it back.
func (e Entry) Well() bool { return e.Live() && e.Ran }

// Live reports whether the version was live in the whole region and nobody took it back. Hosts may
// not have run it.
func (e Entry) Live() bool { return e.Reach == Whole && !e.Bad() }

// Bad reports whether the version was taken back.
func (e Entry) Bad() bool { return e.Outcome == TakenBack || e.Outcome == RolledBack }

// String describes the outcome: "taken back by its gate".
func (e Entry) String() string {
	switch {
	case e.Outcome == Running:
		return "running"
	case e.Outcome == RolledBack:
		return "rolled back by " + e.EndedBy
	case e.Outcome == Deleted:
		return "deleted by " + e.EndedBy
	case e.Outcome == TakenBack && e.EndedBy == Gate:
		return "taken back by its gate"
	case e.Outcome == TakenBack:
		return "taken back by " + e.EndedBy
	case e.Live() && !e.Ran:
		return fmt.Sprintf("replaced by version %d before a host was known to run it", e.Next)
	case e.Next != 0:
		return fmt.Sprintf("replaced by version %d", e.Next)
	}
	return "replaced"
}

// Log holds what ran of one config in one region, oldest first.
type Log struct {
	Entries []Entry `json:"entries"`
}

// Decode decodes a stored log.
func Decode(raw []byte) (l Log, err error) {
	if len(raw) > MaxLog {
		return l, fmt.Errorf("%w: an activation log of %d bytes, the limit is %d", record.ErrTooLarge, len(raw), MaxLog)
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		return Log{}, fmt.Errorf("%w: activation log: %s", record.ErrMalformed, err)
	}
	return l, nil
}

// Encode returns the stored form of a log.
func (l Log) Encode() ([]byte, error) { return json.Marshal(l) }

// Moved returns the log after a move of the pointer from before to p. before is the zero Pointer
// if there was no pointer. ran are the versions of before that hosts have acknowledged to run.
func (l Log) Moved(before, p record.Pointer, ran []record.Ref, at time.Time, c Cause) Log {
	c.By = clip(c.By)
	c.Why = clip(c.Why)
	next, _ := l.Acknowledged(before, ran)
	named := reaches(p)
	for i := range next.Entries {
		e := &next.Entries[i]
		if e.Outcome != Running {
			continue
		}
		reach := named[e.Version]
		if reach == 0 {
			e.end(p, at, c)
			continue
		}
		e.grow(reach, at)
		delete(named, e.Version)
	}
	for _, version := range []record.Ref{p.Baseline, p.Candidate} {
		reach := named[version.Version]
		if reach == 0 {
			continue
		}
		delete(named, version.Version)
		next.Entries = append(next.Entries, Entry{
			Version:  version.Version,
			Manifest: version.Digest,
			Epoch:    p.Epoch,
			Reach:    reach,
			Ran:      l.RanWell(version),
			Since:    at,
			Outcome:  Running,
			By:       c.By,
			Why:      c.Why,
			Back:     c.Back,
		})
	}
	next.evict()
	return next
}

// Acknowledged returns the log after hosts acknowledged that they run some versions of the region's
// pointer p. changed reports whether the log said less before.
func (l Log) Acknowledged(p record.Pointer, ran []record.Ref) (next Log, changed bool) {
	next = l.adopt(p)
	for i := range next.Entries {
		e := &next.Entries[i]
		if e.Outcome == Running && !e.Ran && slices.Contains(ran, e.Ref()) {
			e.Ran = true
			changed = true
		}
	}
	return next, changed
}

// AcknowledgedLate returns the log after hosts acknowledged that they ran some versions, which the
// pointer may not name any more. changed reports whether the log said less before.
func (l Log) AcknowledgedLate(ran []record.Ref) (next Log, changed bool) {
	next = Log{Entries: slices.Clone(l.Entries)}
	seen := map[uint64]bool{}
	for i := len(next.Entries) - 1; i >= 0; i-- {
		e := &next.Entries[i]
		if !seen[e.Version] && !e.Ran && slices.Contains(ran, e.Ref()) {
			e.Ran = true
			changed = true
		}
		seen[e.Version] = true
	}
	return next, changed
}

// adopt returns a copy of the log to which the baseline of the region's pointer p was added, if the
// log has no baseline. A log has none after its config was recovered from the hosts, and after the
// stored log could not be read.
func (l Log) adopt(p record.Pointer) Log {
	next := Log{Entries: slices.Clone(l.Entries)}
	if _, known := next.Current(); known || p.Baseline.IsZero() {
		return next
	}
	next.Entries = append(next.Entries, Entry{
		Version:  p.Baseline.Version,
		Manifest: p.Baseline.Digest,
		Epoch:    p.Epoch,
		Reach:    Whole,
		Since:    time.UnixMicro(p.TimeMicros),
		Outcome:  Running,
	})
	return next
}

// reaches returns the reach of each version that p names. A candidate whose wave selects no
// agent has no reach.
func reaches(p record.Pointer) map[uint64]Reach {
	named := map[uint64]Reach{}
	switch {
	case p.Candidate.IsZero():
	case p.Phase == record.PhaseStage:
		named[p.Candidate.Version] = Staged
	case !p.Wave.IsEmpty():
		named[p.Candidate.Version] = Wave
	}
	if !p.Baseline.IsZero() {
		named[p.Baseline.Version] = Whole
	}
	return named
}

// grow raises the reach of a version that the pointer still names.
func (e *Entry) grow(reach Reach, at time.Time) {
	if reach <= e.Reach {
		return
	}
	if e.Reach == Staged {
		e.Since = at
	}
	e.Reach = reach
}

// end ends the time of a version that p names no longer.
func (e *Entry) end(p record.Pointer, at time.Time, c Cause) {
	e.Until = at
	e.Ended = p.Epoch
	e.EndedBy = c.By
	e.EndedWhy = c.Why
	e.Next = p.Baseline.Version
	e.Outcome = Replaced
	switch {
	case p.Deleted():
		e.Outcome = Deleted
	case !c.Back && e.Reach < Whole && !p.Candidate.IsZero():
		e.Next = p.Candidate.Version
	case c.Back && e.Reach == Whole && c.By != Gate:
		e.Outcome = RolledBack
	case c.Back:
		e.Outcome = TakenBack
	}
}

// Current returns the version that the region runs, apart from the hosts of a wave.
func (l Log) Current() (Entry, bool) {
	for _, e := range slices.Backward(l.Entries) {
		if e.Outcome == Running && e.Reach == Whole {
			return e, true
		}
	}
	return Entry{}, false
}

// Last returns the newest entry of a version.
func (l Log) Last(version uint64) (Entry, bool) {
	for _, e := range slices.Backward(l.Entries) {
		if e.Version == version {
			return e, true
		}
	}
	return Entry{}, false
}

// RanWell reports whether the newest time of a version in the region ended, or goes on, well.
func (l Log) RanWell(version record.Ref) bool {
	e, ok := l.Last(version.Version)
	return ok && e.Ref() == version && e.Well()
}

// Before returns the version that ran last and well before the current one, and the versions since
// that are bad, or that no host is known to have run, newest first. ok is false if there is no such
// version.
func (l Log) Before() (to Entry, skipped []Entry, ok bool) { return l.before(Entry.Well) }

// BeforeAs is Before for a region in which no host ran a version: it returns the version that was
// live last, is not bad, and ran in another region. elsewhere reports whether a version did.
func (l Log) BeforeAs(elsewhere func(record.Ref) bool) (to Entry, skipped []Entry, ok bool) {
	return l.before(func(e Entry) bool { return e.Live() && elsewhere(e.Ref()) })
}

func (l Log) before(suits func(Entry) bool) (to Entry, skipped []Entry, ok bool) {
	current, _ := l.Current()
	seen := map[uint64]bool{current.Version: true}
	for _, e := range slices.Backward(l.Entries) {
		if seen[e.Version] {
			continue
		}
		seen[e.Version] = true
		switch {
		case suits(e):
			return e, skipped, true
		case e.Bad(), e.Live():
			skipped = append(skipped, e)
		}
	}
	return Entry{}, skipped, false
}

// Back returns the bad version, or the deleted one, from which the region came back, if nothing went
// forward since: the region has been taken back already.
func (l Log) Back() (Entry, bool) {
	var last Entry
	for _, e := range l.Entries {
		if (e.Bad() || e.Outcome == Deleted) && e.Ended >= last.Ended {
			last = e
		}
	}
	forward := func(e Entry) bool { return !e.Back && e.Epoch > last.Ended }
	if last.Ended == 0 || slices.ContainsFunc(l.Entries, forward) {
		return Entry{}, false
	}
	return last, true
}

// Deleted returns the version that the region ran when the config was deleted, if nothing ran since.
func (l Log) Deleted() (Entry, bool) {
	var last Entry
	for _, e := range l.Entries {
		if e.Outcome == Deleted && e.Reach == Whole && e.Ended > last.Ended {
			last = e
		}
	}
	_, runs := l.Current()
	return last, last.Ended != 0 && !runs
}

// Ran returns the versions that ran well, the one that ran last first, the current one included.
func (l Log) Ran() []uint64 {
	var versions []uint64
	seen := map[uint64]bool{}
	for _, e := range slices.Backward(l.Entries) {
		if !seen[e.Version] && e.Well() {
			versions = append(versions, e.Version)
		}
		seen[e.Version] = true
	}
	return versions
}

// class is a kind of entry with a limit of its own.
type class uint8

const (
	well class = iota
	bad
	// passing entries are of versions that were replaced before they were live in the whole region,
	// or before a host ran them.
	passing
)

func (e Entry) class() class {
	switch {
	case e.Bad():
		return bad
	case e.Well():
		return well
	}
	return passing
}

// evict drops the oldest entries of each class beyond the limit. With a bad entry go all older
// entries of the same version, which would otherwise look well.
func (l *Log) evict() {
	count := map[class]int{}
	dropped := map[uint64]bool{}
	var kept []Entry
	for _, e := range slices.Backward(l.Entries) {
		c := e.class()
		full := count[c] >= MaxEntries && e.Outcome != Running
		if full && c == bad {
			dropped[e.Version] = true
		}
		if full || dropped[e.Version] {
			continue
		}
		count[c]++
		kept = append(kept, e)
	}
	slices.Reverse(kept)
	l.Entries = kept
}

// clip shortens a text to MaxText bytes, at the border of a character.
func clip(s string) string {
	if len(s) <= MaxText {
		return s
	}
	cut := MaxText
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}
