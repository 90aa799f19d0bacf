package world

import (
	"slices"
	"time"

	"github.com/bits-and-blooms/bitset"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// Host is one simulated machine: a node, a disk, and the times at which the processor and
// the links are free again.
type Host struct {
	node   *mesh.Node
	ident  wire.Identity
	region int16
	zone   int16
	down   bool
	// relays is true for an agent that subscribes to nothing and only relays.
	relays bool
	// boots counts the starts of the host. A message sent to an earlier life is lost.
	boots uint32
	// wakeAt is the time of the earliest tick that is already in the queue.
	wakeAt step.Time

	cpuFree  step.Time
	upFree   step.Time
	downFree step.Time
	// slow is the factor by which the processor is slower; 0 means 1.
	slow float64
	// skew is how far the clock of the host is ahead.
	skew time.Duration
	// lie is how a host with a good certificate misbehaves; empty for an honest host.
	lie FaultKind
	// late delays every announcement that the host relays.
	late time.Duration
	// broken is true while the disk refuses writes.
	broken bool
	// counted is true while the host counts as up in World.up.
	counted bool
	// attached is true while the host counts as attached in World.attached.
	attached bool

	// links holds the host's ends of live links, and of some links that have ended.
	links []step.PeerID
	disk  disk
	// store is what a leader writes to; nil in other hosts.
	store *store
	// index is the agent index that a coordinator reserves next.
	index uint32
	// like is the agent that a clone is like; 0 for no clone.
	like int32
	// owns is the agent's newest index, plus one.
	owns    uint32
	traffic Traffic
}

// disk is what an agent remembers across a restart.
type disk struct {
	applied map[string]onDisk // by config
	held    map[record.VersionKey]struct{}
	// spoiled holds the configs whose file was changed by somebody else, or lost its body.
	spoiled map[string]bool
	// partial holds the shards of bodies that are not complete yet.
	partial   map[record.FormKey]*bitset.BitSet
	watermark uint64
}

type onDisk struct {
	announcement *wire.Announcement
	version      record.Ref
}

// Host returns host i. The pointer stays valid for the life of the world.
func (w *World) Host(i int32) *Host { return &w.hosts[i] }

// Name returns the name of the host, such as "frankfurt-12".
func (h *Host) Name() string { return h.ident.Name }

// Region returns the name of the host's region.
func (h *Host) Region() string { return h.ident.Region }

// RegionIndex returns the index of the host's region in the matrix.
func (h *Host) RegionIndex() int { return int(h.region) }

// Down reports whether the host is down.
func (h *Host) Down() bool { return h.down }

// Lies reports whether the host misbehaves, with a good certificate.
func (h *Host) Lies() bool { return h.lie != "" }

// RelayOnly reports whether the host subscribes to nothing and only relays.
func (h *Host) RelayOnly() bool { return h.relays }

// Boots returns how often the host has started.
func (h *Host) Boots() uint32 { return h.boots }

// Node returns the mesh node of the host; nil while the host is down.
func (h *Host) Node() *mesh.Node { return h.node }

// Traffic returns what the host has sent and spent since the world began.
func (h *Host) Traffic() Traffic { return h.traffic }

// AppliedEpoch returns the epoch of config that is applied on the host's disk.
func (h *Host) AppliedEpoch(config string) (epoch uint64, ok bool) {
	d, ok := h.disk.applied[config]
	if !ok {
		return 0, false
	}
	return d.announcement.Pointer.Epoch, true
}

// AppliedPointer returns the digest of the pointer of config that is applied on the host's disk.
func (h *Host) AppliedPointer(config string) (pointer record.Digest, ok bool) {
	d, ok := h.disk.applied[config]
	if !ok {
		return pointer, false
	}
	return d.announcement.Digest, true
}

// Holds reports whether the body of version v is on the host's disk.
func (h *Host) Holds(v record.VersionKey) bool {
	_, held := h.disk.held[v]
	return held
}

// Bodies returns the number of complete bodies on the host's disk.
func (h *Host) Bodies() int { return len(h.disk.held) }

// Shards returns the number of shards, padding among them, of a body that is not complete.
func (h *Host) Shards(v record.VersionKey) int {
	partial := h.disk.partial[record.FormKey{VersionKey: v}]
	if partial == nil {
		return 0
	}
	return int(partial.Count())
}

// Parent returns the host that agent i hangs on.
func (w *World) Parent(i int32) (parent int32, ok bool) {
	identity, ok := w.hosts[i].node.Parent()
	if !ok {
		return 0, false
	}
	for _, id := range slices.Backward(w.hosts[i].links) {
		if l := &w.links[id]; l.alive && w.hosts[l.remote].ident == identity {
			return l.remote, true
		}
	}
	return 0, false
}

// Traffic is what a host has sent and done.
type Traffic struct {
	Messages    int64         `json:"messages"`
	Bytes       int64         `json:"bytes"`
	CrossRegion int64         `json:"cross_region_bytes"`
	CrossZone   int64         `json:"cross_zone_bytes"`
	Connections int64         `json:"connections"`
	CPU         time.Duration `json:"cpu_ns"`
}

// Add adds o to t.
func (t *Traffic) Add(o Traffic) {
	t.Messages += o.Messages
	t.Bytes += o.Bytes
	t.CrossRegion += o.CrossRegion
	t.CrossZone += o.CrossZone
	t.Connections += o.Connections
	t.CPU += o.CPU
}

// Minus returns t less o.
func (t Traffic) Minus(o Traffic) Traffic {
	return Traffic{
		Messages:    t.Messages - o.Messages,
		Bytes:       t.Bytes - o.Bytes,
		CrossRegion: t.CrossRegion - o.CrossRegion,
		CrossZone:   t.CrossZone - o.CrossZone,
		Connections: t.Connections - o.Connections,
		CPU:         t.CPU - o.CPU,
	}
}

// Most returns the larger of t and o, field by field.
func (t Traffic) Most(o Traffic) Traffic {
	return Traffic{
		Messages:    max(t.Messages, o.Messages),
		Bytes:       max(t.Bytes, o.Bytes),
		CrossRegion: max(t.CrossRegion, o.CrossRegion),
		CrossZone:   max(t.CrossZone, o.CrossZone),
		Connections: max(t.Connections, o.Connections),
		CPU:         max(t.CPU, o.CPU),
	}
}

// Times returns t multiplied by n.
func (t Traffic) Times(n int64) Traffic {
	return Traffic{
		Messages:    t.Messages * n,
		Bytes:       t.Bytes * n,
		CrossRegion: t.CrossRegion * n,
		CrossZone:   t.CrossZone * n,
		Connections: t.Connections * n,
		CPU:         t.CPU * time.Duration(n),
	}
}

// Without returns t less o times scale. No field becomes negative. Connections are kept.
func (t Traffic) Without(o Traffic, scale float64) Traffic {
	less := func(a, b int64) int64 { return max(a-int64(float64(b)*scale), 0) }
	return Traffic{
		Messages:    less(t.Messages, o.Messages),
		Bytes:       less(t.Bytes, o.Bytes),
		CrossRegion: less(t.CrossRegion, o.CrossRegion),
		CrossZone:   less(t.CrossZone, o.CrossZone),
		Connections: t.Connections,
		CPU:         time.Duration(less(int64(t.CPU), int64(o.CPU))),
	}
}

// slowed returns how long the processor of the host takes for work that a normal
// processor does in d.
func (h *Host) slowed(d time.Duration) time.Duration {
	if h.slow > 1 {
		return time.Duration(float64(d) * h.slow)
	}
	return d
}

// Spend takes d of the processor of host i, not before at, and returns the time at
// which the processor is done. Work waits for work that was queued before.
func (w *World) Spend(i int32, at step.Time, d time.Duration) step.Time {
	h := &w.hosts[i]
	h.traffic.CPU += d
	h.cpuFree = max(h.cpuFree, at).Add(h.slowed(d))
	return h.cpuFree
}

// Upload queues size bytes on the link out of host i, not before at, and returns the time
// at which the last byte has left. Bytes wait for bytes that were queued before.
func (w *World) Upload(i int32, at step.Time, size int64) step.Time {
	h := &w.hosts[i]
	h.upFree = max(h.upFree, at).Add(SendTime(size, w.upRate(i)))
	return h.upFree
}

// link is one end of a connection.
type link struct {
	owner, remote int32
	// other is the remote end.
	other step.PeerID
	// last is when the last message arrives. No later message arrives before it.
	last  step.Time
	alive bool
	// held holds messages that were sent into a partition. They arrive when the
	// partition heals.
	held []heldMessage
	// dying is true while the idle timeout of the link runs.
	dying bool
}

type heldMessage struct {
	m    wire.Message
	size int64
}

// SendTime returns the time that size bytes take at bps bits per second. It returns 0 if
// bps is 0, which means no limit.
func SendTime(size int64, bps float64) time.Duration {
	if bps <= 0 {
		return 0
	}
	return time.Duration(float64(size) * 8 / bps * float64(time.Second))
}
