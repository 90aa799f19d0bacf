package mesh

import (
	"time"

	"banyan/mesh/step"
)

// Limits of the overlay. A peer that exceeds one is dropped, or its request
// denied, with a reason.
const (
	// WholeLimit is the largest form, in bytes, that is fetched from the parent in one
	// piece. Larger ones are traded by the shard.
	WholeLimit = 256 << 10
	// MaxConfigs is the most (config, region) pairs a node tracks.
	MaxConfigs = 100_000
	// MaxWaiting is the most body requests that wait at a node for a body to arrive.
	MaxWaiting = 4096
	// catchUpPage is how many announcements a child is sent before it has taken them.
	catchUpPage = 128
	// MaxShadows is how many nodes one is a backup of.
	MaxShadows = 1024
	// MaxUpward is how many messages for the planner wait while there is no parent.
	MaxUpward = 256
)

// Durations of the protocol, and how often something may happen before more is done.
const (
	joinTimeout    = step.Time(10 * time.Second)
	minBackoff     = step.Time(50 * time.Millisecond)
	maxBackoff     = step.Time(10 * time.Second)
	standbyDelay   = step.Time(300 * time.Millisecond) // before a backup is dialed, so that a start is not twice the work
	minStandbyWait = step.Time(time.Second)
	maxStandbyWait = step.Time(time.Minute)
	noticeDelay    = step.Time(50 * time.Millisecond) // gathers what backups are told

	// A parent may be behind a backup by lagGrace, and by lagHop more for each hop
	// between it and the root: who is nearest to what broke mends it first, and those
	// below need not move.
	lagGrace       = step.Time(150 * time.Millisecond)
	lagHop         = step.Time(100 * time.Millisecond)
	maxPatience    = step.Time(3 * time.Second) // with parents that are late and not silent
	repairsToLeave = 2                          // times in a row that the backup makes up for the parent before that is left
	hintGrace      = step.Time(time.Second)     // likewise behind what gossip says

	ackDelay       = step.Time(25 * time.Millisecond)
	minRefetch     = step.Time(100 * time.Millisecond)
	maxRefetch     = step.Time(30 * time.Second)
	fetchPatience  = step.Time(400 * time.Millisecond) // before another is asked for a body that nobody sends
	fetchSlow      = step.Time(3 * time.Second)        // before the coordinator is asked, if somebody may still answer
	maxAsked       = 4                                 // who may be asked for one body at once
	pushGrace      = step.Time(200 * time.Millisecond) // how long a pushed version is waited for before it is fetched
	fetchesToLeave = 3                                 // failed fetches in a row from one parent before it is left
	gapsToLeave    = 2                                 // heads in a row that show a gap before the parent is left
	hasty          = 6                                 // gaps up to which the next parent is left as soon as the first
)
