package world

import (
	"fmt"
	"slices"
	"time"

	"banyan/mesh"
	"banyan/mesh/wire"
	"banyan/record"
)

// Costs is the processor time that things take on a host. The defaults were
// measured with real agents; `make calibrate` measures them on your machine.
type Costs struct {
	Receive time.Duration `json:"receive_ns" yaml:"receive"` // a message, up to the node, with its share of acknowledgements
	Send    time.Duration `json:"send_ns" yaml:"send"`       // a message, for each peer
	Verify  time.Duration `json:"verify_ns" yaml:"verify"`   // a signature
	Connect time.Duration `json:"connect_ns" yaml:"connect"` // a connection, at each end
	Apply   time.Duration `json:"apply_ns" yaml:"apply"`     // the durable apply: processor and disk
	Store   time.Duration `json:"store_ns" yaml:"store"`     // the durable write of a fetched body

	SendMiB     time.Duration `json:"send_mib_ns" yaml:"sendMiB"`         // a mebibyte of shards, at the sender
	ReceiveMiB  time.Duration `json:"receive_mib_ns" yaml:"receiveMiB"`   // likewise at the receiver: check and write it
	AssembleMiB time.Duration `json:"assemble_mib_ns" yaml:"assembleMiB"` // a mebibyte of a body that is complete: check the whole
}

// DefaultCosts are per-host costs on a machine of its own.
func DefaultCosts() Costs {
	return Costs{Receive: 35 * time.Microsecond, Send: 30 * time.Microsecond, Verify: 64 * time.Microsecond,
		Connect: 750 * time.Microsecond, Apply: 400 * time.Microsecond, Store: 800 * time.Microsecond,
		SendMiB: 2 * time.Millisecond, ReceiveMiB: 3 * time.Millisecond, AssembleMiB: 50 * time.Microsecond}
}

// Network is what lies between hosts.
type Network struct {
	Matrix   *Matrix       // between regions
	Zone     time.Duration // round trip within a zone; default 0.1 ms
	CrossAZ  time.Duration // round trip between zones of a region; default 2.2 ms
	Jitter   float64       // standard deviation over mean of a delay; half-normal, added
	Loss     float64       // share of packets lost
	UpBps    float64       // a host's sending rate, bits a second; 0: no limit
	DownBps  float64       // a host's receiving rate
	RootBps  float64       // a coordinator's, both ways; 0: as a host
	AckDelay time.Duration // QUIC's max_ack_delay; default 25 ms
}

// Config is a fleet and what it runs on. A zero value means the default where one is named.
type Config struct {
	Seed    uint64
	Network Network
	Costs   Costs
	Agents  []int         // by region of the matrix; the first region's coordinator leads
	Zones   int           // zones a region; default 3
	Fanout  int           // default 32
	Heads   time.Duration // time between heads; 0: none
	Idle    time.Duration // silence after which a link is dead; default 5 s
	// Voters are the regions, by index, whose stores vote on a commit; default three
	// zones of the leader's region.
	Voters []int
	// CommitDisk is the synchronous write at each voter; default 1 ms.
	CommitDisk time.Duration
	// BodyBytes is the size of a version's body; default 1 KiB.
	BodyBytes int64
	// PushLimit is the largest body pushed behind its announcement; default 16 KiB,
	// negative for none.
	PushLimit int64
	// WholeBodies has every body fetched in one piece from the parent, whatever its size.
	WholeBodies bool
	// RelayShare of the agents subscribe to nothing: they only pass on.
	RelayShare float64
	// CacheLimit is how many bytes those keep for others; default mesh.DefaultCacheLimit.
	CacheLimit int64
	// Arrangement is how shards are traded.
	Arrangement mesh.Arrangement
	// Done, if not nil, ends the run when it is closed.
	Done <-chan struct{}
	// Machine, if set, is the one machine on which all hosts run.
	Machine *Machine
	// Join is the time over which agents come up at the start; default 20 s, and no
	// more than 1,000 a second in a region.
	Join time.Duration
	// SlowShare of the hosts have a processor SlowFactor times slower.
	SlowShare, SlowFactor float64
	// ClockSkew is the standard deviation of hosts' clocks.
	ClockSkew time.Duration
}

