package mesh

import (
	"time"

	"github.com/bits-and-blooms/bitset"

	"banyan/record"
)

// Time is a moment on the driver's clock, in nanoseconds since an origin of the
// driver's choice. Only differences mean anything.
type Time int64

// Add returns the moment d later.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Never is later than any moment.
const Never = Time(1<<63 - 1)

// PeerID names one link to another node. The driver gives each new link a new
// one, so that a message meant for a lost link can't reach its successor.
type PeerID uint64

// Role is what a node is, as its certificate says.
type Role uint8

// The roles of nodes.
const (
	RoleAgent       Role = 1
	RoleCoordinator Role = 2
)

// Identity is who a peer is, as the driver authenticated it.
type Identity struct {
	Role   Role
	Region string
	Name   string
}

// Location says how to reach a node.
type Location struct {
	Name string `cbor:"1,keyasint"`
	Addr string `cbor:"2,keyasint"`
	// Subscriptions are told where shards are traded.
	Subscriptions Subscriptions `cbor:"3,keyasint,omitempty"`
}

// Message is what nodes say to each other: one of the pointer types below.
type Message interface{ message() }

// Join asks a coordinator for a place in its tree.
type Join struct {
	Addr     string            `cbor:"1,keyasint"` // where the sender listens
	Relay    bool              `cbor:"2,keyasint"` // whether it may have children
	Labels   map[string]string `cbor:"3,keyasint"`
	Index    uint32            `cbor:"4,keyasint"`           // the index it had, plus one; 0 for none
	Avoid    []string          `cbor:"5,keyasint"`           // names of parents it left or lost lately; at most MaxAvoid
	Accuse   string            `cbor:"6,keyasint,omitempty"` // name of the parent it left because that withheld, or sent damaged bodies
	Capacity uint32            `cbor:"7,keyasint,omitempty"` // children it takes; 0: as many as the planner likes

	Subscriptions Subscriptions `cbor:"8,keyasint,omitempty"`
}

// Placement answers Join.
type Placement struct {
	Index  uint32   `cbor:"1,keyasint"`
	Parent Location `cbor:"2,keyasint"` // empty: stay with the sender
	// Backups are where to go at once when the parent is lost, best first; an empty
	// one is the sender. At most MaxBackups.
	Backups []Location `cbor:"3,keyasint,omitempty"`
	// Gossip are addresses of the region's gossip pool, if the agent is to be in it.
	Gossip []string `cbor:"4,keyasint,omitempty"`
}

// Attach asks a node to be the sender's parent and to send what changed since.
type Attach struct {
	Index    uint32            `cbor:"1,keyasint"`
	Since    uint64            `cbor:"2,keyasint"`
	Addr     string            `cbor:"3,keyasint,omitempty"` // where the sender listens
	Relay    bool              `cbor:"4,keyasint,omitempty"`
	Capacity uint32            `cbor:"5,keyasint,omitempty"`
	Labels   map[string]string `cbor:"6,keyasint,omitempty"`
	Children uint32            `cbor:"7,keyasint,omitempty"` // that it has now

	Subscriptions Subscriptions `cbor:"8,keyasint,omitempty"`
}

// Attached accepts a child, or tells it that the way to the root has changed.
type Attached struct {
	Path []uint32 `cbor:"1,keyasint,omitempty"` // indices of the agents between root and child, from the root on
}

// Member is an agent, as its parent describes it to the planner.
type Member struct {
	Index    uint32            `cbor:"1,keyasint"`
	Name     string            `cbor:"2,keyasint"`
	Addr     string            `cbor:"3,keyasint"`
	Relay    bool              `cbor:"4,keyasint"`
	Capacity uint32            `cbor:"5,keyasint,omitempty"`
	Labels   map[string]string `cbor:"6,keyasint,omitempty"`
	Children uint32            `cbor:"7,keyasint,omitempty"` // it brought with it; 0 in answers to a roll call

	Subscriptions Subscriptions `cbor:"8,keyasint,omitempty"`
}

// Adopted tells that agents are children of one now.
type Adopted struct {
	Parent  uint32   `cbor:"1,keyasint"` // its index
	Members []Member `cbor:"2,keyasint"` // at most MaxMembers
}

// RollCall asks a subtree to tell of all its agents: the planner knows fewer.
type RollCall struct{}

