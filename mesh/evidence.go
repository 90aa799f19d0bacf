package mesh

import (
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// This file carries evidence up the tree: a signed pointer, or a signed head, that is newer than
// what the parent sent. Evidence shows a leader that its store has lost writes, or that a second
// leader writes to a copy of the store:
//
//	parent sends an older pointer or head ──► node sends its own up ──► relays ──► leader: OpBehind
//
// Evidence is signed, so a peer can't make it up. Relays verify evidence, and pass on what is newer
// than their own.
//
// Evidence also tells a host of a deletion that the nodes above have forgotten. The host still has the
// config, so its pointers disagree with every head. When every pointer was sent again and did not
// help, the host shows those that were not among them. The leader's store has the deletion, and the
// leader announces it anew.
//
// A leader that recovers a lost history asks its children for all of their pointers, page by page:
//
//	CatchUp ──► a page of pointers, Page ──► CatchUp ──► … ──► the last Page: OpSentAll
//
// It reports each pointer that is newer than its own with OpRecovered.

// evidence limits how often a node sends evidence up.
type evidence struct {
	nextAt step.Time // no evidence is sent before
	// confirmed is the head with the highest revision that agreed with the node's pointers.
	confirmed record.Head
	signed    *wire.SignedHead // the signed form of confirmed; nil for none
}

// agreed notes a head that agreed with the node's pointers.
func (e *evidence) agreed(head record.Head, signed *wire.SignedHead) {
	if e.signed == nil || head.Revision >= e.confirmed.Revision {
		e.confirmed = head
		e.signed = signed
	}
}

// raise sends evidence to the parent, at most once in evidencePause.
func (n *Node) raise(now step.Time, m wire.Message, out step.Outputs) step.Outputs {
	if !n.up.attached() || now < n.evidence.nextAt {
		return out
	}
	n.evidence.nextAt = now + evidencePause
	return send(n.up.parent, m, out)
}

// objectToHead sends evidence up if the parent's head, which disagrees with the node's pointers, is
// of an older store: the newest head that agreed, or the pointer with the newest revision. A head of a
// term that has ended is no evidence: its revision is not one of the present term.
func (n *Node) objectToHead(now step.Time, from step.PeerID, head record.Head, out step.Outputs) step.Outputs {
	if from != n.up.parent {
		return out
	}
	e := &n.evidence
	ended := e.confirmed.Term < head.Term
	if e.signed != nil && !ended && e.confirmed.Revision > head.Revision {
		return n.raise(now, e.signed, out)
	}
	newest := n.pointers.newest(head.Region)
	if newest != nil && newest.Revision > head.Revision {
		return n.raise(now, announcementOnly(newest), out)
	}
	if s := n.pointers.untold(); s != nil {
		return n.showUntold(now, s, out)
	}
	if newest != nil && newest.Revision == head.Revision {
		return n.raise(now, announcementOnly(newest), out)
	}
	return out
}

// objectToOldHead sends up the newest head that agreed, if the parent sends an older one with a lower
// revision. The store of a leader that was emptied, or restored, counts its heads anew.
func (n *Node) objectToOldHead(now step.Time, from step.PeerID, head record.Head, out step.Outputs) step.Outputs {
	e := &n.evidence
	if from != n.up.parent || e.signed == nil || e.confirmed.Revision <= head.Revision {
		return out
	}
	return n.raise(now, e.signed, out)
}

// showUntold sends up a pointer that no peer has. The leader may not hear it: it hears one record at
// a time. So a pointer is shown again after the others, while the heads disagree.
func (n *Node) showUntold(now step.Time, s *configState, out step.Outputs) step.Outputs {
	if !n.up.attached() || now < n.evidence.nextAt {
		return out
	}
	s.shown++
	return n.raise(now, announcementOnly(s.latest), out)
}

// objectToPointer sends the node's own pointer up, if the parent sent an older or a contradicting
// one.
func (n *Node) objectToPointer(
	now step.Time, from step.PeerID, key record.PointerKey, out step.Outputs,
) step.Outputs {
	s := n.pointers.configs[key]
	if from != n.up.parent || s == nil {
		return out
	}
	return n.raise(now, announcementOnly(s.latest), out)
}

// announcementOnly returns an announcement that no Push follows.
func announcementOnly(a *wire.Announcement) *wire.Announcement {
	if !a.Pushed {
		return a
	}
	alone := *a
	alone.Pushed = false
	return &alone
}

// onHeadFromBelow handles a head from a child, which is evidence. A head from another peer is of
// no use.
func (n *Node) onHeadFromBelow(now step.Time, from step.PeerID, m *wire.SignedHead, out step.Outputs) step.Outputs {
	c := n.children.find(from)
	if c == nil {
		return out
	}
	head, err := n.cfg.Verifier.VerifyHead(m.Raw)
	if err != nil {
		return refuse(from, record.Reason(err), out)
	}
	if head.Region != c.region {
		return refuse(from, "wrong_region", out)
	}
	known := n.pointers.revisions[head.Region]
	contradicts := head.Revision == known && head.State != n.pointers.state(head.Region)
	switch {
	case head.Revision <= known && !contradicts:
		return out
	case n.cfg.leads():
		return append(out, step.Output{Op: step.OpBehind, Peer: from, Head: head})
	}
	return n.raise(now, m, out)
}

// onPointerFromBelow handles a pointer from a child, which is evidence, or which the root asked
// for. A pointer from another peer is refused.
func (n *Node) onPointerFromBelow(
	now step.Time, from step.PeerID, a *wire.Announcement, out step.Outputs,
) step.Outputs {
	c := n.children.find(from)
	if c == nil {
		return refuse(from, "not_parent", out)
	}
	pointer, err := n.cfg.Verifier.VerifyPointer(a.Raw)
	if err != nil {
		return refuse(from, record.Reason(err), out)
	}
	if pointer.Region != c.region {
		return refuse(from, "wrong_region", out)
	}
	evidence := *a
	evidence.Verified(pointer)
	held := n.pointers.configs[pointer.Key()]
	newer := held == nil || pointer.Position() > held.latest.Pointer.Position()
	contradicts := !newer && pointer.Position() == held.latest.Pointer.Position() && evidence.Digest != held.latest.Digest
	if !newer && !contradicts {
		return out
	}
	if n.root != nil && n.root.recovering {
		out = append(out, step.Output{
			Op:      step.OpRecovered,
			Peer:    from,
			Pointer: step.Pointer{Announcement: &evidence},
		})
	}
	if n.cfg.leads() {
		return append(out, step.Output{
			Op:      step.OpBehind,
			Peer:    from,
			Pointer: step.Pointer{Announcement: &evidence},
		})
	}
	return n.raise(now, announcementOnly(a), out)
}

// recover begins or ends the recovery of a lost history: while it goes on, the root asks each
// child for all of its pointers.
func (n *Node) recover(on bool, out step.Outputs) step.Outputs {
	n.root.recovering = on
	n.root.asked = map[step.PeerID]uint64{}
	if !on {
		return out
	}
	for i := range n.children {
		out = n.askForPage(n.children[i].peer, 0, out)
	}
	return out
}

// askForPage asks a child for the page of its pointers after a revision.
func (n *Node) askForPage(child step.PeerID, since uint64, out step.Outputs) step.Outputs {
	n.root.asked[child] = since
	return send(child, &wire.CatchUp{Since: since, Paged: true}, out)
}

// onPage handles the end of a page that the root asked a child for.
func (n *Node) onPage(from step.PeerID, m *wire.Page, out step.Outputs) step.Outputs {
	if n.root == nil || !n.root.recovering {
		return out
	}
	since, asked := n.root.asked[from]
	switch {
	case !asked:
		return refuse(from, "unasked_page", out)
	case m.More && m.Last > since:
		return n.askForPage(from, m.Last, out)
	}
	delete(n.root.asked, from)
	if m.More {
		return refuse(from, "page_without_progress", out)
	}
	return append(out, step.Output{Op: step.OpSentAll, Peer: from})
}
