package mesh

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// This file handles what happens to links, and the answers of coordinators and parents.
// A link may belong to the upstream, to the backup, to a child, or to an exchange of shards.

func (n *Node) start(now step.Time, out step.Outputs) step.Outputs {
	if n.cfg.leads() {
		return out
	}
	return n.up.dialSeed(now, out)
}

// attachment returns the message with which the node attaches to a parent.
func (n *Node) attachment() *wire.Attach {
	return &wire.Attach{
		Index:       n.up.place.Index,
		Since:       n.pointers.attachSince(),
		Description: n.cfg.Description,
		Children:    uint32(len(n.children)),
	}
}

// link notes the identity of the node at the other end of a new link.
func (n *Node) link(peer step.PeerID, who wire.Identity) {
	n.peers[peer] = who
	n.swarm.OnLinked(peer, who)
}

// onConnected handles a link that the node dialed.
func (n *Node) onConnected(now step.Time, in step.Input, out step.Outputs) step.Outputs {
	if n.up.dialsBackup(in.Link.Addr) {
		return n.up.backupUp(in.Peer, out)
	}
	parent := n.up.place.Parent
	switch {
	case n.up.state == upDialing && in.Link.Addr == n.up.seed():
		n.up.seedPeer = in.Peer
		if reason := n.noCoordinator(in.Link.Identity); reason != "" {
			return n.up.retreat(now, reason, out)
		}
		return n.up.join(now, out)
	case n.up.state == upRedialing && in.Link.Addr == parent.Addr && in.Link.Identity.Name == parent.Name:
		n.up.parent = in.Peer
		return n.up.attach(now, out)
	}
	out, ok := n.onRescueDialed(now, in, out)
	if ok {
		return out
	}
	out, ok = n.swarm.OnDialed(now, in.Link.Addr, in.Peer, in.Link.Identity, out)
	if !ok {
		return n.peers.drop(in.Peer, "not the node that was dialed", out)
	}
	return out
}

// noCoordinator returns why who, which answered at the address of a coordinator, can't give the node a
// place in the tree; "" if who can. An agent asks a coordinator of its region. A follower asks the leader,
// which may be of any region.
func (n *Node) noCoordinator(who wire.Identity) string {
	switch {
	case who.Role != wire.RoleCoordinator:
		return fmt.Sprintf("agent %s answers, and no coordinator", who.Name)
	case n.root == nil && who.Region != n.cfg.Self.Region:
		return fmt.Sprintf("coordinator %s is of region %s", who.Name, who.Region)
	}
	return ""
}

// onConnectFailed handles a dial that failed.
func (n *Node) onConnectFailed(now step.Time, addr, reason string, out step.Outputs) step.Outputs {
	switch {
	case n.up.dialsBackup(addr):
		n.up.backupDown(now)
		return out
	case n.up.state == upDialing && addr == n.up.seed():
		return n.up.retreat(now, strings.TrimSuffix("coordinator unreachable: "+reason, ": "), out)
	case n.up.state == upRedialing && addr == n.up.place.Parent.Addr:
		return n.up.askAgain(now, out)
	case n.root != nil && n.root.rescues.dialFailed(addr):
		return out
	}
	return n.swarm.OnDialFailed(now, addr, out)
}

// onDisconnected forgets a broken link, and everything that depended on the link.
func (n *Node) onDisconnected(now step.Time, peer step.PeerID, out step.Outputs) step.Outputs {
	out = n.loseChild(now, peer, out)
	out = n.swarm.OnUnlinked(now, peer, out)
	n.shadows.forget(peer)
	n.acks.lost(now, peer)
	if n.root != nil {
		delete(n.root.rescues.links, peer)
		delete(n.root.waiting, peer)
	}
	name := n.peers[peer].Name
	delete(n.peers, peer)
	switch {
	case peer == 0:
	case peer == n.up.standby.peer:
		n.up.backupDown(now)
		n.endDetour(now)
	case peer == n.up.parent && n.up.state == upAttaching:
		return n.up.askAgain(now, out)
	case peer == n.up.parent:
		n.up.avoidParent(name)
		return n.up.lose(now, out)
	case peer == n.up.seedPeer:
		n.up.seedPeer = 0
		if n.up.state == upJoining {
			return n.up.retreat(now, "coordinator lost", out)
		}
	}
	return out
}

