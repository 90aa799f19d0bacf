package mesh

import (
	"cmp"
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// acks merges the acknowledgements of a subtree on their way up. They leave page by page, and each
// page waits until the page before has left, so that the acknowledgements of many configs do not
// fill the queue of the link.
type acks struct {
	states   map[record.PointerKey]*ackState
	dirty    []*ackState // states with a pending entry
	sorted   bool        // dirty is in order
	draining step.PeerID // the peer that a page is on its way to; 0 for none
	// detour is true if entries were sent to the backup only, which may not reach the root.
	detour  bool
	flushAt step.Time
}

// ackState holds the acknowledgements of the newest pointer of a config. An entry that
// arrived is kept as it is, and is copied only when another entry is merged into it: most
// agents have only their own entry.
type ackState struct {
	total   tally // since the pointer came, without latencies
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

// remove takes an agent's outcome out of the entry.
func (t *tally) remove(agent uint32) {
	if t.entry == nil || !t.entry.Has(agent) {
		return
	}
	rest := wire.NewAckEntry(t.entry.Key(), t.entry.Position, t.entry.Pointer)
	rest.Merge(t.entry)
	rest.Remove(agent)
	t.entry = rest
	t.owned = true
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
			s.total.merge(entry.WithoutLatency())
			return
		}
	}
	s.total.merge(entry.WithoutLatency())
	a.mark(now, s, entry)
}

// disown takes what an agent has acknowledged out of every entry.
func (a *acks) disown(agent uint32) {
	for _, s := range a.states {
		s.total.remove(agent)
		s.pending.remove(agent)
	}
}

// mark makes an entry pending.
func (a *acks) mark(now step.Time, s *ackState, entry *wire.AckEntry) {
	if s.pending.entry == nil {
		a.dirty = append(a.dirty, s)
		a.sorted = false
	}
	s.pending.merge(entry)
	a.flushSoon(now)
}

// flushSoon sends the pending entries after ackDelay. While a page is on its way to the parent, the
// end of that page sends the next one instead.
func (a *acks) flushSoon(now step.Time) {
	if a.flushAt == step.Never && a.draining == 0 {
		a.flushAt = now + ackDelay
	}
}

// page takes the first pending entries, ordered by config and region: as many as fit into a
// message of ackPage bytes, and at least one. An entry that no message can hold is cut.
func (a *acks) page() []wire.AckEntry {
	if !a.sorted {
		slices.SortFunc(a.dirty, func(x, y *ackState) int {
			return cmp.Or(
				cmp.Compare(x.pending.entry.Config, y.pending.entry.Config),
				cmp.Compare(x.pending.entry.Region, y.pending.entry.Region))
		})
		a.sorted = true
	}
	var entries []wire.AckEntry
	size := 0
	for _, s := range a.dirty {
		size += s.pending.entry.MaxSize()
		if len(entries) > 0 && (size > ackPage || len(entries) == wire.MaxAckEntries) {
			break
		}
		entries = append(entries, *s.pending.entry)
		s.pending = tally{}
	}
	a.dirty = slices.Delete(a.dirty, 0, len(entries))
	return entries
}

// resend makes every entry pending again, because a new parent, or a coordinator that has
// restarted, does not have the entries. Latencies that were sent before are left out, because the
// coordinator would count them twice.
func (a *acks) resend(now step.Time) {
	a.draining = 0
	a.detour = false
	a.sorted = false
	for _, s := range a.states {
		if s.pending.entry != nil {
			s.pending.merge(s.total.entry)
			continue
		}
		a.dirty = append(a.dirty, s)
		s.pending = tally{entry: s.total.entry}
		s.total.owned = false
	}
	if len(a.dirty) > 0 {
		a.flushSoon(now)
	}
}

// forget drops the acknowledgements of a config.
func (a *acks) forget(key record.PointerKey) {
	if s := a.states[key]; s != nil {
		a.dirty = slices.DeleteFunc(a.dirty, func(d *ackState) bool { return d == s })
		delete(a.states, key)
	}
}

// onAck merges the acknowledgements of a child's subtree, or of a node whose backup this node is. A
// root also reports them to its coordinator.
func (n *Node) onAck(now step.Time, from step.PeerID, m *wire.Ack, out step.Outputs) step.Outputs {
	who := n.peers[from]
	if n.children.find(from) == nil && !n.shadows.has(from) {
		return out
	}
	for i := range m.Entries {
		if m.Entries[i].Region != who.Region {
			return refuse(from, "wrong_region", out)
		}
	}
	if n.root != nil {
		out = append(out, step.Output{Op: step.OpAcked, Message: m})
		if who.Role == wire.RoleAgent {
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

// flushAcks sends a page of the pending acknowledgements to the parent. Without a parent they wait
// until the node attaches. While the backup makes up for the parent, they go to the backup. They also go
// to a parent that has sent something since, because either of the two may be cut off from the root. The
// parent gets them without latencies, so that no latency counts twice.
func (n *Node) flushAcks(out step.Outputs) step.Outputs {
	n.acks.flushAt = step.Never
	if !n.up.attached() || len(n.acks.dirty) == 0 {
		return out
	}
	to := n.up.source()
	page := n.acks.page()
	out = sendAcks(to, page, out)
	switch {
	case to == n.up.parent: // that is all
	case n.up.spoke:
		out = sendAcks(n.up.parent, withoutLatencies(page), out)
	default:
		n.acks.detour = true
	}
	if len(n.acks.dirty) == 0 {
		return out
	}
	n.acks.draining = to
	return append(out, step.Output{Op: step.OpAwaitDrain, Peer: to})
}

// sendAcks sends a page of entries to a peer, in as many messages as it takes.
func sendAcks(to step.PeerID, page []wire.AckEntry, out step.Outputs) step.Outputs {
	for _, entries := range wire.SplitAcks(page) {
		out = send(to, &wire.Ack{Entries: entries}, out)
	}
	return out
}

// withoutLatencies returns a copy of page without the latencies.
func withoutLatencies(page []wire.AckEntry) []wire.AckEntry {
	stripped := make([]wire.AckEntry, len(page))
	for i := range page {
		stripped[i] = *page[i].WithoutLatency()
	}
	return stripped
}

// endDetour has the acknowledgements sent again, to the parent, that were sent to the backup only. It is
// called when the parent turns out to be alive, and when the backup is lost.
func (n *Node) endDetour(now step.Time) {
	if n.acks.detour && n.up.attached() {
		n.acks.resend(now)
	}
}

// parentSpoke notes that the parent has sent something, be it news or not.
func (n *Node) parentSpoke(now step.Time) {
	n.up.spoke = true
	n.endDetour(now)
}

// lost notes that a page did not arrive: the peer is gone.
func (a *acks) lost(now step.Time, peer step.PeerID) {
	if peer != 0 && peer == a.draining {
		a.draining = 0
		a.flushSoon(now)
	}
}

// acksDrained sends the next page after the page before has left.
func (n *Node) acksDrained(peer step.PeerID, out step.Outputs) step.Outputs {
	if peer == 0 || peer != n.acks.draining {
		return out
	}
	n.acks.draining = 0
	return n.flushAcks(out)
}
