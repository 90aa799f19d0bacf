package world

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"banyan/mesh"
	"banyan/mesh/swarm"
)

// Costs is the time that work takes on a host. The defaults were measured with real agents;
// `make calibrate` measures the costs of another machine.
type Costs struct {
	// Receive is the processor time of a message at the receiver, up to the node, with its
	// share of QUIC acknowledgements.
	Receive time.Duration `json:"receive_ns" yaml:"receive"`
	// Send is the processor time of a message at the sender, for each peer.
	Send time.Duration `json:"send_ns" yaml:"send"`
	// Verify is the processor time to check one signature.
	Verify time.Duration `json:"verify_ns" yaml:"verify"`
	// Hash is the processor time to check a pointer of a batch, beside the signature of the batch.
	Hash time.Duration `json:"hash_ns" yaml:"hash"`
	// Connect is the processor time of a handshake at each of the two hosts.
	Connect time.Duration `json:"connect_ns" yaml:"connect"`
	// Apply is the time of a durable apply, processor and disk.
	Apply time.Duration `json:"apply_ns" yaml:"apply"`
	// Store is the time of the durable write of a fetched body, processor and disk.
	Store time.Duration `json:"store_ns" yaml:"store"`

	// SendMiB is the processor time to send one MiB of shards.
	SendMiB time.Duration `json:"send_mib_ns" yaml:"sendMiB"`
	// ReceiveMiB is the time to receive, check and write one MiB of shards.
	ReceiveMiB time.Duration `json:"receive_mib_ns" yaml:"receiveMiB"`
	// AssembleMiB is the time to check one MiB of a complete body.
	AssembleMiB time.Duration `json:"assemble_mib_ns" yaml:"assembleMiB"`
}

// DefaultCosts returns the costs of a host that is a machine of its own.
func DefaultCosts() Costs {
	return Costs{
		Receive:     35 * time.Microsecond,
		Send:        30 * time.Microsecond,
		Verify:      64 * time.Microsecond,
		Hash:        4 * time.Microsecond,
		Connect:     750 * time.Microsecond,
		Apply:       400 * time.Microsecond,
		Store:       800 * time.Microsecond,
		SendMiB:     2 * time.Millisecond,
		ReceiveMiB:  3 * time.Millisecond,
		AssembleMiB: 50 * time.Microsecond,
	}
}

// Network is the network between hosts.
type Network struct {
	// Matrix holds the round trips between regions; default ibm-2024.
	Matrix *Matrix
	// Zone is the round trip within a zone; default 0.1 ms.
	Zone time.Duration
	// CrossAZ is the round trip between zones of a region; default 2.2 ms.
	CrossAZ time.Duration
	// Jitter is the standard deviation of a delay divided by the delay. The jitter is
	// half-normal and is added to the delay.
	Jitter float64
	// Loss is the share of packets that are lost, 0 to below 1.
	Loss float64
	// UpBps is the rate at which a host sends, in bits per second; 0 means no limit.
	UpBps float64
	// DownBps is the rate at which a host receives, in bits per second; 0 means no limit.
	DownBps float64
	// RootBps is the rate of a coordinator in both directions, in bits per second; 0 means
	// the rates of a host.
	RootBps float64
	// AckDelay is QUIC's max_ack_delay; default 25 ms.
	AckDelay time.Duration
}

// Config is a fleet and what it runs on. A zero field has the default that its comment
// names.
type Config struct {
	Seed    uint64
	Network Network
	// Costs is the time that work takes on a host; default DefaultCosts.
	Costs Costs
	// Agents is the number of agents in each region of the matrix. The coordinator of the
	// first region is the leader.
	Agents []int
	// Zones is the number of zones in a region; default 3.
	Zones int
	// Fanout is the number of children that a node of the tree gets; default 32.
	Fanout int
	// Heads is the time between two heads; 0 means no heads.
	Heads time.Duration
	// Idle is the silence after which a link is dead; default 5 s.
	Idle time.Duration
	// Voters are the regions, by index, whose stores vote on a commit; default three zones
	// of the leader's region.
	Voters []int
	// CommitDisk is the time of the synchronous write at each voter; default 1 ms.
	CommitDisk time.Duration
	// BodyBytes is the size of a version's body; default 1 KiB.
	BodyBytes int64
	// PushLimit is the size of the largest body that is pushed behind its announcement;
	// default 16 KiB, negative for none.
	PushLimit int64
	// WholeBodies makes every host fetch every body in one piece from its parent, whatever
	// the size.
	WholeBodies bool
	// Clones is the number of hosts that a FaultClone may start.
	Clones int
	// JoinRate is the number of joins per second that a coordinator answers; 0 means the default.
	JoinRate int
	// RelayShare is the share of agents that subscribe to nothing and only relay.
	RelayShare float64
	// CacheLimit is the number of bytes of shards that an agent that only relays keeps;
	// default swarm.DefaultCacheLimit.
	CacheLimit int64
	// Arrangement is the way in which hosts trade shards.
	Arrangement mesh.Arrangement
	// Done, if not nil, ends the run when it is closed.
	Done <-chan struct{}
	// Machine, if not nil, is the one machine on which all hosts run.
	Machine *Machine
	// Join is the time within which all agents start; default 20 s, or 1 ms for each agent
	// of the largest region if that is longer.
	Join time.Duration
	// SlowShare is the share of agents whose processor is SlowFactor times slower.
	SlowShare float64
	// SlowFactor is how many times slower a slow processor is; default 10.
	SlowFactor float64
	// DeletionMemory is the time for which hosts remember the deletion of a config; 0 means for ever.
	DeletionMemory time.Duration
	// ClockSkew is the standard deviation of the clocks of hosts.
	ClockSkew time.Duration
}

