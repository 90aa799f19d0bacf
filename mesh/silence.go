package mesh

import "banyan/mesh/step"

// silence notices that no head comes. If neither the parent nor the backup passes heads on, the node
// does not know what it misses. So the node tries another backup. If that backup is ahead, the parent
// lags, and the node acts on the lag (standby.go). If the leader is dead, no backup is ahead, and all
// nodes keep their parents.
type silence struct {
	headAt  step.Time // when the newest head came; 0 before the first
	between step.Time // smoothed time between two heads
	rounds  int       // number of backups in a row that passed on no head either
	wakeAt  step.Time // when the silence is too long; step.Never without a parent
}

// attached begins to watch, because the node has a parent now.
func (s *silence) attached(now step.Time) { s.wakeAt = now + s.limit() }

// heard reports a head that is newer than every earlier head.
func (s *silence) heard(now step.Time) {
	if s.headAt > 0 {
		s.between += (now - s.headAt - s.between) / 4
	}
	s.headAt = now
	s.rounds = 0
	if s.wakeAt != step.Never {
		s.wakeAt = now + s.limit()
	}
}

// limit returns the time without a head after which the silence is too long: several times what
// usually passes between two heads, and twice as long with each silent backup.
func (s *silence) limit() step.Time {
	limit := maxHeadSilence
	if s.between > 0 {
		limit = min(max(headsToMiss*s.between, minHeadSilence), maxHeadSilence)
	}
	return min(limit<<min(s.rounds, 8), maxSilence)
}

// onSilence exchanges the backup for the next candidate. If the node has no backup, because there was no
// candidate, it looks for one again.
func (u *upstream) onSilence(now step.Time, out step.Outputs) step.Outputs {
	u.silence.rounds++
	u.silence.wakeAt = now + u.jitter.around(u.silence.limit())
	s := &u.standby
	switch {
	case !u.attached():
		return out
	case s.peer == 0 && s.addr == "":
		return u.dialBackup(now, out)
	case s.peer == 0: // the backup is being dialed
		return out
	}
	out = u.peers.drop(s.peer, "silent", out)
	s.peer = 0
	s.addr = ""
	s.silent = s.name
	u.lagAt = step.Never
	return u.dialBackup(now, out)
}
