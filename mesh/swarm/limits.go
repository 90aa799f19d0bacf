package swarm

import (
	"time"

	"banyan/mesh/step"
)

// Limits of what a swarm keeps.
const (
	// WholeLimit is the size in bytes of the largest form that is fetched from the parent
	// in one piece. The shards of larger forms are exchanged.
	WholeLimit = 256 << 10
	// maxFlying is the number of bodies that a node fetches or exchanges at a time, for itself. A link
	// takes twice as many requests.
	maxFlying = 32
	// maxWaiting is the number of body requests that wait for a body to arrive.
	maxWaiting = 4096
	// maxUploads is the number of (peer, form) pairs that a node serves at a time.
	maxUploads = 2048
	// maxPartners is the number of nodes dialed for an exchange at a time.
	maxPartners = 256
	// maxShunned is the number of nodes remembered for sending poison.
	maxShunned = 1024
	// DefaultCacheLimit is the size in bytes of the cache of shards for others: as much
	// as the largest body has.
	DefaultCacheLimit = 1 << 30
	// maxCached is the number of forms in the cache of shards for others.
	maxCached = 48
)

// How a fetch asks further nodes.
const (
	// fetchPatience is the time without an answer after which another node is asked.
	fetchPatience = step.Time(400 * time.Millisecond)
	// fetchSlow is the time before the coordinator is asked if a node may still answer: nodes that
	// are slow for the same reason must not all ask the coordinator at once. A node that has begun
	// to send has as much time to end, before another node is asked as well.
	fetchSlow = step.Time(3 * time.Second)
	// maxAsked is the number of nodes asked for one body at a time.
	maxAsked = 4
)

// How long a source of shards may be silent.
const (
	minPatience = step.Time(80 * time.Millisecond)
	maxPatience = step.Time(time.Minute)
	// firstPatience applies before the rate of shards is known.
	firstPatience = step.Time(5 * time.Second)
	// startPatience is the least patience with a source that has not sent anything yet:
	// links are still being made.
	startPatience = step.Time(250 * time.Millisecond)
	// minStallPatience is the least time without a shard from any source before help is asked.
	minStallPatience = step.Time(time.Second)
	// patienceGaps is the number of usual gaps between two shards for which a source may be silent.
	patienceGaps = 4
	// maxStall is the time without a shard after which an exchange makes way for a fetch that waits. It is
	// many times askAgain: every source was asked for the shards again and again.
	maxStall = step.Time(2 * time.Minute)
	// askAgain is the time after which a source is sent all orders again.
	askAgain = step.Time(5 * time.Second)
	// maxPace is the longest time between two checks of the sources.
	maxPace = step.Time(500 * time.Millisecond)
	// minRelief is the number of outstanding orders that a source must have to be relieved.
	minRelief = 4
	// slowness is the factor by which the usual rate may be below the fastest.
	slowness = 4
	// hedgeCost is the number of arrived shards for which a shard may be ordered from two sources.
	hedgeCost = 4
	// firstHedges is the number of shards that may be ordered twice before any arrived.
	firstHedges = 64
	// rateWindow is the number of shards over which the rate of arrival is measured.
	rateWindow = 16
	// shunTime is the time for which a sender of poison is not asked.
	shunTime = step.Time(10 * time.Minute)
)

// Uploads.
const (
	// maxSendingEach is the number of shards on their way to one peer at a time.
	maxSendingEach = 2
	// maxStuck is the number of shards, in memory, on their way to stuck peers.
	maxStuck = 64
	minWidth = 4
	maxWidth = 24
	// worthwhile is the factor by which the rate must grow for a wider window to stay.
	worthwhile = 1.1
	// A peer that accepts nothing for stuckAfter times the usual time is stuck.
	stuckAfter = 4
	minStuck   = step.Time(50 * time.Millisecond)
	// firstStuck applies before the rate is known. It is also the longest patience with a peer.
	firstStuck = step.Time(5 * time.Second)
	// restWindows is the number of windows without a try after a try that did not help.
	restWindows = 8
)

// Partner links.
const (
	// dialWait gives the member of a circle whose name comes first time to dial the other
	// member, so that the two need one link and not two.
	dialWait = step.Time(time.Second)
	// redialWait is the pause after a failed dial.
	redialWait = step.Time(time.Second)
	// partnerIdle is the time for which a link is kept after the last use.
	partnerIdle = step.Time(15 * time.Second)
)
