package mesh

import (
	"math/rand/v2"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// peers holds the identity of the node at the other end of each link.
type peers map[step.PeerID]wire.Identity

// drop forgets a link and closes it.
func (p peers) drop(peer step.PeerID, reason string, out step.Outputs) step.Outputs {
	delete(p, peer)
	return append(out, step.Output{Op: step.OpDrop, Peer: peer, Reason: reason})
}

// send appends one message to a peer.
func send(peer step.PeerID, m wire.Message, out step.Outputs) step.Outputs {
	return append(out, step.Output{Op: step.OpSend, Peer: peer, Message: m})
}

// refuse appends the refusal of a message from a peer.
func refuse(peer step.PeerID, reason string, out step.Outputs) step.Outputs {
	return append(out, step.Output{Op: step.OpRefused, Peer: peer, Reason: reason})
}

// jitter spreads delays, so that nodes that failed together do not try again together.
type jitter struct{ rand *rand.Rand }

// around returns a random time between half of d and one and a half of d.
func (j jitter) around(d step.Time) step.Time {
	return d/2 + step.Time(j.rand.Int64N(int64(d)+1))
}
