package tree

import (
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
)

const (
	// DefaultFanout is the fan-out of a tree whose configuration states none.
	DefaultFanout = 16
	// DefaultMaxAgents is the default number of agents under a coordinator.
	DefaultMaxAgents = 1 << 17
	// fewIndices is the number of agent indices below which more are reserved.
	fewIndices = 512
	// DefaultGrace is the time for which the place of a gone agent is kept.
	DefaultGrace = 30 * time.Second

	// MaxGossip is the number of agents of a region in its gossip pool.
	MaxGossip = 256
	// gossipDepth is the largest number of hops between the root and an agent of the gossip pool.
	gossipDepth = 2

	// maxZones is the number of zones that the planner distinguishes. Agents of further
	// zones count as agents of the first zone.
	maxZones = 64
	// maxSkipped is the number of unsuitable places passed in a search for a parent.
	maxSkipped = 256

	// backupRelays is the number of relays among an agent's backups.
	backupRelays = 2
	// maxBackupTries is the number of relays considered as backups of an agent.
	maxBackupTries = 24

	// At most one agent in suspectShare is suspected at a time, but minSuspects in any case.
	minSuspects  = 8
	suspectShare = 16

	// MaxExpected is the number of epochs whose answers a quarantine waits for at a time.
	MaxExpected = 100_000
	// maxPardons is the number of quarantines whose failures are forgiven.
	maxPardons = 8 * wire.MaxQuarantined

	// maxDisplaced is the number of indices that wait to be taken from agents. More are noticed again.
	maxDisplaced = 256

	// maxInstances is the number of replaced instances of an identity that are remembered.
	maxInstances = 4

	// circleSize is the largest number of members of a circle. A larger circle would
	// spread duties wider, at the price of a link to each further member.
	circleSize = 24
)

const (
	// forgetAfter is the time after which an agent that is not attached loses its place.
	forgetAfter = step.Time(time.Hour)
	// confirmTime is the time within which the parent of an agent that joined must report the
	// agent as its child.
	confirmTime = step.Time(45 * time.Second)
	// arrivalTime is the time in which a relay that joined is expected to be reported. If no relay
	// has room until then, other agents are put off, but not longer than maxPutOff.
	arrivalTime = step.Time(2 * time.Second)
	maxPutOff   = step.Time(5 * time.Second)
	// maxArrivals is the number of joins that are looked at in a search for such a relay.
	maxArrivals = 64
	// settleTime is the time for which a change of the tree is not corrected by a list of children:
	// the list may be older than the change.
	settleTime = step.Time(20 * time.Second)
	// An agent with children must list them within listTime after each list, and within listSoon
	// after its first child or after its path to the root was restored. Otherwise it is asked to.
	listTime = step.Time(50 * time.Second)
	listSoon = step.Time(20 * time.Second)

	// A stay shorter than flapStay is a flap. An agent with maxFlaps flaps gets children only
	// if no other agent has room. A flap is forgiven after flapDecay.
	flapStay  = step.Time(time.Minute)
	maxFlaps  = 3
	flapDecay = step.Time(5 * time.Minute)
	// If more than one agent in flapShare flaps within a flapStay, and more than minFlappers, the
	// fault is in the network, and further flaps of that time are not counted.
	flapShare   = 16
	minFlappers = 8

	// doubtTime is the time for which an agent gets no children after another node could
	// not reach the agent: the report that the agent is dead may still be on its way.
	doubtTime = step.Time(10 * time.Second)
)
