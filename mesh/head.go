package mesh

import (
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// receiveHead verifies a head from the parent and holds what this node has
// against it.
func (n *Node) receiveHead(now step.Time, from step.PeerID, m *wire.SignedHead, out []step.Output) []step.Output {
	if !n.feeds(from) {
		return out
	}
	head, err := n.cfg.Verifier.VerifyHead(m.Raw)
	if err != nil {
		return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: record.Reason(err)})
	}
	if head.Region != n.cfg.Self.Region {
		return append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: "wrong_region"})
	}
	if head.TimeMicros <= n.headTime {
		return out
	}
	if from != n.up.parent && head.State != n.State(head.Region) {
		return out // what the backup sent is not all: the parent's head will tell
	}
	n.headTime = head.TimeMicros
	if head.State == n.State(head.Region) {
		n.revisions[head.Region], n.confirmed = head.Revision, head.Revision
		n.gaps, n.up.avoid = 0, nil
		return n.relayHead(now, head, m, out)
	}
	return n.repair(now, from, head, m, out)
}

// repair acts on a head that tells of another state than this node's. Revisions in
// announcements are not signed, and a parent may state any to hide that it
// withholds: what counts is the last revision that a head confirmed. First the
// parent is asked for what came after that; if the next head still disagrees the
// parent is left, and the next one asked for everything. If that does not help
// either (the store was restored from a backup, say) parents are left ever more
// seldom.
//
// A head that disagrees is not passed on at first: those below would leave this
// node for a fault that is not its own, while it is being repaired.
func (n *Node) repair(now step.Time, from step.PeerID, head record.Head, m *wire.SignedHead, out []step.Output) []step.Output {
	n.gaps++
	out = append(out, step.Output{Op: step.OpGap, Peer: from, Revision: head.Revision})
	if n.gaps > gapsToLeave {
		out = n.relayHead(now, head, m, out)
	}
	if n.revisions[head.Region] > head.Revision && head.Revision >= n.confirmed {
		out = append(out, step.Output{Op: step.OpRefused, Peer: from, Reason: "revision_ahead_of_head"})
		n.gaps = max(n.gaps, gapsToLeave)
	}
	n.up.gaps++
	n.revisions[head.Region] = min(n.confirmed, head.Revision)
	if n.up.gaps < gapsToLeave && n.gaps != gapsToLeave {
		return append(out, step.Output{Op: step.OpSend, Peer: from, Message: &wire.CatchUp{Since: n.revisions[head.Region]}})
	}
	n.revisions[head.Region], n.confirmed = 0, 0
	if soon := n.gaps <= hasty && n.gaps%gapsToLeave == 0; soon || n.gaps&(n.gaps-1) == 0 {
		return n.leaveParent(now, "withholds announcements", out)
	}
	if n.up.gaps&(n.up.gaps-1) == 0 { // neither 2, 4, 6 nor a power of two in all, but one of this parent's
		out = append(out, step.Output{Op: step.OpSend, Peer: from, Message: &wire.CatchUp{Since: 0}})
	}
	return out
}

// relayHead takes a verified head if it is newer than the one held, and passes it on.
func (n *Node) relayHead(now step.Time, head record.Head, raw *wire.SignedHead, out []step.Output) []step.Output {
	if head.Region == n.cfg.Self.Region {
		if head.TimeMicros <= n.head.TimeMicros {
			return out
		}
		n.head, n.headRaw = head, raw
		out = append(out, step.Output{Op: step.OpHead, Head: head})
		n.newsForShadows(now)
	}
	return n.sendDown(head.Region, raw, out)
}
