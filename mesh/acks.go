package mesh

import (
	"cmp"
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// ackState is what a node knows of its subtree for a config's newest epoch. An
// entry that came is held as it is, and copied only when another is merged into
// it: most agents have nothing but their own.
type ackState struct {
	total   tally // since the epoch began
	pending tally // not yet sent up
}

// tally is an entry that grows; its zero value holds none.
type tally struct {
	entry *wire.AckEntry
	owned bool // nobody else holds the entry: it may be changed
}

func (t *tally) merge(e *wire.AckEntry) {
	switch {
	case t.entry == nil:
		t.entry = e
	case !t.owned:
		merged := wire.NewAckEntry(e.Key(), e.Epoch)
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
	flushAt step.Time
}

func newAcks() acks { return acks{states: map[record.PointerKey]*ackState{}, flushAt: step.Never} }

// add merges an entry, which must not change afterwards, unless it is of an older
// epoch than one already known: then nobody needs it any more.
func (a *acks) add(now step.Time, entry *wire.AckEntry) {
	key := entry.Key()
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
func (a *acks) mark(now step.Time, s *ackState, entry *wire.AckEntry) {
	if s.pending.entry == nil {
		a.dirty = append(a.dirty, s)
	}
	s.pending.merge(entry)
	if a.flushAt == step.Never {
		a.flushAt = now + ackDelay
	}
}

// flush moves what is pending into messages.
func (a *acks) flush() []*wire.Ack {
	a.flushAt = step.Never
	entries := make([]wire.AckEntry, 0, len(a.dirty))
	for _, s := range a.dirty {
		entries = append(entries, *s.pending.entry)
		s.pending = tally{}
	}
	a.dirty = a.dirty[:0]
	slices.SortFunc(entries, func(x, y wire.AckEntry) int {
		return cmp.Or(cmp.Compare(x.Config, y.Config), cmp.Compare(x.Region, y.Region))
	})
	var messages []*wire.Ack
	for chunk := range slices.Chunk(entries, wire.MaxAckEntries) {
		messages = append(messages, &wire.Ack{Entries: chunk})
	}
	return messages
}

// resend marks everything as pending: a new parent, or a restarted coordinator,
// knows nothing of what the last one was told.
func (a *acks) resend(now step.Time) {
	for _, s := range a.states {
		if s.pending.entry == nil {
			a.dirty = append(a.dirty, s)
		}
		s.pending, s.total.owned = tally{entry: s.total.entry}, false
		a.flushAt = now + ackDelay
	}
}
