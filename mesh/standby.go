package mesh

import (
	"slices"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// standby is a node's link to its backup: another relay, or the root, that tells it
// how far it is. When the parent falls behind the backup, the backup makes up for it;
// when the parent is lost, or falls behind time after time, the backup becomes the
// parent: the link is there, so that takes a round trip.
//
// Source: Plumtree's lazy links (Leitão, Pereira, Rodrigues, SRDS 2007), with one
// lazy peer, that announces revisions and not single messages.
type standby struct {
	backups []wire.Location // to try, next first
	name    string          // of the one dialed, or up
	addr    string          // likewise; "" for none
	peer    step.PeerID     // the link; 0 while there is none
	wait    step.Time       // back-off between tries
	wakeAt  step.Time       // when to dial the next; Never while one is up
}

// wakeStandby dials the next backup that was not left before; if there is none, the
// coordinator.
func (n *Node) wakeStandby(now step.Time, out []step.Output) []step.Output {
	s := &n.up.standby
	s.wakeAt = step.Never
	if n.up.state != upAttached || s.peer != 0 {
		return out
	}
	for i := range len(s.backups) + 1 {
		next := wire.Location{}
		if i < len(s.backups) {
			next = s.backups[0]
			s.backups = append(s.backups[1:], next)
		}
		if next.Addr == "" {
			next.Addr = n.seed()
		}
		if next.Addr == n.parentAddr() || slices.Contains(n.up.avoid, next.Name) {
			continue
		}
		s.name, s.addr = next.Name, next.Addr
		s.wakeAt = now + joinTimeout // if nothing comes of it
		return append(out, step.Output{Op: step.OpConnect, Addr: next.Addr})
	}
	return out
}

func (n *Node) parentAddr() string {
	if addr := n.up.place.Parent.Addr; addr != "" {
		return addr
	}
	return n.seed()
}

// isStandby tells whether a dial that ended was one to a backup.
func (n *Node) isStandby(addr string) bool {
	s := &n.up.standby
	return n.up.state == upAttached && s.peer == 0 && s.addr != "" && s.addr == addr
}

func (n *Node) standbyUp(peer step.PeerID, out []step.Output) []step.Output {
	s := &n.up.standby
	s.peer, s.wait, s.wakeAt = peer, 0, step.Never
	return append(out, step.Output{Op: step.OpSend, Peer: peer, Message: &wire.Shadow{Index: n.up.place.Index}})
}

// standbyDown tries the next backup after a while.
func (n *Node) standbyDown(now step.Time, out []step.Output) []step.Output {
	s := &n.up.standby
	s.peer, s.addr = 0, ""
	s.wait = min(max(2*s.wait, minStandbyWait), maxStandbyWait)
	s.wakeAt = now + n.jittered(s.wait)
	n.up.lagAt = step.Never
	return out
}

// noticed hears how far the backup is. If the parent is behind, it has a moment to
// catch up.
func (n *Node) noticed(now step.Time, from step.PeerID, m *wire.Notice, out []step.Output) []step.Output {
	if from != n.up.standby.peer || n.up.state != upAttached {
		return out
	}
	switch {
	case !n.isBehind(m):
		n.up.patience -= n.up.patience / 8
	case n.up.lagAt == step.Never:
		n.up.noticed, n.up.lagAt = *m, now+lagGrace+step.Time(len(n.path))*lagHop+n.up.patience
	}
	return out
}

// hinted hears from gossip how far the region is. Gossip may lie: all that comes of
// it is that the node looks for a parent that knows more, and not too often.
func (n *Node) hinted(now step.Time, revision uint64) {
	m := wire.Notice{Revision: revision}
	if n.up.state == upAttached && n.up.lagAt == step.Never && n.isBehind(&m) && now >= n.up.hintedAt+hintPause {
		n.up.noticed, n.up.lagAt, n.up.hintedAt = m, now+hintGrace+step.Time(len(n.path))*lagHop, now
	}
}

// hintPause is how often gossip can make a node leave its parent.
const hintPause = step.Time(10 * time.Second)

// feeds tells whether news from a peer is taken: the parent's, and the backup's,
// which sends some only when it is asked.
func (n *Node) feeds(from step.PeerID) bool {
	if n.up.state != upAttached {
		return false
	}
	if from == n.up.parent {
		if n.up.repairs > 0 { // it was not silent, only late: wait longer the next time
			n.up.patience = min(2*n.up.patience+lagGrace, maxPatience)
		}
		n.up.repairs = 0
		return true
	}
	return from != 0 && (from == n.up.standby.peer || from == n.up.newsPeer)
}

// askNews asks a node that wants shards of a version unknown here for what else it
// knows: parent and backup may both be dead, and not known to be.
func (n *Node) askNews(now step.Time, from step.PeerID, out []step.Output) []step.Output {
	if n.up.state != upAttached || now < n.up.newsAt {
		return out
	}
	n.up.newsPeer, n.up.newsAt = from, now+newsPause
	since := min(n.revisions[n.cfg.Self.Region], n.confirmed)
	return append(out, step.Output{Op: step.OpSend, Peer: from, Message: &wire.CatchUp{Since: since}})
}

// newsPause is how often that is done.
const newsPause = step.Time(time.Second)

// source is the peer to fetch from: the backup, while it makes up for the parent.
func (n *Node) source() step.PeerID {
	if n.up.repairs > 0 && n.up.standby.peer != 0 {
		return n.up.standby.peer
	}
	return n.up.parent
}

// spare is the backup, if it is not the source anyway; 0 for none.
func (n *Node) spare() step.PeerID {
	if n.up.standby.peer == n.source() {
		return 0
	}
	return n.up.standby.peer
}

func (n *Node) isBehind(m *wire.Notice) bool {
	return m.Revision > n.revisions[n.cfg.Self.Region] || m.HeadMicros > n.headTime
}

// wakeLag acts when the parent did not catch up with the backup. The backup is asked
// for what is missing: that costs a message, where changing parents costs links, and
// a parent that is slow today is no worse than another. One that is silent time
// after time is left.
func (n *Node) wakeLag(now step.Time, out []step.Output) []step.Output {
	n.up.lagAt = step.Never
	if n.up.state != upAttached || !n.isBehind(&n.up.noticed) {
		return out
	}
	n.up.repairs++
	if n.up.standby.peer != 0 && n.up.repairs <= repairsToLeave {
		since := min(n.revisions[n.cfg.Self.Region], n.confirmed)
		return append(out, step.Output{Op: step.OpSend, Peer: n.up.standby.peer, Message: &wire.CatchUp{Since: since}})
	}
	parent := n.up.parent
	n.avoid(n.peers[parent].Name)
	out = append(out, step.Output{Op: step.OpDrop, Peer: parent, Reason: "behind the backup"})
	delete(n.peers, parent)
	return n.loseParent(now, out)
}

// graft makes the backup the parent.
func (n *Node) graft(now step.Time, out []step.Output) []step.Output {
	s := &n.up.standby
	n.up.parent = s.peer
	n.up.place.Parent = wire.Location{Name: s.name, Addr: s.addr}
	s.peer, s.addr, s.wakeAt = 0, "", step.Never
	return n.sendAttach(now, out)
}

// shadows are the nodes whose backup this one is.
type shadows struct {
	peers   []step.PeerID // in the order in which they came
	flushAt step.Time     // when they are told of news; Never: there is none
}

func (s *shadows) has(peer step.PeerID) bool { return slices.Contains(s.peers, peer) }

func (s *shadows) forget(peer step.PeerID) {
	for i, p := range s.peers {
		if p == peer {
			s.peers = append(s.peers[:i], s.peers[i+1:]...)
			return
		}
	}
}

// shadowed takes a node as one to be told of news.
func (n *Node) shadowed(now step.Time, from step.PeerID, out []step.Output) []step.Output {
	who, known := n.peers[from]
	reason := ""
	switch {
	case !known || from == n.up.parent || from == n.up.seedPeer || n.childIndex(from) >= 0:
		reason = "not a peer that may stand by"
	case who.Region != n.cfg.Self.Region || who.Role != wire.RoleAgent:
		reason = "this node is of region " + n.cfg.Self.Region
	case len(n.shadows.peers) >= MaxShadows:
		reason = "backup of too many"
	}
	if reason != "" {
		return append(out, step.Output{Op: step.OpDrop, Peer: from, Reason: reason})
	}
	n.shadows.forget(from)
	n.shadows.peers = append(n.shadows.peers, from)
	n.newsForShadows(now)
	return out
}

// newsForShadows arranges for the shadows to be told, soon and once for all news
// that comes meanwhile: what matters is that they hear, not that they hear first.
func (n *Node) newsForShadows(now step.Time) {
	if len(n.shadows.peers) > 0 && n.shadows.flushAt == step.Never {
		n.shadows.flushAt = now + noticeDelay
	}
}

func (n *Node) flushNotices(out []step.Output) []step.Output {
	n.shadows.flushAt = step.Never
	m := &wire.Notice{Revision: n.revisions[n.cfg.Self.Region], HeadMicros: n.head.TimeMicros}
	for _, peer := range n.shadows.peers {
		out = append(out, step.Output{Op: step.OpSend, Peer: peer, Message: m})
	}
	return out
}
