package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// upstream is a node's side of having a parent:
//
//	idle ─connect─► dialing ─► joining ─Placement: stay─────────────► attaching ─► attached
//	  ▲                           └─────Placement: parent─► redialing ─┘               │
//	  └──────────── back-off ◄── timeout, refusal, link lost ──────────────────────────┘
//
// While the node dials the parent that it was given, it keeps the link to the coordinator,
// to ask for another parent if that parent does not answer.
type upstream struct {
	cfg      *Config
	peers    peers
	pointers *pointers
	jitter   jitter
	// attachment returns the message with which the node attaches to a parent.
	attachment func() *wire.Attach

	state    upState
	turn     int         // the seed to try is the one at turn modulo the number of seeds
	seedPeer step.PeerID // link to the placing coordinator; 0 for none
	parent   step.PeerID // link to the parent; 0 for none
	place    wire.Placement
	index    uint32   // the node's index, plus one; 0 before the node has an index. Each start has another
	path     []uint32 // indices of the agents between the root and the node, the topmost first
	told     []uint32 // the path that the children were told
	avoid    []string // parents that were left or lost since a head last agreed, newest last
	accuse   string   // name of the parent left for a fault; sent with the next Join or report
	backoff  step.Time
	wakeAt   step.Time // when the present state times out

	standby standby

	gaps       int             // heads in a row that disagreed with the node's pointers
	parentHead record.Position // of the newest head that the parent sent
	parentGaps int             // heads that disagreed since the node attached to this parent
	lagAt      step.Time       // when the parent must have caught up; step.Never if it is not behind
	noticed    wire.Notice     // progress of the backup, or of gossip, beyond the parent
	patience   step.Time       // extra time for parents that are late and not silent
	repairs    int             // times in a row that the backup made up for the parent
	spoke      bool            // the parent has sent something since the first of these repairs
	hintedAt   step.Time       // when gossip was last believed
	orphaned   int             // refusals in a row by parents that have no parent themselves
	failures   int             // fetches from the parent that failed in a row
	silence    silence
	newsPeer   step.PeerID // a peer that was asked for news
	newsAt     step.Time   // when a peer may be asked for news again
}

type upState uint8

const (
	upIdle upState = iota
	upDialing
	upJoining
	upWaiting // the coordinator has put the node off; the link to it may be up
	upRedialing
	upAttaching
	upAttached
)

func newUpstream(cfg *Config, p peers, known *pointers, j jitter, attachment func() *wire.Attach) upstream {
	return upstream{
		cfg:        cfg,
		peers:      p,
		pointers:   known,
		jitter:     j,
		attachment: attachment,
		wakeAt:     step.Never,
		lagAt:      step.Never,
		hintedAt:   -hintPause,
		standby:    standby{wakeAt: step.Never},
		silence:    silence{wakeAt: step.Never},
	}
}

func (u *upstream) attached() bool { return u.state == upAttached }

func (u *upstream) deadline() step.Time {
	return min(u.wakeAt, u.lagAt, u.standby.wakeAt, u.silence.wakeAt)
}

// enter changes the state. The state times out after joinTimeout.
func (u *upstream) enter(now step.Time, state upState) {
	u.state = state
	u.wakeAt = now + joinTimeout
}

// seed returns the address of the coordinator to try.
func (u *upstream) seed() string { return u.cfg.Seeds[u.turn%len(u.cfg.Seeds)] }

// parentAddr returns the address of the parent. Without an address in the placement, the
// parent is the coordinator.
func (u *upstream) parentAddr() string {
	if addr := u.place.Parent.Addr; addr != "" {
		return addr
	}
	return u.seed()
}

func (u *upstream) dialSeed(now step.Time, out step.Outputs) step.Outputs {
	u.enter(now, upDialing)
	return append(out, step.Output{Op: step.OpConnect, Addr: u.seed()})
}

// wake ends a back-off, or a state that timed out.
func (u *upstream) wake(now step.Time, out step.Outputs) step.Outputs {
	switch u.state {
	case upIdle:
		return u.dialSeed(now, out)
	case upWaiting:
		if u.seedPeer != 0 {
			return u.join(now, out)
		}
		return u.dialSeed(now, out)
	case upAttached:
		u.wakeAt = step.Never
		return out
	}
	return u.retreat(now, "timed out", out)
}

// retreat gives up the present attempt. The next attempt follows after a back-off, at the
// next seed.
func (u *upstream) retreat(now step.Time, reason string, out step.Outputs) step.Outputs {
	for _, peer := range []step.PeerID{u.seedPeer, u.parent} {
		if peer != 0 {
			out = u.peers.drop(peer, reason, out)
		}
	}
	u.seedPeer = 0
	u.parent = 0
	u.state = upIdle
	out = append(out, step.Output{Op: step.OpAlone, Addr: u.seed(), Reason: reason})
	u.turn++
	u.raiseBackoff()
	u.wakeAt = now + u.jitter.around(u.backoff)
	return out
}

// wait waits as long as the coordinator has asked. The link stays: to dial again costs both ends
// more than a link that is idle for a while.
func (u *upstream) wait(now step.Time, after step.Time, reason string, out step.Outputs) step.Outputs {
	u.state = upWaiting
	u.backoff = 0
	u.wakeAt = now + u.jitter.around(min(after, maxRejoin))
	return append(out, step.Output{Op: step.OpAlone, Addr: u.seed(), Reason: reason})
}