// DefaultHeads is the time between two heads of a region.
const DefaultHeads = 3 * time.Second

// MaxAgents is the largest number of agents in a fleet.
const MaxAgents = 4_000_000

// Uniform spreads n agents evenly over r regions. The first n mod r regions have one agent
// more. Example: Uniform(10, 4) is 3, 3, 2, 2.
func Uniform(n, r int) []int {
	agents := make([]int, r)
	for i := range agents {
		agents[i] = n / r
		if i < n%r {
			agents[i]++
		}
	}
	return agents
}

// Complete fills in the defaults and checks the configuration.
func (c *Config) Complete() error {
	if err := c.completeMatrix(); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	c.Costs = cmp.Or(c.Costs, DefaultCosts())
	c.Network.Zone = cmp.Or(c.Network.Zone, 100*time.Microsecond)
	c.Network.CrossAZ = cmp.Or(c.Network.CrossAZ, 2200*time.Microsecond)
	c.Network.AckDelay = cmp.Or(c.Network.AckDelay, 25*time.Millisecond)
	c.Idle = cmp.Or(c.Idle, 5*time.Second)
	c.CommitDisk = cmp.Or(c.CommitDisk, time.Millisecond)
	c.Join = cmp.Or(c.Join, max(20*time.Second, time.Duration(slices.Max(c.Agents))*time.Millisecond))
	c.Zones = cmp.Or(c.Zones, 3)
	c.Fanout = cmp.Or(c.Fanout, 32)
	c.BodyBytes = cmp.Or(c.BodyBytes, 1<<10)
	c.PushLimit = cmp.Or(c.PushLimit, 16<<10)
	c.CacheLimit = cmp.Or(c.CacheLimit, swarm.DefaultCacheLimit)
	c.SlowFactor = cmp.Or(c.SlowFactor, 10)
	return nil
}

// completeMatrix sets the default matrix: as many regions of ibm-2024 as have agents.
func (c *Config) completeMatrix() error {
	if c.Network.Matrix != nil {
		return nil
	}
	m, err := Preset(DefaultMatrix)
	if err != nil {
		return err
	}
	c.Network.Matrix, err = m.First(min(max(len(c.Agents), 1), len(m.Regions)))
	return err
}

// check returns an error for a configuration that is not possible.
func (c *Config) check() error {
	n := &c.Network
	if len(c.Agents) != len(n.Matrix.Regions) {
		return fmt.Errorf("%w: agents are given for %d regions, and the matrix has %d",
			ErrInvalid, len(c.Agents), len(n.Matrix.Regions))
	}
	total := 0
	for _, a := range c.Agents {
		if a < 0 {
			return fmt.Errorf("%w: a region of %d agents", ErrInvalid, a)
		}
		total += a
	}
	if total > MaxAgents {
		return fmt.Errorf("%w: %d agents, the limit is %d", ErrInvalid, total, MaxAgents)
	}
	if n.Loss < 0 || n.Loss >= 1 || n.Jitter < 0 || n.Jitter > 10 || c.SlowShare < 0 || c.SlowShare > 1 {
		return fmt.Errorf("%w: loss %v, jitter %v or slow share %v is out of range",
			ErrInvalid, n.Loss, n.Jitter, c.SlowShare)
	}
	if c.Zones < 0 || c.Fanout < 0 || c.Heads < 0 || c.Idle < 0 || c.Join < 0 || c.BodyBytes < 0 {
		return fmt.Errorf("%w: a number of zones, a fan-out, a duration or a size is negative", ErrInvalid)
	}
	for _, v := range c.Voters {
		if v < 0 || v >= len(c.Agents) {
			return fmt.Errorf("%w: voter in region %d of %d", ErrInvalid, v, len(c.Agents))
		}
	}
	return nil
}

// Commit returns the time that a quorum write takes at the leader: the round trip to the
// last voter of the nearest majority, and the write to disk. Example: with voters at 0,
// 30 and 80 ms, two votes are a majority, and a commit takes 30 ms and the write.
func (c *Config) Commit() time.Duration {
	if len(c.Voters) == 0 {
		return c.Network.CrossAZ + c.CommitDisk
	}
	var rtts []time.Duration
	for _, v := range c.Voters {
		rtts = append(rtts, c.Network.Matrix.RTT(0, v))
	}
	slices.Sort(rtts)
	return rtts[len(rtts)/2] + c.CommitDisk
}

// Bound returns the physical floor of an announcement: the commit, and then half the round
// trip to the farthest region that has agents.
func (c *Config) Bound() time.Duration {
	var farthest time.Duration
	for region, agents := range c.Agents {
		if agents > 0 {
			farthest = max(farthest, c.Network.Matrix.RTT(0, region)/2)
		}
	}
	return c.Commit() + farthest
}
