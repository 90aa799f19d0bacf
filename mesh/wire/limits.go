package wire

// Limits of messages. DecodeMessage refuses a message that exceeds a limit.
const (
	// MaxMessage is the size of the largest encoded message, in bytes.
	MaxMessage = 256 << 10
	// MaxPush is the size of the largest body in a Push, in bytes.
	MaxPush = 64 << 10
	// MaxChildren is the number of children of a node, whatever the fan-out.
	MaxChildren = 1024
	// MaxBackups is the number of backups in a Placement.
	MaxBackups = 4
	// MaxPath is the number of hops of the longest path from the root.
	MaxPath = 64
	// MaxMembers is the number of agents in one Adopted.
	MaxMembers = 128
	// MaxFamilies is the number of lists in one Families. A message with as many lists of
	// MaxChildren is within MaxMessage.
	MaxFamilies = 48
	// MaxRollCall is the number of agents of each kind that one RollCall names.
	MaxRollCall = 256
	// MaxCircles is the number of circles in one Circles.
	MaxCircles = 64
	// MaxAvoid is the number of parents that a Join may ask to avoid.
	MaxAvoid = 8
	// MaxLabels is the number of labels of an agent.
	MaxLabels = 32
	// MaxLabelBytes is the length of a label's key, and of a label's value, in bytes.
	MaxLabelBytes = 64
	// MaxSubscriptions is the length of an agent's subscriptions, in bytes. The limit is
	// low because some messages carry the subscriptions of many agents.
	MaxSubscriptions = 256
	// MaxAddress is the length of a network address, and of a node's name, in bytes.
	MaxAddress = 256
	// MaxAckEntries is the number of entries in one Ack.
	MaxAckEntries = 256
	// MaxFailures is the number of failures with a reason in one AckEntry. Further
	// failures are counted without a reason.
	MaxFailures = 64
	// MaxReason is the length of a reason, in bytes.
	MaxReason = 256
	// MaxHoldings is the number of entries in one Holdings.
	MaxHoldings = 512
	// MaxCensusLabels is the number of different labels in a Census.
	MaxCensusLabels = 256
	// MaxWaves is the number of configs with a candidate in a Census.
	MaxWaves = 256
	// MaxAudiences is the number of different subscriptions in a Census.
	MaxAudiences = 128
	// MaxQuarantined is the number of agents that a coordinator keeps in quarantine. If
	// more agents fail, the cause is not in the agents, and gates must see the failures.
	MaxQuarantined = 512
)