// onPlacement acts on the place that a coordinator gave the node.
func (n *Node) onPlacement(
	now step.Time, from step.PeerID, m *wire.Placement, out step.Outputs,
) step.Outputs {
	u := &n.up
	if u.state != upJoining || from != u.seedPeer {
		return out
	}
	u.place = *m
	u.accuse = ""
	u.standby.backups = m.Backups
	if len(m.Gossip) > 0 {
		out = append(out, step.Output{Op: step.OpGossip, Addrs: m.Gossip})
	}
	n.setIndex(m.Index + 1)
	if m.Parent.Addr == "" {
		u.parent = u.seedPeer
		u.seedPeer = 0
		return u.attach(now, out)
	}
	u.enter(now, upRedialing)
	return append(out, step.Output{Op: step.OpConnect, Addr: m.Parent.Addr})
}

// setIndex sets the node's index, plus one, or takes the index away with 0. What the node acknowledged
// under an earlier index is of no use, or counts for another agent that has that index now. So the node
// acknowledges what it runs again under the new index.
func (n *Node) setIndex(index uint32) {
	before := n.up.index
	n.up.index = index
	if before != 0 && before != index {
		n.acks.disown(before - 1)
		n.settler.forgetAcknowledged()
	}
}

// onAttached handles the acceptance by the parent, or a change of the path to the root.
func (n *Node) onAttached(now step.Time, from step.PeerID, m *wire.Attached, out step.Outputs) step.Outputs {
	u := &n.up
	if from != u.parent || u.state != upAttaching && u.state != upAttached {
		return out
	}
	out = n.setPath(m.Path, out)
	if slices.Contains(m.Path, u.index-1) {
		return u.leave(now, "hangs on this node itself", out)
	}
	if u.attached() {
		return out
	}
	u.state = upAttached
	u.wakeAt = step.Never
	if n.root == nil {
		u.silence.attached(now)
	}
	u.backoff = 0
	u.parentGaps = 0
	u.parentHead = 0
	u.repairs = 0
	u.orphaned = 0
	u.failures = 0
	if u.seedPeer != 0 {
		out = n.peers.drop(u.seedPeer, "placed", out)
		u.seedPeer = 0
	}
	n.acks.resend(now)
	n.circles.reported = nil
	if len(n.children) > 0 {
		n.circles.change(now)
		n.families.changed(now) // lists may have been lost with the parent before
	}
	out = append(out, step.Output{Op: step.OpAttached, Peer: from})
	out = n.reports.release(u, out)
	out = n.settler.acknowledgeRestored(now, out)
	u.standby.wakeAt = now + u.jitter.around(standbyDelay)
	return n.swarm.Resume(now, out)
}

// onRejected handles the refusal of a Join or an Attach.
func (n *Node) onRejected(now step.Time, from step.PeerID, m *wire.Rejected, out step.Outputs) step.Outputs {
	u := &n.up
	switch {
	case u.state == upJoining && from == u.seedPeer:
		reason := "join refused: " + m.Reason
		if m.HangUp {
			out = n.peers.drop(from, reason, out)
			u.seedPeer = 0
		}
		if m.After > 0 {
			return u.wait(now, step.Time(m.After)*step.Time(time.Millisecond), reason, out)
		}
		return u.retreat(now, reason, out)
	case u.state == upAttaching && from == u.parent:
		reason := "attach refused: " + m.Reason
		out = n.peers.drop(from, reason, out)
		u.orphaned++
		if m.After == 0 || u.orphaned%maxOrphaned == 0 || u.seedPeer == 0 {
			return u.askAgain(now, out)
		}
		u.parent = 0
		return u.wait(now, step.Time(m.After)*step.Time(time.Millisecond), reason, out)
	}
	return out
}

// onParentFailed counts a body that the parent did not send, or sent damaged. After
// several in a row the node leaves the parent.
func (n *Node) onParentFailed(now step.Time, out step.Outputs) step.Outputs {
	n.up.failures++
	if n.up.attached() && n.up.failures >= fetchesToLeave {
		n.up.failures = 0
		return n.up.leave(now, "bodies from it keep failing", out)
	}
	return out
}

// setPath takes the path from the root. If the path changed, the children are told.
func (n *Node) setPath(path []uint32, out step.Outputs) step.Outputs {
	n.up.path = path
	below := n.up.pathOfChildren()
	if slices.Equal(n.up.told, below) {
		return out
	}
	n.up.told = below
	if n.root != nil || len(path) >= wire.MaxPath {
		return out
	}
	m := &wire.Attached{Path: below}
	for i := range n.children {
		if n.children[i].role == wire.RoleAgent {
			out = send(n.children[i].peer, m, out)
		}
	}
	return out
}