// DefaultHeads is the time between two heads of a region.
const DefaultHeads = 3 * time.Second

// Uniform spreads n agents evenly over r regions.
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

// MaxAgents bounds a simulated fleet.
const MaxAgents = 4_000_000

// Complete fills in the defaults and checks the configuration.
func (c *Config) Complete() error {
	n := &c.Network
	if n.Matrix == nil {
		m, err := Preset("ibm-2024")
		if err != nil {
			return err
		}
		if n.Matrix, err = m.First(min(max(len(c.Agents), 1), len(m.Regions))); err != nil {
			return err
		}
	}
	if len(c.Agents) != len(n.Matrix.Regions) {
		return fmt.Errorf("%w: %d regions have agents, the matrix has %d", record.ErrInvalid, len(c.Agents), len(n.Matrix.Regions))
	}
	total := 0
	for _, a := range c.Agents {
		if a < 0 {
			return fmt.Errorf("%w: %d agents", record.ErrInvalid, a)
		}
		total += a
	}
	if total > MaxAgents {
		return fmt.Errorf("%w: %d agents, the limit is %d", record.ErrInvalid, total, MaxAgents)
	}
	if n.Loss < 0 || n.Loss >= 1 || n.Jitter < 0 || n.Jitter > 10 || c.SlowShare < 0 || c.SlowShare > 1 {
		return fmt.Errorf("%w: loss %v, jitter %v or slow share %v is out of range", record.ErrInvalid, n.Loss, n.Jitter, c.SlowShare)
	}
	if c.Costs == (Costs{}) {
		c.Costs = DefaultCosts()
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&n.Zone, 100 * time.Microsecond}, {&n.CrossAZ, 2200 * time.Microsecond}, {&n.AckDelay, 25 * time.Millisecond},
		{&c.Idle, 5 * time.Second}, {&c.CommitDisk, time.Millisecond}, {&c.Join, max(20*time.Second, time.Duration(slices.Max(c.Agents))*time.Millisecond)}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Zones == 0 {
		c.Zones = 3
	}
	if c.Fanout == 0 {
		c.Fanout = 32
	}
	if c.BodyBytes == 0 {
		c.BodyBytes = 1 << 10
	}
	if c.PushLimit == 0 {
		c.PushLimit = 16 << 10
	}
	if c.CacheLimit == 0 {
		c.CacheLimit = mesh.DefaultCacheLimit
	}
	if c.SlowFactor == 0 {
		c.SlowFactor = 10
	}
	for _, v := range c.Voters {
		if v < 0 || v >= len(c.Agents) {
			return fmt.Errorf("%w: voter in region %d of %d", record.ErrInvalid, v, len(c.Agents))
		}
	}
	return nil
}

// Commit is the time a quorum write takes at the leader: the round trip to the
// last of the voters that make a majority, and the write to disk.
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

// Bound is the physical floor of an announcement: the commit, then light to the
// farthest region with agents.
func (c *Config) Bound() time.Duration {
	var farthest time.Duration
	for region, agents := range c.Agents {
		if agents > 0 {
			farthest = max(farthest, c.Network.Matrix.RTT(0, region)/2)
		}
	}
	return c.Commit() + farthest
}

// Sizes of messages on the wire, in bytes, with their framing and their share of
// QUIC, UDP and IP headers. TestModelledSizesAreThoseOfRealMessages holds them to
// what the codec makes.
const (
	PacketOverhead   = 60
	AnnouncementSize = 200 + PacketOverhead
	HeadSize         = 225 + PacketOverhead
	ControlSize      = 40 + PacketOverhead
	ackEntrySize     = 60
	handshakeSize    = 6000
	ManifestSize     = 420
)

func (w *World) messageSize(m wire.Message) int64 {
	switch m := m.(type) {
	case *wire.Push:
		return w.bodySize(record.VersionKey{Config: m.Config, Version: m.Version}) + ManifestSize + PacketOverhead
	case *wire.Announcement:
		return AnnouncementSize
	case *wire.SignedHead:
		return HeadSize
	case *wire.Ack:
		size := int64(PacketOverhead)
		for i := range m.Entries {
			size += ackEntrySize + int64(m.Entries[i].Applied.GetSizeInBytes())
		}
		return size
	}
	return ControlSize
}
