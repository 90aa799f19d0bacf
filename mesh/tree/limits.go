package tree

import (
	"time"

	"banyan/mesh/step"
)

const (
	// DefaultFanout is the fan-out of a tree whose configuration states none.
	DefaultFanout = 16
	// DefaultMaxAgents is the default number of agents under a coordinator.
	DefaultMaxAgents = 1 << 17
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

	// maxInstances is the number of replaced instances of an identity that are remembered.
	maxInstances = 4

	// circleSize is the largest number of members of a circle. A larger circle would
	// spread duties wider, at the price of a link to each further member.
	circleSize = 24
)

const (
	// A stay shorter than flapStay is a flap. An agent with maxFlaps flaps in a row does
	// not relay until the agent has stayed for steadyStay.
	flapStay   = step.Time(time.Minute)
	steadyStay = step.Time(10 * time.Minute)
	maxFlaps   = 3

	// doubtTime is the time for which an agent gets no children after another node could
	// not reach the agent: the report that the agent is dead may still be on its way.
	doubtTime = step.Time(10 * time.Second)
)
