package step

import (
	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/wire"
	"banyan/record"
)

// Body is a version, as a request or a fetch names it, and what became of it.
type Body struct {
	Version record.VersionKey
	// Choice is the form that is asked for.
	Choice wire.FormChoice
	// Request identifies the request of a peer; 0 for none.
	Request uint64
	// Forms has one bit for each form of the version whose shards can be served from now on.
	Forms uint8
}

// Index is the index of a form that a fetch brought.
type Index struct {
	Form uint8
	Info FormInfo
	// Held are the shards of the form that are on disk. The node does not keep the set.
	Held *bitset.BitSet
}

// FormInfo is what a node must know of a form to exchange its shards.
type FormInfo struct {
	// Size is the size of the form, in bytes.
	Size     int64
	Geometry record.Geometry
}

// Shards returns the number of shards of the form.
func (f FormInfo) Shards() int { return f.Geometry.Shards(f.Size) }

// Shard is one shard of a form.
type Shard struct {
	Key    record.FormKey
	Number int
	// Restored are further shards that the driver rebuilt with the help of this shard.
	Restored []int
}

// Failure says why something failed. The zero value stands for success.
type Failure struct {
	// Reason is empty on success.
	Reason string
	Fault  Fault
}

// Fault says who is to blame for a Failure.
type Fault uint8

const (
	// FaultPeer blames the peer that was asked: it was silent, or sent damaged bytes.
	FaultPeer Fault = iota
	// FaultHost blames this host, which could not store what the peer sent. Another peer
	// would not help.
	FaultHost
	// FaultDenied means that the peer refused to serve, with a reason.
	FaultDenied
)

const (
	// ReasonLinkLost is the reason of a fetch that ended because its link broke.
	ReasonLinkLost = "link_lost"
	// ReasonPoison is the reason of a shard whose bytes are not what the index says.
	ReasonPoison = "shard_checksum"
)
