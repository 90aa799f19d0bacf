package step

import (
	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/wire"
	"banyan/record"
)

// Input is an event at a node. Kind says which parts of the Input are set.
type Input struct {
	Kind InputKind
	// Peer is the link that the input is about.
	Peer    PeerID
	Link    Link
	Message wire.Message
	Pointer Pointer
	Head    Head
	Body    Body
	Index   Index
	Shard   Shard
	Failure Failure
	// Revision is a revision of the node's region.
	Revision uint64
	// Name is the name of an agent.
	Name string
	// Indices are agent indices that were reserved.
	Indices Indices
	// Drift is the state of the file of Body.Version.
	Drift wire.DriftState
}

// InputKind is the kind of an Input.
type InputKind uint8

// The kinds of input. Each comment says what happened, and which parts of Input are set.
const (
	// InStart: the driver starts the node.
	InStart InputKind = iota + 1
	// InTick: the time of Node.Deadline has come.
	InTick

	// InRestore: the node had a pointer before it stopped. Pointer.Announcement,
	// Pointer.Version, Pointer.Unapplied. Before InStart.
	InRestore
	// InResume: the node had a watermark before it stopped. Revision. Before InStart.
	InResume
	// InHold: a body is on disk. Body.Version, Body.Forms.
	InHold

	// InPublish: the leader's store has a new pointer. Pointer.Announcement, Pointer.Batchable;
	// Pointer.Push, if the version is to be pushed.
	InPublish
	// InStored: the leader's store has a new version. Body.Version.
	InStored
	// InPublishHead: the leader has signed a head. Head.
	InPublishHead

	// InAccepted: a link came up that the peer dialed. Peer, Link.Identity.
	InAccepted
	// InConnected: a link came up that the node dialed. Peer, Link.
	InConnected
	// InConnectFailed: a dial failed. Link.Addr, Failure.
	InConnectFailed
	// InDisconnected: a link went down. Peer.
	InDisconnected
	// InCongested: what was sent to a peer waits, and more would cost memory. Peer.
	InCongested
	// InDrained: all that was sent to a peer has left, as OpAwaitDrain asked. Peer.
	InDrained
	// InReceived: a message came. Peer, Message.
	InReceived

	// InRequest: a peer asks for a body. Peer, Body.Version, Body.Choice, Body.Request.
	InRequest
	// InWithdrawn: a peer has given up a request that was not answered. Peer, Body.Request.
	InWithdrawn
	// InAnswered: the peer that was asked begins to send a body. Body.Version, Body.Choice.
	InAnswered
	// InThrottled: the host's own limit of downloads delays the request of an OpFetch.
	// Body.Version, Body.Choice.
	InThrottled
	// InAsked: the request that InThrottled reported is sent now. Body.Version, Body.Choice.
	InAsked
	// InDelayed: the host's own limit of downloads delays a body that the peer has begun to send.
	// Body.Version, Body.Choice, Body.Delay.
	InDelayed
	// InFetched: an OpFetch or OpStore ended with the body, or failed. Body.Version,
	// Body.Choice, Body.Forms, Failure.
	InFetched
	// InIndexed: an OpFetch ended with the index of a form. Body.Version, Body.Choice, Index.
	InIndexed
	// InShard: a shard came and was stored, or could not be stored. Peer, Shard, Failure.
	InShard
	// InAssembled: an OpAssemble ended. Body.Version, Body.Forms, Failure.
	InAssembled
	// InSent: an OpSendShard ended, with success or not. Peer, Shard.
	InSent
	// InEvicted: a body is no longer on disk. Body.Version.
	InEvicted

	// InActivated: an OpActivate ended. Pointer.Announcement, Pointer.Version,
	// Pointer.LatencyMicros, Failure.
	InActivated
	// InDrift: the file of an applied version was changed by somebody else, or is right
	// again. Body.Version, Drift.
	InDrift
	// InReapply: the file of an applied version is wrong, and the stored body is good: the
	// version is to be applied again. Body.Version.
	InReapply
	// InRefetch: as InReapply, but the stored body is damaged too: the body is to be
	// fetched first. Body.Version.
	InRefetch

	// InForget: the deletion of a config is so old that the node may forget it. Pointer.Key.
	InForget

	// InHint: gossip reports a revision of the node's region. Revision.
	InHint
	// InCensus: the coordinator wants its agents counted.
	InCensus
	// InRelease: an operator releases an agent from quarantine. Name.
	InRelease
	// InDoubt: gossip reports that an agent died. Name.
	InDoubt
	// InSurvey: the coordinator asks all agents what they hold of a version.
	// Body.Version; Body.Request is the number of the survey, which OpHoldings repeats.
	InSurvey
	// InReserved: an OpReserve ended. Indices; none if it failed.
	InReserved
	// InRecover: the leader's store has lost writes. The children are asked for all of their
	// pointers until InRecovered comes.
	InRecover
	// InRecovered: the recovery has ended.
	InRecovered
)