// Shadow asks a node to be the sender's backup: to tell when there is news.
type Shadow struct {
	Index uint32 `cbor:"1,keyasint"`
}

// Notice tells a node whose backup the sender is how far the sender is.
type Notice struct {
	Revision   uint64 `cbor:"1,keyasint"`
	HeadMicros int64  `cbor:"2,keyasint"` // of the newest head
}

// Accusation tells the planner that an agent left its parent because that withheld,
// or sent damaged bodies.
type Accusation struct {
	Accuser uint32 `cbor:"1,keyasint"`
	Name    string `cbor:"2,keyasint"` // of the parent
}

// Rejected refuses a Join or Attach.
type Rejected struct {
	Reason string `cbor:"1,keyasint"`
	// After is how many milliseconds to wait before asking again; 0: as the sender likes.
	After uint32 `cbor:"2,keyasint,omitempty"`
}

// Announcement is a pointer on its way down the tree.
type Announcement struct {
	Revision uint64
	Raw      []byte         // the signed pointer
	Pushed   bool           // the version that it newly names comes right behind, in a Push
	Pointer  record.Pointer // what Raw says; set once it was verified
}

// Push carries a small version down the tree, right behind the announcement that
// names it, so that nobody needs to ask for it.
type Push struct {
	Config   string `cbor:"1,keyasint"`
	Version  uint64 `cbor:"2,keyasint"`
	Manifest []byte `cbor:"3,keyasint"` // as signed
	Body     []byte `cbor:"4,keyasint"` // at most MaxPush bytes
}

func (m *Push) key() record.VersionKey {
	return record.VersionKey{Config: m.Config, Version: m.Version}
}

// Brood tells a parent of the sender's children.
type Brood struct {
	Members []Location `cbor:"1,keyasint"`
}

// Circle tells an agent among whom it trades shards; see circles.
type Circle struct {
	Members []Location `cbor:"1,keyasint"` // by name
	Feeders []Location `cbor:"2,keyasint"` // likewise
	Feeds   uint8      `cbor:"3,keyasint"` // how many others of its pool are fed by it
}

// Circles tells a relay which circles its children are in.
type Circles struct {
	Below []*Circle `cbor:"1,keyasint"`
}

// Want asks for shards of a form of a version, beside those that the sender asked for
// before, or no longer; they are sent as the receiver gets them itself.
type Want struct {
	Key    record.FormKey
	Shards *bitset.BitSet
	Cancel *bitset.BitSet
}

// Decline answers a Want: these shards will not be sent, since there is no room to have
// them here.
type Decline struct {
	Key    record.FormKey
	Shards *bitset.BitSet
}

// Stored tells a coordinator that follows of a version that was published: it fetches
// it now, so that it is there when a pointer names it.
type Stored struct {
	Config  string `cbor:"1,keyasint"`
	Version uint64 `cbor:"2,keyasint"`
}

// SignedHead is a head on its way down the tree.
type SignedHead struct {
	Raw []byte `cbor:"1,keyasint"`
}

// CatchUp asks a parent for the pointers that changed since a revision.
type CatchUp struct {
	Since uint64 `cbor:"1,keyasint"`
}

// Gone tells that agents are no longer the sender's children.
type Gone struct {
	Parent uint32   `cbor:"1,keyasint"` // index of the one they were children of
	Agents []uint32 `cbor:"2,keyasint"`
}

// Ack carries merged acknowledgements up the tree.
type Ack struct {
	Entries []AckEntry
}

func (*Join) message()         {}
func (*Placement) message()    {}
func (*Attach) message()       {}
func (*Attached) message()     {}
func (*Rejected) message()     {}
func (*Announcement) message() {}
func (*SignedHead) message()   {}
func (*CatchUp) message()      {}
func (*Gone) message()         {}
func (*Census) message()       {}
func (*Ack) message()          {}
func (*Push) message()         {}
func (*Adopted) message()      {}
func (*RollCall) message()     {}
func (*Shadow) message()       {}
func (*Notice) message()       {}
func (*Accusation) message()   {}
func (*Brood) message()        {}
func (*Circle) message()       {}
func (*Circles) message()      {}
func (*Want) message()         {}
func (*Decline) message()      {}
func (*Stored) message()       {}
func (*Survey) message()       {}
func (*Holdings) message()     {}
func (*Drift) message()        {}
