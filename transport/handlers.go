package transport

import (
	"context"

	"github.com/bits-and-blooms/bitset"

	"banyan/body"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// Handlers are the parts of a process that a Driver calls to carry out the outputs of its
// node. Bodies and Observe are required. The other fields may be nil where their comments
// say so.
type Handlers struct {
	// Bodies serves bodies and shards to peers.
	Bodies BodyServer
	// Receiver stores the bodies and shards that peers send. A nil Receiver is for a node
	// without a parent, which never fetches: the driver then reads no shards from its links.
	Receiver BodyReceiver
	// Cache keeps forms for other hosts. A nil Cache is for a node that subscribes to every
	// config, as a coordinator does.
	Cache FormCache
	// Pointers applies the pointers that the node accepts. A nil Pointers is for a node
	// without a parent, which accepts none.
	Pointers PointerOwner
	// Bases returns the versions of config that a peer may send deltas to. A nil Bases means
	// that the process asks for forms without a base only.
	Bases func(config string) []record.Ref
	// Observe is called, in the driver's goroutine, for every output that the driver does not
	// carry out itself, and for OpDrop. Observe must not block.
	Observe func(o step.Output)
}

// BodyServer serves bodies and shards. Its methods are called from goroutines of their own.
type BodyServer interface {
	// OpenBody opens the form of a version that serves wish best. The driver closes
	// Offer.Bytes if it is an io.Closer. OpenBody returns a body.OtherFormError if the process
	// should fetch a better form first.
	OpenBody(ctx context.Context, want record.VersionKey, wish body.Wish) (body.Offer, error)
	// GetShard reads shard n into buf and returns the part of buf that the shard fills. buf
	// has record.MaxShardBytes bytes.
	GetShard(key record.FormKey, n int, buf []byte) ([]byte, error)
}

// BodyReceiver verifies and stores what peers send. Its methods are called from goroutines
// of their own.
type BodyReceiver interface {
	// StoreBody verifies a body, or a form in one piece, and stores the version durably. It
	// returns the set of forms whose shards can be served from now on: bit i is form i.
	StoreBody(ctx context.Context, want record.VersionKey, o body.Offer) (forms uint8, err error)
	// BeginForm verifies the index of a form and prepares to receive its shards. It returns
	// the shards that are on disk already.
	BeginForm(ctx context.Context, want record.VersionKey, o body.Offer) (step.FormInfo, *bitset.BitSet, error)
	// PutShard verifies and stores a shard. It returns the other shards that this one
	// restored. The error wraps record.ErrChecksum if the shard is not what the index says.
	PutShard(key record.FormKey, n int, shard []byte) (restored []int, err error)
	// Assemble makes the body of a form whose shards are all on disk and stores the version
	// durably. It returns what StoreBody returns.
	Assemble(ctx context.Context, key record.FormKey) (forms uint8, err error)
	// Abandon deletes the shards of a version that no pointer names any more.
	Abandon(want record.VersionKey)
}

// FormCache keeps forms of configs that the host does not subscribe to, for other hosts.
type FormCache interface {
	// CacheForm verifies a form that comes in one piece, or the index of a larger form. It returns
	// the shards of the form that are on disk. The driver calls CacheForm in a new goroutine.
	CacheForm(
		ctx context.Context, want record.VersionKey, choice wire.FormChoice, o body.Offer,
	) (step.FormInfo, *bitset.BitSet, error)
}

// PointerOwner applies pointers.
type PointerOwner interface {
	// Activate applies a version durably and then calls done once. latencyMicros is the time
	// since the pointer was signed. Activate is called in the driver's goroutine and must not
	// block.
	Activate(a *wire.Announcement, version record.Ref, done func(why step.Failure, latencyMicros int64))
}