func (u *upstream) raiseBackoff() {
	u.backoff = min(max(2*u.backoff, minBackoff), maxBackoff)
}

// join asks the coordinator for a place.
func (u *upstream) join(now step.Time, out step.Outputs) step.Outputs {
	u.enter(now, upJoining)
	return send(u.seedPeer, &wire.Join{
		Index:       u.index,
		Avoid:       slices.Clone(u.avoid),
		Description: u.cfg.Description,
		Accuse:      u.accuse,
	}, out)
}

// attach asks the parent to accept the node as a child.
func (u *upstream) attach(now step.Time, out step.Outputs) step.Outputs {
	u.enter(now, upAttaching)
	return send(u.parent, u.attachment(), out)
}

// avoidParent notes a parent that was of no use. The note is kept until a head agrees
// under another parent.
func (u *upstream) avoidParent(name string) {
	u.avoid = slices.DeleteFunc(u.avoid, func(s string) bool { return s == name })
	if len(u.avoid) == wire.MaxAvoid {
		u.avoid = slices.Delete(u.avoid, 0, 1)
	}
	u.avoid = append(u.avoid, name)
}

// askAgain asks the coordinator, whose link is still up, for another parent than the one
// that it gave.
func (u *upstream) askAgain(now step.Time, out step.Outputs) step.Outputs {
	u.avoidParent(u.place.Parent.Name)
	u.parent = 0
	if u.seedPeer == 0 {
		return u.retreat(now, "parent unreachable", out)
	}
	return u.join(now, out)
}

// lose forgets the parent. If a backup is linked, the backup becomes the parent. Otherwise the node
// starts over after a short random pause, so that the children of a dead relay do not
// reach the coordinator in the same instant.
func (u *upstream) lose(now step.Time, out step.Outputs) step.Outputs {
	u.parent = 0
	u.lagAt = step.Never
	u.silence.wakeAt = step.Never
	if u.standby.peer != 0 {
		return u.graft(now, out)
	}
	u.standby.addr = ""
	u.standby.wakeAt = step.Never
	u.state = upIdle
	u.wakeAt = now + u.jitter.around(minBackoff)
	return out
}

// leave drops a parent that does not do its duty, and looks for another. The coordinator
// is told with the next Join or report.
func (u *upstream) leave(now step.Time, reason string, out step.Outputs) step.Outputs {
	u.accuse = u.peers[u.parent].Name
	u.avoidParent(u.accuse)
	if u.standby.peer != 0 && u.gaps > gapsToLeave { // the backup is no better than the parent
		out = u.peers.drop(u.standby.peer, reason, out)
		u.standby.peer = 0
		u.standby.addr = ""
	}
	out = u.peers.drop(u.parent, reason, out)
	u.raiseBackoff()
	return u.lose(now, out)
}

// feeds reports whether news from a peer is accepted: from the parent, from the backup,
// and from a peer that was asked for news.
func (u *upstream) feeds(from step.PeerID) bool {
	if !u.attached() || from == 0 {
		return false
	}
	return from == u.parent || from == u.standby.peer || from == u.newsPeer
}

// heard notes news from a peer. If the backup had to make up for the parent, the parent is
// late and not silent: the node has more patience from then on.
func (u *upstream) heard(from step.PeerID) {
	if from != u.parent {
		return
	}
	if u.repairs > 0 {
		u.patience = min(2*u.patience+lagGrace, maxPatience)
	}
	u.repairs = 0
}

// heardHead notes a head from a peer. The newest head is news even if another peer sent it first,
// but only once: a parent that repeats a head is silent.
func (u *upstream) heardHead(from step.PeerID, at, newest record.Position) {
	if from == u.parent && at >= newest && at > u.parentHead {
		u.parentHead = at
		u.heard(from)
	}
}

// isParent reports whether a peer is the parent to which the node is attached.
func (u *upstream) isParent(peer step.PeerID) bool { return u.attached() && peer == u.parent }

// makeUp notes that the backup makes up for the parent.
func (u *upstream) makeUp() {
	if u.repairs == 0 {
		u.spoke = false
	}
	u.repairs++
}

// source returns the peer to fetch from, and to send acknowledgements to: the parent, or the backup while
// the backup makes up for the parent, which may be dead. See flushAcks for when both get acknowledgements.
func (u *upstream) source() step.PeerID {
	if u.repairs > 0 && u.standby.peer != 0 {
		return u.standby.peer
	}
	return u.parent
}

// pathDelay returns the time by which the node may be behind the root's children.
func (u *upstream) pathDelay() step.Time { return step.Time(len(u.path)) * lagHop }

// pathOfChildren returns the path from the root to the node's children. A coordinator is
// the root of its tree, so the path to its children is empty.
func (u *upstream) pathOfChildren() []uint32 {
	if u.cfg.Root != nil {
		return nil
	}
	return append(slices.Clone(u.path), u.index-1)
}

// isBelow reports whether the node is the agent with the given index, or hangs below it.
func (u *upstream) isBelow(index uint32) bool {
	if u.cfg.Root != nil {
		return false
	}
	return u.index != 0 && u.index-1 == index || slices.Contains(u.path, index)
}
