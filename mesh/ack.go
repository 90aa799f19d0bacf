package mesh

import (
	"cmp"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/record"
)

// AckEntry says which agents of a region applied, or failed to apply, one epoch
// of one config.
type AckEntry struct {
	Config   string
	Region   string
	Epoch    uint64
	Applied  *roaring.Bitmap // indices of agents that applied it
	Latency  Latencies       // from the pointer's time to the durable apply, by each agent's clock
	Running  *roaring.Bitmap // those of them that run the pointer's candidate
	Failed   *roaring.Bitmap // indices of agents that refused or failed it
	Failures []Failure       // names and reasons of the first MaxFailures of them
}

// Failure is why one agent did not apply a pointer.
type Failure struct {
	Agent  uint32 `cbor:"1,keyasint" json:"index"`
	Name   string `cbor:"2,keyasint" json:"agent"`
	Reason string `cbor:"3,keyasint" json:"reason"`
	// Attempts is how often it tried this epoch.
	Attempts uint32 `cbor:"4,keyasint,omitempty" json:"attempts,omitempty"`
}

// NewAckEntry makes an entry that acknowledges nothing yet.
func NewAckEntry(config, region string, epoch uint64) *AckEntry {
	return newAckEntry(record.PointerKey{Config: config, Region: region}, epoch)
}

func newAckEntry(key record.PointerKey, epoch uint64) *AckEntry {
	return &AckEntry{Config: key.Config, Region: key.Region, Epoch: epoch, Applied: roaring.New(), Running: roaring.New(), Failed: roaring.New()}
}

// Merge adds another entry of the same epoch. An agent that both failed and
// applied has applied.
func (e *AckEntry) Merge(other *AckEntry) {
	e.Applied.Or(other.Applied)
	e.Running.Or(other.Running)
	e.Failed.Or(other.Failed)
	e.Failed.AndNot(e.Applied)
	e.Latency.Merge(&other.Latency)
	for _, f := range other.Failures {
		e.addFailure(f)
	}
	e.Failures = slices.DeleteFunc(e.Failures, func(f Failure) bool { return e.Applied.Contains(f.Agent) })
}

func (e *AckEntry) addFailure(f Failure) {
	known := func(g Failure) bool { return g.Agent == f.Agent }
	if i := slices.IndexFunc(e.Failures, known); i >= 0 {
		e.Failures[i] = f
	} else if len(e.Failures) < MaxFailures {
		e.Failures = append(e.Failures, f)
	}
}

func (e *AckEntry) key() record.PointerKey {
	return record.PointerKey{Config: e.Config, Region: e.Region}
}

// ackState is what a node knows of its subtree for a config's newest epoch. An
// entry that came is held as it is, and copied only when another is merged into
// it: most agents have nothing but their own.
type ackState struct {
	total   tally // since the epoch began
	pending tally // not yet sent up
}

// tally is an entry that grows; its zero value holds none.
type tally struct {
	entry *AckEntry
	owned bool // nobody else holds the entry: it may be changed
}

func (t *tally) merge(e *AckEntry) {
	switch {
	case t.entry == nil:
		t.entry = e
	case !t.owned:
		merged := newAckEntry(e.key(), e.Epoch)
		merged.Merge(t.entry)
		merged.Merge(e)
		t.entry, t.owned = merged, true
	default:
		t.entry.Merge(e)
	}
}

// acks merges acknowledgements from a subtree on their way up.
type acks struct {
	states  map[record.PointerKey]*ackState
	dirty   []*ackState // those with something pending
	flushAt Time
}

func newAcks() acks { return acks{states: map[record.PointerKey]*ackState{}, flushAt: Never} }

// add merges an entry, which must not change afterwards, unless it is of an older
// epoch than one already known: then nobody needs it any more.
func (a *acks) add(now Time, entry *AckEntry) {
	key := entry.key()
	s := a.states[key]
	if s == nil {
		if len(a.states) >= MaxConfigs {
			return
		}
		s = &ackState{}
		a.states[key] = s
	}
	if s.total.entry != nil && entry.Epoch != s.total.entry.Epoch {
		if entry.Epoch < s.total.entry.Epoch {
			return
		}
		s.total = tally{}
		if s.pending.entry != nil {
			s.pending = tally{entry: entry} // it stays in the list of dirty ones
			s.total.merge(entry)
			return
		}
	}
	s.total.merge(entry)
	a.mark(now, s, entry)
}

// mark makes an entry pending.
func (a *acks) mark(now Time, s *ackState, entry *AckEntry) {
	if s.pending.entry == nil {
		a.dirty = append(a.dirty, s)
	}
	s.pending.merge(entry)
	if a.flushAt == Never {
		a.flushAt = now + ackDelay
	}
}

// flush moves what is pending into messages.
func (a *acks) flush() []*Ack {
	a.flushAt = Never
	entries := make([]AckEntry, 0, len(a.dirty))
	for _, s := range a.dirty {
		entries = append(entries, *s.pending.entry)
		s.pending = tally{}
	}
	a.dirty = a.dirty[:0]
	slices.SortFunc(entries, func(x, y AckEntry) int {
		return cmp.Or(cmp.Compare(x.Config, y.Config), cmp.Compare(x.Region, y.Region))
	})
	var messages []*Ack
	for chunk := range slices.Chunk(entries, MaxAckEntries) {
		messages = append(messages, &Ack{Entries: chunk})
	}
	return messages
}

// resend marks everything as pending: a new parent, or a restarted coordinator,
// knows nothing of what the last one was told.
func (a *acks) resend(now Time) {
	for _, s := range a.states {
		if s.pending.entry == nil {
			a.dirty = append(a.dirty, s)
		}
		s.pending, s.total.owned = tally{entry: s.total.entry}, false
		a.flushAt = now + ackDelay
	}
}