// Indices are agent indices that no agent has.
type Indices struct {
	First uint32
	Count int
}

// Link is what is known of a link, or of an attempt to dial.
type Link struct {
	// Identity is the authenticated identity of the peer.
	Identity wire.Identity
	// Addr is the address that was dialed.
	Addr string
}

// Pointer is an announcement, and the node's part in it.
type Pointer struct {
	Announcement *wire.Announcement
	// Key names the config of a deletion to be forgotten.
	Key record.PointerKey
	// Version is the version for the node to run; zero for none.
	Version record.Ref
	// Push is the version to send behind the announcement; nil for none.
	Push *wire.Push
	// Batchable reports that the leader has verified the signature of the pointer: the pointer may
	// leave under the signature of a batch.
	Batchable bool
	// Unapplied reports that a restored pointer was not applied before the node stopped.
	Unapplied bool
	// LatencyMicros is the time from the pointer's signature to the apply, in microseconds.
	LatencyMicros int64
}

// Head is a head, and its signed form.
type Head struct {
	Head   record.Head
	Signed *wire.SignedHead
}

// Body is a version in a request or a fetch, and the result.
type Body struct {
	Version record.VersionKey
	// Choice is the form that is asked for.
	Choice wire.FormChoice
	// Request identifies the request of a peer; 0 for none.
	Request uint64
	// Forms has a bit for each form of the version whose shards can be served from now on.
	Forms uint8
	// ForOthers reports that the body is fetched for other nodes only.
	ForOthers bool
	// Delay is the time by which the host itself delays the body.
	Delay Time
}

// Index is the index of a form that a fetch brought.
type Index struct {
	Form uint8
	Info FormInfo
	// Held are the shards of the form on disk. The node does not keep the set.
	Held *bitset.BitSet
}

// FormInfo describes a form for the exchange of shards.
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
	// Restored are further shards, rebuilt by the driver with the help of the shard.
	Restored []int
}

// Failure says why something failed. The zero value stands for success.
type Failure struct {
	// Reason is empty on success.
	Reason string
	Fault  Fault
}

// OK reports whether there was no failure.
func (f Failure) OK() bool { return f.Reason == "" }

// OfVersion reports whether the failure says something about the version: the version was damaged,
// or refused by a check. A full queue, a full disk, a time-out or a peer without the version says
// nothing: the same version may work at the next try.
func (f Failure) OfVersion() bool { return f.Fault == FaultPeer || f.Fault == FaultVersion }

// Fault says who is to blame for a Failure.
type Fault uint8

const (
	// FaultPeer blames the peer that was asked: it sent damaged bytes.
	FaultPeer Fault = iota
	// FaultHost blames this host, which could not store what the peer sent, or could not show
	// the version. Another peer would not help.
	FaultHost
	// FaultDenied means that the peer refused to serve, with a reason.
	FaultDenied
	// FaultPath blames the path to the peer: the link broke, or the peer was silent.
	FaultPath
	// FaultVersion blames the version: a check or a reload on this host failed.
	FaultVersion
)

const (
	// ReasonLinkLost is the reason of a fetch that ended with a broken link.
	ReasonLinkLost = "link_lost"
	// ReasonPoison is the reason of a shard with other bytes than the index says.
	ReasonPoison = "shard_checksum"
)
