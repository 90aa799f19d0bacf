package simulator

import (
	"time"

	"github.com/bits-and-blooms/bitset"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// host is one simulated machine: its node, what is on its disk, and when its
// processor and its links are free again.
type host struct {
	node   *mesh.Node
	ident  wire.Identity
	region int16
	zone   int16
	down   bool
	relays bool      // it subscribes to nothing, and only passes on
	boots  uint32    // a message to an earlier life of the host is lost
	wakeAt step.Time // earliest tick already in the queue

	cpuFree  step.Time
	upFree   step.Time
	downFree step.Time
	slow     float64       // its processor takes so many times longer; 0: 1
	skew     time.Duration // its clock is so far ahead
	fault    byzantine
	counted  bool          // as being up, in World.up
	attached bool          // likewise
	late     time.Duration // it relays announcements so much later
	broken   bool          // its disk refuses writes

	links   []step.PeerID // its ends of live links, and some that are no more
	disk    disk
	traffic Traffic
}

// disk is what an agent remembers across a restart.
type disk struct {
	applied   map[string]onDisk // by config
	held      map[record.VersionKey]struct{}
	partial   map[record.FormKey]*bitset.BitSet // shards of bodies that are on their way
	watermark uint64
	index     uint32
}

type onDisk struct {
	announcement *wire.Announcement
	version      uint64
}

// byzantine is how a host with a good certificate misbehaves.
type byzantine uint8

const (
	honest byzantine = iota
	// withholds relays nothing, and acknowledges as if it did.
	withholds
	// forges changes every announcement it relays.
	forges
	// poisons sends shards whose bytes are not what they should be.
	poisons
	// replays sends the oldest announcement it has instead of the new one.
	replays
)

// Traffic is what a host has sent and done.
type Traffic struct {
	Messages    int64         `json:"messages"`
	Bytes       int64         `json:"bytes"`
	CrossRegion int64         `json:"cross_region_bytes"`
	CrossZone   int64         `json:"cross_zone_bytes"`
	Connections int64         `json:"connections"`
	CPU         time.Duration `json:"cpu_ns"`
}

func (t *Traffic) add(o Traffic) {
	t.Messages += o.Messages
	t.Bytes += o.Bytes
	t.CrossRegion += o.CrossRegion
	t.CrossZone += o.CrossZone
	t.Connections += o.Connections
	t.CPU += o.CPU
}

func (t Traffic) minus(o Traffic) Traffic {
	return Traffic{t.Messages - o.Messages, t.Bytes - o.Bytes, t.CrossRegion - o.CrossRegion, t.CrossZone - o.CrossZone, t.Connections - o.Connections, t.CPU - o.CPU}
}

// spend takes d of the host's processor from at on, and returns when it is done.
func (w *World) spend(h *host, at step.Time, d time.Duration) step.Time {
	h.traffic.CPU += d
	h.cpuFree = max(h.cpuFree, at).Add(w.slowed(h, d))
	return h.cpuFree
}

// link is one end of a connection.
type link struct {
	owner, remote int32
	other         step.PeerID // the far end
	last          step.Time   // arrival of the last message: links keep order
	alive         bool
	held          []heldMessage // sent into a partition, to arrive when it heals
	dying         bool          // will be declared dead if the partition lasts
}

type heldMessage struct {
	m    wire.Message
	size int64
}

// serialize is the time that size bytes take at a rate in bits a second; 0 if
// there is no limit.
func serialize(size int64, bps float64) time.Duration {
	if bps <= 0 {
		return 0
	}
	return time.Duration(float64(size) * 8 / bps * float64(time.Second))
}
