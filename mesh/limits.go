package mesh

import (
	"time"

	"banyan/mesh/step"
)

const (
	// busyDelay is the time after which an agent asks again for a place when there is none.
	busyDelay = time.Second
	// orphanDelay is the time after which an agent asks again for a place if the parent that it was
	// given has no parent itself. The agent avoids such a parent at the time maxOrphaned.
	orphanDelay = 500 * time.Millisecond
	maxOrphaned = 3
	// maxWaitingLinks is the number of links of agents that wait for a place.
	maxWaitingLinks = 4096
)

// Limits of what a node keeps.
const (
	// MaxConfigs is the number of configs of a region that a node tracks.
	MaxConfigs = 100_000
	// MaxPointers is the number of pointers of all regions that a leader's node tracks. Each
	// costs a leader some 1.2 KB. Before a leader stores a pointer, it checks both limits.
	MaxPointers = 1_000_000
	// maxShadows is the number of nodes that a node is the backup of.
	maxShadows = 1024
	// maxUpward is the number of reports that wait while a node has no parent.
	maxUpward = 256
	// ackPage is the size in bytes of the acknowledgements that are sent to the parent before the
	// next ones wait for these to leave.
	ackPage = 64 << 10
	// catchUpPage is the number of announcements that are sent to a child before the next
	// announcements wait for these to leave.
	catchUpPage = 128
)

// Joining and attaching.
const (
	// joinTimeout is the time that each step of joining may take.
	joinTimeout = step.Time(10 * time.Second)
	minBackoff  = step.Time(50 * time.Millisecond)
	maxBackoff  = step.Time(10 * time.Second)
	// maxRejoin is the longest time for which a coordinator can put a node off.
	maxRejoin = step.Time(time.Minute)
	// standbyDelay is the time before the backup is dialed, so that a start is not twice the work.
	standbyDelay   = step.Time(300 * time.Millisecond)
	minStandbyWait = step.Time(time.Second)
	maxStandbyWait = step.Time(time.Minute)
)

// Patience with a parent.
const (
	// A parent may be behind a backup by lagGrace, and by lagHop more for each hop between
	// the node and the root: the node nearest to a fault repairs the fault first, and the
	// nodes below need not move.
	lagGrace = step.Time(150 * time.Millisecond)
	lagHop   = step.Time(100 * time.Millisecond)
	// maxPatience is the longest extra time for a parent that is late but not silent.
	maxPatience = step.Time(3 * time.Second)
	// repairsToLeave is the number of times in a row that the backup makes up for the
	// parent before the node leaves the parent.
	repairsToLeave = 2
	// hintGrace is the time by which a parent may be behind what gossip reports.
	hintGrace = step.Time(time.Second)
	// hintPause is the shortest time between two occasions on which gossip can make a node
	// leave its parent.
	hintPause = step.Time(10 * time.Second)
	// newsPause is the shortest time between two questions for news to a peer.
	newsPause = step.Time(time.Second)
	// A node exchanges its backup if no head comes for the time of headsToMiss heads, but
	// not before minHeadSilence, and no later than maxHeadSilence. If nobody else has heads
	// either, the node tries ever less often: after maxSilence at last.
	headsToMiss    = 10
	minHeadSilence = step.Time(5 * time.Second)
	maxHeadSilence = step.Time(time.Minute)
	maxSilence     = step.Time(10 * time.Minute)
	// fetchesToLeave is the number of failed fetches in a row from one parent before the
	// node leaves the parent.
	fetchesToLeave = 3
	// gapsToLeave is the number of heads in a row that show a gap before the node leaves the parent.
	gapsToLeave = 2
	// hastyGaps is the number of gaps in a row up to which a node leaves the next parent as
	// soon as the first.
	hastyGaps = 6
)

// Rescues of agents that are cut off.
const (
	// rescueDelay is the time within which an agent, or its parent, must answer a pointer.
	rescueDelay = step.Time(600 * time.Millisecond)
	// rescuePause is the time between two checks of a pointer, and rescueRounds is their number: the links
	// of a node whose parent is dead time out after that.
	rescuePause  = step.Time(400 * time.Millisecond)
	rescueRounds = 12
	// rescuePatience is the time within which an agent must make use of a root that offers itself.
	rescuePatience = step.Time(3 * time.Second)
	// maxRescueChecks is the number of pointers that are checked at a time.
	maxRescueChecks = 8
	// At first firstRescues agents are dialed at a check, and more or fewer if that is of use or
	// not: one in rescueShare at most, and minRescues at least.
	firstRescues = 64
	minRescues   = 4
	rescueShare  = 16
)

// evidencePause is the shortest time between two messages of evidence from a node.
const evidencePause = step.Time(time.Second)

const (
	// familyPeriod is the time between two lists of a relay's children.
	familyPeriod = step.Time(30 * time.Second)
	// familySoon is the time after a change of the children until they are listed.
	familySoon = step.Time(10 * time.Second)
	// silentPeriod is the time between two looks of a root for agents that do not list their children.
	silentPeriod = step.Time(5 * time.Second)
)

// Delays that gather several changes into one message.
const (
	// ackDelay gathers acknowledgements, and reports for the planner.
	ackDelay = step.Time(25 * time.Millisecond)
	// batchDelay gathers the pointers of a region under one signature. The first pointer after a quiet
	// time does not wait.
	batchDelay = step.Time(20 * time.Millisecond)
	// familyDelay gathers the lists of children from below.
	familyDelay = step.Time(time.Second)
	// rollCallDelay gathers the agents that a root asks about. It also limits how often a child that
	// reports nonsense makes its own branch answer a roll call.
	rollCallDelay = step.Time(100 * time.Millisecond)
	// noticeDelay gathers news for the nodes that the node is the backup of.
	noticeDelay = step.Time(50 * time.Millisecond)
	// circleDelay gathers changes of the tree before the circles change.
	circleDelay = step.Time(500 * time.Millisecond)
)

// Settling a pointer.
const (
	minRetry = step.Time(100 * time.Millisecond)
	maxRetry = step.Time(30 * time.Second)
	// pushGrace is the time for which a pushed version is awaited before the version is fetched.
	pushGrace = step.Time(200 * time.Millisecond)
)
