package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// standby is a node's link to its backup: another relay, or the root. The backup tells
// the node how far the backup is. When the parent falls behind the backup, the node
// asks the backup for the missing pointers. When the parent is lost, or falls behind time after
// time, the backup becomes the parent: the link is up, so the change takes one round trip.
//
// Source: the lazy links of Plumtree (Leitão, Pereira, Rodrigues, SRDS 2007), with one
// lazy peer, which announces revisions and not single messages.
type standby struct {
	backups []wire.Location // candidates, the next one first
	name    string          // of the candidate that is dialed or linked
	addr    string          // of the dialed or linked candidate; "" for none
	peer    step.PeerID     // the link; 0 without a link
	silent  string          // the last backup, if it was dropped for its silence: others go first
	wait    step.Time       // back-off between tries
	wakeAt  step.Time       // when to dial the next candidate; step.Never while a link is up
}

// dialBackup dials the next candidate that the node did not leave as a parent. If there
// is none, it dials the coordinator.
func (u *upstream) dialBackup(now step.Time, out step.Outputs) step.Outputs {
	s := &u.standby
	s.wakeAt = step.Never
	if !u.attached() || s.peer != 0 {
		return out
	}
	for i := range len(s.backups) + 1 {
		next := wire.Location{}
		if i < len(s.backups) {
			next = s.backups[0]
			s.backups = append(s.backups[1:], next)
		}
		if next.Addr == "" {
			next.Addr = u.seed()
		}
		isAgent := next.Name != "" // the coordinator has no name here, and is the last resort
		if next.Addr == u.parentAddr() || isAgent && u.isPoorBackup(next.Name) {
			continue
		}
		s.silent = ""
		s.name = next.Name
		s.addr = next.Addr
		s.wakeAt = now + joinTimeout
		return append(out, step.Output{Op: step.OpConnect, Addr: next.Addr})
	}
	s.silent = ""
	return out
}

// isPoorBackup reports whether the node has left the agent called name as a parent, or whether that agent
// was the last backup and silent.
func (u *upstream) isPoorBackup(name string) bool {
	return name == u.standby.silent || slices.Contains(u.avoid, name)
}

// dialsBackup reports whether the backup is being dialed at addr.
func (u *upstream) dialsBackup(addr string) bool {
	s := &u.standby
	return u.attached() && s.peer == 0 && s.addr != "" && s.addr == addr
}

// backupUp takes the link to the backup.
func (u *upstream) backupUp(peer step.PeerID, out step.Outputs) step.Outputs {
	u.standby.peer = peer
	u.standby.wait = 0
	u.standby.wakeAt = step.Never
	return send(peer, &wire.Shadow{Index: u.place.Index}, out)
}

// backupDown forgets the link to the backup. The next candidate is dialed after a while. A pending
// check of the parent's lag is dropped.
func (u *upstream) backupDown(now step.Time) {
	s := &u.standby
	s.peer = 0
	s.addr = ""
	s.wait = min(max(2*s.wait, minStandbyWait), maxStandbyWait)
	s.wakeAt = now + u.jitter.around(s.wait)
	u.lagAt = step.Never
}

// graft makes the backup the parent.
func (u *upstream) graft(now step.Time, out step.Outputs) step.Outputs {
	s := &u.standby
	u.parent = s.peer
	u.place.Parent = wire.Location{Name: s.name, Addr: s.addr}
	s.peer = 0
	s.addr = ""
	s.wakeAt = step.Never
	return u.attach(now, out)
}

// onNotice handles the backup's report of how far the backup is. A parent that is behind
// the backup has some time to catch up.
func (u *upstream) onNotice(now step.Time, m *wire.Notice) {
	if !u.attached() {
		return
	}
	switch {
	case !u.pointers.isBehind(*m):
		u.patience -= u.patience / 8
	case u.lagAt == step.Never:
		u.noticed = *m
		u.lagAt = now + lagGrace + u.pathDelay() + u.patience
	}
}

// onHint handles a report of gossip about the region's newest revision. Gossip may lie:
// the only effect is that the node looks for a parent that knows more, and that not often.
func (u *upstream) onHint(now step.Time, revision uint64) {
	m := wire.Notice{Revision: revision}
	if u.attached() && u.lagAt == step.Never && u.pointers.isBehind(m) && now >= u.hintedAt+hintPause {
		u.noticed = m
		u.lagAt = now + hintGrace + u.pathDelay()
		u.hintedAt = now
	}
}

// onLag acts when the parent did not catch up with the backup in time. The backup is
// asked for the missing pointers: the question costs a message, whereas a new parent
// costs links, and a parent that is slow today is no worse than another. The node leaves
// a parent that is silent time after time.
func (u *upstream) onLag(now step.Time, out step.Outputs) step.Outputs {
	u.lagAt = step.Never
	if !u.attached() || !u.pointers.isBehind(u.noticed) {
		return out
	}
	u.makeUp()
	if u.standby.peer != 0 && u.repairs <= repairsToLeave {
		return send(u.standby.peer, &wire.CatchUp{Since: u.pointers.catchUpSince()}, out)
	}
	u.avoidParent(u.peers[u.parent].Name)
	out = u.peers.drop(u.parent, "behind the backup", out)
	return u.lose(now, out)
}

// askNews asks a peer that wants shards of an unknown version for the pointers that the
// peer has: parent and backup may both be dead without the node knowing.
func (u *upstream) askNews(now step.Time, from step.PeerID, out step.Outputs) step.Outputs {
	if !u.attached() || now < u.newsAt {
		return out
	}
	u.newsPeer = from
	u.newsAt = now + newsPause
	return send(from, &wire.CatchUp{Since: u.pointers.catchUpSince()}, out)
}
