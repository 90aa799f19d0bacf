package mesh

import (
	"slices"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// maxAfter is the longest that a coordinator can put a node off, in milliseconds.
const maxAfter = 60_000

// upstream is a node's side of having a parent:
//
//	idle ─connect─► dialing ─► joining ─Placement: stay─────────────► attaching ─► attached
//	  ▲                           └─────Placement: parent─► redialing ─┘               │
//	  └──────────── back-off ◄── timeout, refusal, link lost ──────────────────────────┘
//
// While it dials the parent it was given it keeps the link to the coordinator,
// to ask for another if that parent does not answer.
type upstream struct {
	state    upState
	seed     int         // which of the seeds to try
	seedPeer step.PeerID // link to the coordinator that places us; 0 for none
	parent   step.PeerID // link to the parent; 0 for none
	place    wire.Placement
	index    uint32   // index given, plus one; 0 for none yet
	avoid    []string // parents left or lost since all was well, newest last
	accuse   string   // the one left for what it did; told with the next Join
	backoff  step.Time
	wakeAt   step.Time // when the present state times out
	standby  standby
	gaps     int         // heads that told of another state, since this parent is one
	lagAt    step.Time   // when the parent must have caught up with the backup; Never: it is not behind
	patience step.Time   // by how much this node's parents are late without being silent
	repairs  int         // times in a row that the backup made up for the parent
	hintedAt step.Time   // when gossip was last believed
	noticed  wire.Notice // what the backup had that the parent had not
	failures int         // fetches from this parent that failed in a row
	newsPeer step.PeerID // a node that knew of a version before this one did
	newsAt   step.Time   // when another may be asked for news
}

type upState uint8

const (
	upIdle upState = iota
	upDialing
	upJoining
	upRedialing
	upAttaching
	upAttached
)

func (n *Node) startUpstream(now step.Time, out []step.Output) []step.Output {
	if n.isRoot() {
		return out
	}
	return n.dialSeed(now, out)
}

func (n *Node) dialSeed(now step.Time, out []step.Output) []step.Output {
	n.up.state = upDialing
	n.up.wakeAt = now + joinTimeout
	return append(out, step.Output{Op: step.OpConnect, Addr: n.seed()})
}

// seed is the address of the coordinator whose turn it is.
func (n *Node) seed() string { return n.cfg.Seeds[n.up.seed%len(n.cfg.Seeds)] }

// wakeUpstream ends a back-off, or a state that took too long.
func (n *Node) wakeUpstream(now step.Time, out []step.Output) []step.Output {
	switch n.up.state {
	case upIdle:
		return n.dialSeed(now, out)
	case upAttached:
		n.up.wakeAt = step.Never
		return out
	}
	return n.retreat(now, "timed out", out)
}

// retreat gives up the attempt under way and backs off before the next, at the
// next seed.
func (n *Node) retreat(now step.Time, reason string, out []step.Output) []step.Output {
	for _, p := range []step.PeerID{n.up.seedPeer, n.up.parent} {
		if p != 0 {
			out = append(out, step.Output{Op: step.OpDrop, Peer: p, Reason: reason})
			delete(n.peers, p)
		}
	}
	n.up.seedPeer, n.up.parent = 0, 0
	n.up.state = upIdle
	n.up.seed++
	n.up.backoff = min(max(2*n.up.backoff, minBackoff), maxBackoff)
	n.up.wakeAt = now + n.jittered(n.up.backoff)
	return out
}

func (n *Node) connected(now step.Time, in step.Input, out []step.Output) []step.Output {
	if n.isStandby(in.Addr) {
		return n.standbyUp(in.Peer, out)
	}
	switch {
	case n.up.state == upDialing && in.Addr == n.seed():
		n.up.seedPeer = in.Peer
		n.up.state = upJoining
		n.up.wakeAt = now + joinTimeout
		return n.sendJoin(out)
	case n.up.state == upRedialing && in.Addr == n.up.place.Parent.Addr && in.Identity.Name == n.up.place.Parent.Name:
		n.up.parent = in.Peer
		return n.sendAttach(now, out)
	}
	if p := n.partnerDialed(in.Addr); p != nil {
		return n.partnerUp(now, p, in, out)
	}
	delete(n.peers, in.Peer)
	return append(out, step.Output{Op: step.OpDrop, Peer: in.Peer, Reason: "not the node that was dialed"})
}

func (n *Node) sendJoin(out []step.Output) []step.Output {
	m := &wire.Join{
		Index:       n.up.index,
		Avoid:       slices.Clone(n.up.avoid),
		Description: n.cfg.Description,
		Accuse:      n.up.accuse,
	}
	return append(out, step.Output{Op: step.OpSend, Peer: n.up.seedPeer, Message: m})
}

func (n *Node) sendAttach(now step.Time, out []step.Output) []step.Output {
	n.up.state = upAttaching
	n.up.wakeAt = now + joinTimeout
	m := &wire.Attach{
		Index:       n.up.place.Index,
		Since:       min(n.Watermark(), n.confirmed),
		Description: n.cfg.Description,
		Children:    uint32(len(n.children)),
	}
	return append(out, step.Output{Op: step.OpSend, Peer: n.up.parent, Message: m})
}

func (n *Node) connectFailed(now step.Time, addr string, out []step.Output) []step.Output {
	switch {
	case n.isStandby(addr):
		return n.standbyDown(now, out)
	case n.up.state == upDialing && addr == n.seed():
		return n.retreat(now, "coordinator unreachable", out)
	case n.up.state == upRedialing && addr == n.up.place.Parent.Addr:
		return n.askAgain(now, out)
	}
	if p := n.partnerDialed(addr); p != nil {
		return n.partnerFailed(now, p, out)
	}
	return out
}

// avoid remembers a parent that was of no use, until a head says that all is well
// under another.
func (n *Node) avoid(name string) {
	n.up.avoid = slices.DeleteFunc(n.up.avoid, func(s string) bool { return s == name })
	if len(n.up.avoid) == wire.MaxAvoid {
		n.up.avoid = slices.Delete(n.up.avoid, 0, 1)
	}
	n.up.avoid = append(n.up.avoid, name)
}

// askAgain tells the coordinator, whose link is still up, that the parent it
// gave is of no use.
func (n *Node) askAgain(now step.Time, out []step.Output) []step.Output {
	n.avoid(n.up.place.Parent.Name)
	n.up.parent = 0
	if n.up.seedPeer == 0 {
		return n.retreat(now, "parent unreachable", out)
	}
	n.up.state = upJoining
	n.up.wakeAt = now + joinTimeout
	return n.sendJoin(out)
}

// placed acts on the place a coordinator gave.
func (n *Node) placed(now step.Time, from step.PeerID, m *wire.Placement, out []step.Output) []step.Output {
	if n.up.state != upJoining || from != n.up.seedPeer {
		return out
	}
	n.up.place, n.up.accuse = *m, ""
	n.up.standby.backups = m.Backups
	if len(m.Gossip) > 0 {
		out = append(out, step.Output{Op: step.OpGossip, Addrs: m.Gossip})
	}
	n.up.index = m.Index + 1
	if m.Parent.Addr == "" {
		n.up.parent, n.up.seedPeer = n.up.seedPeer, 0
		return n.sendAttach(now, out)
	}
	n.up.state = upRedialing
	n.up.wakeAt = now + joinTimeout
	return append(out, step.Output{Op: step.OpConnect, Addr: m.Parent.Addr})
}

func (n *Node) attached(now step.Time, from step.PeerID, m *wire.Attached, out []step.Output) []step.Output {
	if from != n.up.parent || n.up.state != upAttaching && n.up.state != upAttached {
		return out
	}
	out = n.setPath(m.Path, out)
	if slices.Contains(m.Path, n.up.index-1) {
		return n.leaveParent(now, "hangs on this node itself", out)
	}
	if n.up.state == upAttached {
		return out // the way to the root has changed above
	}
	n.up.state = upAttached
	n.up.wakeAt = step.Never
	n.up.backoff = 0
	n.up.gaps, n.up.repairs = 0, 0
	n.up.failures = 0
	if n.up.seedPeer != 0 {
		out = append(out, step.Output{Op: step.OpDrop, Peer: n.up.seedPeer, Reason: "placed"})
		delete(n.peers, n.up.seedPeer)
		n.up.seedPeer = 0
	}
	n.acks.resend(now)
	n.circles.told = nil
	if len(n.children) > 0 {
		n.treeChanged(now)
	}
	out = append(out, step.Output{Op: step.OpAttached, Peer: from})
	out = n.tellPlanner(out)
	out = n.recall(now, out)
	n.up.standby.wakeAt = now + n.jittered(standbyDelay)
	return n.resumeFetches(now, out)
}

func (n *Node) rejected(now step.Time, from step.PeerID, m *wire.Rejected, out []step.Output) []step.Output {
	switch {
	case n.up.state == upJoining && from == n.up.seedPeer:
		out = n.retreat(now, "join refused: "+m.Reason, out)
		if m.After > 0 { // the same coordinator, later
			n.up.seed--
			n.up.backoff = 0
			n.up.wakeAt = now + n.jittered(step.Time(min(m.After, maxAfter))*step.Time(time.Millisecond))
		}
		return out
	case n.up.state == upAttaching && from == n.up.parent:
		out = append(out, step.Output{Op: step.OpDrop, Peer: from, Reason: "attach refused: " + m.Reason})
		delete(n.peers, from)
		return n.askAgain(now, out)
	}
	return out
}

// disconnected forgets a link, and what hung on it.
func (n *Node) disconnected(now step.Time, peer step.PeerID, out []step.Output) []step.Output {
	out = n.loseChild(now, peer, out)
	out = n.unlinked(now, peer, out)
	n.shadows.forget(peer)
	name := n.peers[peer].Name
	delete(n.peers, peer)
	switch {
	case peer == n.up.standby.peer && peer != 0:
		return n.standbyDown(now, out)
	case peer == n.up.parent && n.up.state == upAttaching:
		return n.askAgain(now, out)
	case peer == n.up.parent && n.up.parent != 0:
		n.avoid(name)
		return n.loseParent(now, out)
	case peer == n.up.seedPeer && n.up.seedPeer != 0:
		n.up.seedPeer = 0
		if n.up.state == upJoining {
			return n.retreat(now, "coordinator lost", out)
		}
	}
	return out
}

// loseParent goes to the backup, if one stands by. Else it starts over after a short random pause, so that the children of a
// dead relay do not reach the coordinator in the same instant.
func (n *Node) loseParent(now step.Time, out []step.Output) []step.Output {
	n.up.parent = 0
	n.up.lagAt = step.Never
	if n.up.standby.peer != 0 {
		return n.graft(now, out)
	}
	n.up.standby.addr, n.up.standby.wakeAt = "", step.Never
	n.up.state = upIdle
	n.up.wakeAt = now + n.jittered(minBackoff)
	return out
}

// leaveParent drops a parent that does not do its duty, looks for another, and
// tells the coordinator.
func (n *Node) leaveParent(now step.Time, reason string, out []step.Output) []step.Output {
	parent := n.up.parent
	n.up.accuse = n.peers[parent].Name
	n.avoid(n.up.accuse)
	if s := &n.up.standby; s.peer != 0 && n.gaps > gapsToLeave { // it is no better: the planner is to find another
		out = append(out, step.Output{Op: step.OpDrop, Peer: s.peer, Reason: reason})
		delete(n.peers, s.peer)
		s.peer, s.addr = 0, ""
	}
	out = append(out, step.Output{Op: step.OpDrop, Peer: parent, Reason: reason})
	delete(n.peers, parent)
	n.up.backoff = min(max(2*n.up.backoff, minBackoff), maxBackoff)
	return n.loseParent(now, out)
}
