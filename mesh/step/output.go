package step

import (
	"banyan/mesh/wire"
	"banyan/record"
)

// Output is a request of a node to the driver. Op says which parts of the Output are set.
// The parts must not be changed.
type Output struct {
	Op Op
	// Peer is the link that the output is about.
	Peer    PeerID
	Addr    string
	Message wire.Message
	Pointer Pointer
	Head    record.Head
	Push    *wire.Push
	Body    Body
	Shard   Shard
	Reason  string
	// Revision is the revision that a head states.
	Revision uint64
	// Region is the region of the coordinator that a census is from.
	Region string
	// Name is the name of the node that the output is about.
	Name string
	// Addrs are addresses of the gossip pool.
	Addrs []string
	// Count is a number of agents.
	Count int
}

// Outputs are outputs in the order in which the driver must carry them out.
type Outputs = []Output

// Op is the kind of an Output.
type Op uint8

// The kinds of output. Each comment says what is to be done, which parts of Output are
// set, and which Input answers.
const (
	// OpSend: send a message. Peer, Message.
	OpSend Op = iota + 1
	// OpConnect: dial an address. Addr. InConnected or InConnectFailed answers.
	OpConnect
	// OpDrop: close a link. Peer, Reason. InDisconnected answers.
	OpDrop
	// OpAwaitDrain: wait until all that was sent to a peer has left. Peer. InDrained answers.
	OpAwaitDrain

	// OpStore: store a version that was pushed, and verified. Push. InFetched answers.
	OpStore
	// OpFetch: fetch and verify a body. Peer, Body.Version, Body.Choice. InFetched or
	// InIndexed answers. With Body.ForOthers only an index is wanted, of a form that the
	// peer behind Body.Request can use; InIndexed answers.
	OpFetch
	// OpServe: send the requested body. Body.Request, Body.Version, Body.Choice. InRequest
	// answers if another form must be fetched first.
	OpServe
	// OpDeny: refuse a request. Body.Request, Reason.
	OpDeny
	// OpSendShard: send a shard. Peer, Shard. InSent answers once the shard has left.
	OpSendShard
	// OpAssemble: all of a form is on disk; check, decode and store the body. Shard.Key,
	// Body.Version. InAssembled answers.
	OpAssemble
	// OpAbandon: delete the shards of a version that no pointer names any more. Body.Version.
	OpAbandon
	// OpActivate: apply a version durably. Pointer. InActivated answers.
	OpActivate

	// OpKeep: keep the pointer of a config that the node does not subscribe to, for the next start.
	// Several may be written together, later. Pointer.Announcement.
	OpKeep

	// OpAccepted reports a new verified pointer. Peer, Pointer.Announcement.
	OpAccepted
	// OpRefused reports a pointer, head or message that was refused. Peer, Reason; Name for
	// poison and for refused fetches only.
	OpRefused
	// OpHead reports a newer verified head. Head.
	OpHead
	// OpGap reports a head that disagrees with the node's pointers. Peer, Revision.
	OpGap
	// OpDuplicate reports a shard that was not needed: the shard was on disk already, or its
	// exchange has ended. Body.Version.
	OpDuplicate
	// OpSuspect reports a source of shards that is silent. Name, Body.Version.
	OpSuspect
	// OpAttached reports that the node has a parent again. Peer.
	OpAttached
	// OpAlone reports that an attempt to find a parent failed. Addr is the coordinator's; Reason.
	OpAlone
	// OpBehind reports a signed pointer or head from below that is newer than the leader's own, or
	// contradicts it. Peer; Pointer.Announcement or Head.
	OpBehind
	// OpRecovered reports, between InRecover and InRecovered, a pointer from below that is newer
	// than the leader's own or contradicts it. Peer, Pointer.Announcement.
	OpRecovered
	// OpSentAll reports, between InRecover and InRecovered, that a child has sent all of its
	// pointers. Peer.
	OpSentAll
	// OpSlow reports a child that does not keep up. Peer.
	OpSlow
	// OpGossip asks the agent to join the gossip pool. Addrs.
	OpGossip

	// OpAcked reports acknowledgements that reached the root. Message is a *wire.Ack.
	OpAcked
	// OpPlaced reports the number of agents that have a place in the root's tree. Count.
	OpPlaced
	// OpReserve asks for agent indices for the planner to give out; see InReserved.
	OpReserve
	// OpCensus reports a census of the coordinator Name. Name, Region, Count; Message is a *wire.Census.
	OpCensus
	// OpAccused reports an agent that left the parent called Name for a fault. Peer, Name.
	OpAccused
	// OpQuarantined reports an agent that keeps failing a config. Name, Body.Version.Config, Reason.
	OpQuarantined
	// OpReleased reports an agent that left quarantine. Name, Body.Version.Config.
	OpReleased
	// OpDrifted reports a file on a host that was changed by somebody else. Message is a *wire.Drift.
	OpDrifted
	// OpHoldings reports what agents hold of a surveyed version. Message is a *wire.Holdings.
	OpHoldings
	// OpCloned reports two live instances of one identity. Name; Reason has the two addresses.
	OpCloned
)
