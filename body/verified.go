package body

import (
	"io"

	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/step"
	"banyan/record"
	"banyan/shardstore"
)

// maxIndexBytes is the size of the largest shard index.
const maxIndexBytes = record.MaxIndex * int64(len(record.Digest{}))

// Verified is an offer whose manifest, form and size were checked. Its bytes are unchecked.
type Verified struct {
	Offer
	// Key names the version and the form.
	Key record.FormKey
	// Manifest is the verified manifest.
	Manifest record.Manifest
	// Described is what the manifest says of the offered bytes, or of the form whose index
	// is offered.
	Described record.Form
}

// Info returns what the node has to know about the form.
func (v Verified) Info() step.FormInfo {
	return step.FormInfo{Size: v.Described.Size, Geometry: v.Described.Geometry}
}

// Begin reads the offered index and prepares store to take the shards of the form. It
// returns the shards that are in store already.
func (v Verified) Begin(store *shardstore.Store) (step.FormInfo, *bitset.BitSet, error) {
	index, err := io.ReadAll(io.LimitReader(v.Bytes, maxIndexBytes))
	if err != nil {
		return step.FormInfo{}, nil, err
	}
	have, err := store.Begin(v.Key, v.Described, v.Signed, index)
	return v.Info(), have, err
}
