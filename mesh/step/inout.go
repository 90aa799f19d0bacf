package step

import (
	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/wire"
	"banyan/record"
)

// InputKind says what an Input is.
type InputKind uint8

// The inputs of a node, and the fields of Input each uses.
const (
	InStart         InputKind = iota + 1 // begin; nothing else
	InTick                               // the deadline came; nothing else
	InRestore                            // Announcement, Version, Unapplied: a pointer held from before, and the version applied of it
	InResume                             // Revision: the watermark held from before
	InHold                               // Want, Forms: a body held from before
	InPublish                            // Announcement, Push: the root's store has a new pointer, verified; Push, if not nil, goes behind it
	InStored                             // Want: the root's store has a new version
	InPublishHead                        // Head, HeadRaw: the root signed a head
	InPeer                               // Peer, Identity: a link came up that the other side dialed
	InConnected                          // Peer, Identity, Addr: a link came up that this node dialed
	InConnectFailed                      // Addr: it did not
	InDisconnected                       // Peer: a link went down
	InReceived                           // Peer, Message
	InRequest                            // Peer, Request, Want, Choice: a peer asks for a body
	InFetched                            // Want, Choice, Key, Forms, Reason, Local, Denied: a fetch, or with Key the assembly of a form, ended; Reason "" is success; Local: this host failed, not the peer; Denied: the peer would not
	InAnswered                           // Want, Choice: the peer that was asked begins to send a body
	InIndexed                            // Want, Choice, Form, Info, Shards: a fetch brought the index of a form; those shards of it are here
	InShard                              // Peer, Key, Shard, Restored, Reason, Local: a shard that came was stored, or not; others were restored by it
	InSent                               // Peer, Key, Shard: an OpSendShard ended, well or not
	InActivated                          // Announcement, Version, Reason, LatencyMicros: an OpActivate ended; Reason "" is success
	InCensus                             // count the agents, for the leader; nothing else
	InEvicted                            // Want: a body is no longer held
	InDrift                              // Want, Drift: the file of an applied version was changed by another hand, or is right again
	InDamaged                            // Want, Local: what shows of a version is not it any more; apply it anew, and unless Local fetch it before
	InRelease                            // Name: a hand releases that agent from quarantine
	InHint                               // Revision: gossip says that the node's region is at it
	InDoubt                              // Name: gossip says that the agent of that name died
	InSurvey                             // Want, Request: ask all agents below what they hold of a version; OpHoldings with that number answer
	InCongested                          // Peer: what was sent to it waits; more would cost memory
	InDrained                            // Peer: all that was sent to it has left, as OpAwaitDrain asked
)

// Input is one thing that happened to a node.
type Input struct {
	Kind          InputKind
	Peer          PeerID
	Identity      wire.Identity
	Addr          string
	Message       wire.Message
	Announcement  *wire.Announcement
	Head          record.Head
	HeadRaw       *wire.SignedHead
	Push          *wire.Push
	Want          record.VersionKey
	Key           record.FormKey
	Info          FormInfo
	Shards        *bitset.BitSet // not kept
	Restored      []int
	Shard         int
	Form          uint8
	Choice        wire.FormChoice
	Forms         uint8 // whose shards can be served, a bit each
	Request       uint64
	Version       uint64
	Revision      uint64
	Reason        string
	Name          string
	LatencyMicros int64
	Unapplied     bool
	Local         bool
	Denied        bool
	Drift         wire.DriftState
}

// Op says what an Output asks for.
type Op uint8

// The outputs of a node, and the fields of Output each uses.
const (
	OpSend        Op = iota + 1 // Peer, Message: send it
	OpConnect                   // Addr: dial; answer InConnected or InConnectFailed
	OpDrop                      // Peer, Reason: close the link; answer InDisconnected
	OpStore                     // Push: store a version that was pushed and verified; answer InFetched
	OpFetch                     // Peer, Want, Choice: fetch and verify a body; answer InFetched or InIndexed. With Cached, for others: a form that, if Request is not 0, that one can use; answer InIndexed
	OpServe                     // Request, Want, Choice: send the body asked for, or InRequest again with the form that is to be had first
	OpDeny                      // Request, Reason: refuse it
	OpSendShard                 // Peer, Key, Shard: send a shard; answer InSent, once it has left
	OpAssemble                  // Key: all of a form is here; check, decode and keep the body; answer InFetched
	OpAbandon                   // Want: no pointer names that version any more, what has come of it may go
	OpDuplicate                 // Want: a shard came that was here
	OpSuspect                   // Name, Want: a source of shards is silent, and others are asked
	OpActivate                  // Announcement, Version: apply it durably; answer InActivated
	OpAccepted                  // Announcement: a pointer verified as new
	OpRefused                   // Reason, Peer: a pointer, head or message was refused
	OpHead                      // Head: a newer head verified
	OpAcked                     // Message (*Ack): acknowledgements reached the root
	OpAttached                  // Peer: the node has a parent again
	OpPlaced                    // Count: so many agents have a place in this root's tree now
	OpCensus                    // Region, Name, Count, Message (*Census): the following coordinator of that name has so many agents
	OpAwaitDrain                // Peer: answer InDrained when all that was sent to it has left
	OpSlow                      // Peer: a child does not keep up; it is sent the newest when it does
	OpAccused                   // Peer, Reason: an agent left the parent of that name because it withheld
	OpQuarantined               // Name, Want, Reason: an agent keeps failing that config
	OpReleased                  // Name, Want: it does not any more
	OpDrifted                   // Message (*Drift): a file on a host is not what was applied
	OpHoldings                  // Message (*Holdings): what agents hold of the version that a survey asks about
	OpGossip                    // Addrs: be in the gossip pool that is there
	OpGap                       // Revision, Peer: the head is ahead of what the parent sent
)

// Output is one thing a node wants done. Its fields must not be changed.
type Output struct {
	Op           Op
	Peer         PeerID
	Addr         string
	Message      wire.Message
	Announcement *wire.Announcement
	Head         record.Head
	Push         *wire.Push
	Want         record.VersionKey
	Key          record.FormKey
	Shard        int
	Request      uint64
	Choice       wire.FormChoice
	Cached       bool
	Version      uint64
	Revision     uint64
	Reason       string
	Region       string
	Name         string
	Addrs        []string
	Count        int
}
