package mesh

import (
	"cmp"
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// acks merges the acknowledgements of a subtree on their way up.
type acks struct {
	states  map[record.PointerKey]*ackState
	dirty   []*ackState // states with a pending entry
	flushAt step.Time
}

// ackState holds the acknowledgements of the newest pointer of a config. An entry that
// arrived is kept as it is, and is copied only when another entry is merged into it: most
// agents have no other entry than their own.
type ackState struct {
	total   tally // since the pointer came
	pending tally // not sent to the parent yet
}

// tally is an entry that grows. The zero value has no entry.
type tally struct {
	entry *wire.AckEntry
	owned bool // the entry may be changed, because nothing else refers to it
}

func (t *tally) merge(e *wire.AckEntry) {
	switch {
	case t.entry == nil:
		t.entry = e
	case !t.owned:
		merged := wire.NewAckEntry(e.Key(), e.Position, e.Pointer)
		merged.Merge(t.entry)
		merged.Merge(e)
		t.entry = merged
		t.owned = true
	default:
		t.entry.Merge(e)
	}
}

func newAcks() acks {
	return acks{states: map[record.PointerKey]*ackState{}, flushAt: step.Never}
}

// add merges an entry, which must not change afterwards. An entry of an older pointer
// than the newest known is dropped, because nobody needs the entry any more.
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
	if s.total.entry != nil && entry.Pointer != s.total.entry.Pointer {
		if entry.Position < s.total.entry.Position {
			return
		}
		s.total = tally{}
		if s.pending.entry != nil {
			s.pending = tally{entry: entry} // s is in dirty already
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

// flush returns the pending entries as messages, ordered by config and region.
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

// resend makes every entry pending again: a new parent, or a coordinator that started
// again, knows nothing of what the parent before was told.
func (a *acks) resend(now step.Time) {
	for _, s := range a.states {
		if s.pending.entry == nil {
			a.dirty = append(a.dirty, s)
		}
		s.pending = tally{entry: s.total.entry}
		s.total.owned = false
		a.flushAt = now + ackDelay
	}
}

// onAck merges the acknowledgements of a child's subtree. A root also reports them to its coordinator.
func (n *Node) onAck(now step.Time, from step.PeerID, m *wire.Ack, out step.Outputs) step.Outputs {
	c := n.children.find(from)
	if c == nil {
		return out
	}
	for i := range m.Entries {
		if m.Entries[i].Region != c.region {
			return refuse(from, "wrong_region", out)
		}
	}
	if n.root != nil {
		out = append(out, step.Output{Op: step.OpAcked, Message: m})
		if c.role == wire.RoleAgent {
			out = n.root.observe(now, n.cfg.Self.Region, m.Entries, out)
		}
	}
	if !n.cfg.leads() {
		for i := range m.Entries {
			if !n.pointers.contradict(&m.Entries[i]) {
				n.acks.add(now, &m.Entries[i])
			}
		}
	}
	return out
}

// flushAcks sends the pending acknowledgements to the parent. Without a parent they wait
// until the node attaches.
func (n *Node) flushAcks(out step.Outputs) step.Outputs {
	if !n.up.attached() {
		n.acks.flushAt = step.Never
		return out
	}
	for _, m := range n.acks.flush() {
		out = send(n.up.parent, m, out)
	}
	return out
}
