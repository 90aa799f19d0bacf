package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// shadows holds the nodes that the node is the backup of.
type shadows struct {
	peers   []step.PeerID // in the order in which they came
	flushAt step.Time     // when to send news; step.Never without news
}

func (s *shadows) has(peer step.PeerID) bool { return slices.Contains(s.peers, peer) }

func (s *shadows) forget(peer step.PeerID) {
	if i := slices.Index(s.peers, peer); i >= 0 {
		s.peers = slices.Delete(s.peers, i, i+1)
	}
}

// news arranges for the shadows to be told of news soon, once for all news until then.
// The shadows need to hear the news; they need not hear it first.
func (s *shadows) news(now step.Time) {
	if len(s.peers) > 0 && s.flushAt == step.Never {
		s.flushAt = now + noticeDelay
	}
}

// flush tells the shadows how far the node is.
func (s *shadows) flush(progress wire.Notice, out step.Outputs) step.Outputs {
	s.flushAt = step.Never
	for _, peer := range s.peers {
		out = send(peer, &progress, out)
	}
	return out
}

// onShadow handles a request to be another node's backup.
func (n *Node) onShadow(now step.Time, from step.PeerID, out step.Outputs) step.Outputs {
	who, linked := n.peers[from]
	reason := ""
	switch {
	case !linked || from == n.up.parent || from == n.up.seedPeer || n.children.find(from) != nil:
		reason = "not a peer that may stand by"
	case who.Region != n.cfg.Self.Region || who.Role != wire.RoleAgent:
		reason = "this node is of region " + n.cfg.Self.Region
	case len(n.shadows.peers) >= maxShadows:
		reason = "backup of too many"
	}
	if reason != "" {
		return append(out, step.Output{Op: step.OpDrop, Peer: from, Reason: reason})
	}
	n.shadows.forget(from)
	n.shadows.peers = append(n.shadows.peers, from)
	n.shadows.news(now)
	return out
}
