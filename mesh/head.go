package mesh

import (
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// onHead handles a head from the parent, or from the backup: it verifies the head and
// compares it with the node's pointers.
func (n *Node) onHead(now step.Time, from step.PeerID, m *wire.SignedHead, out step.Outputs) step.Outputs {
	if !n.up.feeds(from) {
		return n.onHeadFromBelow(now, from, m, out)
	}
	head, err := n.cfg.Verifier.VerifyHead(m.Raw)
	if err != nil {
		return refuse(from, record.Reason(err), out)
	}
	if head.Region != n.cfg.Self.Region {
		return refuse(from, "wrong_region", out)
	}
	n.up.heardHead(from, head.Position(), n.pointers.headAt)
	if head.Position() <= n.pointers.headAt {
		return n.objectToOldHead(now, from, head, out)
	}
	n.up.silence.heard(now)
	agrees := head.State == n.pointers.state(head.Region)
	if from != n.up.parent && !agrees {
		return out // the backup has not sent every pointer; the parent's head decides
	}
	n.pointers.headAt = head.Position()
	if !agrees {
		out = n.objectToHead(now, from, head, out)
		return n.repair(now, from, head, m, out)
	}
	n.evidence.agreed(head, m)
	n.pointers.confirm(head.Revision)
	n.up.gaps = 0
	n.up.avoid = nil
	return n.relayHead(now, head, m, out)
}

// repair acts on a head that disagrees with the node's pointers. The revision of an
// announcement is not signed, and a parent may state any revision to hide that the
// parent withholds announcements. So only the revision that a head confirmed counts.
// First the parent is asked for the pointers after that revision. If the next head still
// disagrees, the node leaves the parent, and asks the next parent for every pointer. If
// that does not help either, for example because the store was restored from a backup,
// the node leaves its parents ever less often.
//
// A head that disagrees is not relayed at first: the nodes below would leave the node
// for a fault that is not its own while the fault is being repaired.
func (n *Node) repair(
	now step.Time, from step.PeerID, head record.Head, m *wire.SignedHead, out step.Outputs,
) step.Outputs {
	p, up := &n.pointers, &n.up
	up.gaps++
	out = append(out, step.Output{Op: step.OpGap, Peer: from, Revision: head.Revision})
	if up.gaps > gapsToLeave {
		out = n.relayHead(now, head, m, out)
	}
	if p.revisions[head.Region] > head.Revision && head.Revision >= p.confirmed {
		out = refuse(from, "revision_ahead_of_head", out)
		up.gaps = max(up.gaps, gapsToLeave)
	}
	up.parentGaps++
	p.revisions[head.Region] = min(p.confirmed, head.Revision)
	if up.parentGaps < gapsToLeave && up.gaps != gapsToLeave {
		return send(from, &wire.CatchUp{Since: p.revisions[head.Region]}, out)
	}
	soon := up.gaps <= hastyGaps && up.gaps%gapsToLeave == 0
	if soon || isPowerOfTwo(up.gaps) {
		p.askAnew() // this parent may have made pointers up
		return up.leave(now, "withholds announcements", out)
	}
	p.confirm(0)
	if isPowerOfTwo(up.parentGaps) {
		out = send(from, &wire.CatchUp{Since: 0}, out)
	}
	return out
}

func isPowerOfTwo(n int) bool { return n&(n-1) == 0 }

// relayHead takes a verified head that is newer than the node's, and relays the head.
func (n *Node) relayHead(
	now step.Time, head record.Head, raw *wire.SignedHead, out step.Outputs,
) step.Outputs {
	if head.Region == n.cfg.Self.Region {
		if head.Position() <= n.pointers.head.Position() {
			return out
		}
		n.pointers.head = head
		n.pointers.headRaw = raw
		out = append(out, step.Output{Op: step.OpHead, Head: head})
		n.shadows.news(now)
	}
	return n.children.sendDown(head.Region, raw, out)
}
