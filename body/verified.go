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

// Verified is an offer with a checked manifest, form and size. The bytes are unchecked.
type Verified struct {
	Offer
	// Key names the version and the form.
	Key record.FormKey
	// Manifest is the verified manifest.
	Manifest record.Manifest
	// Described is the manifest's entry for the form. For a decoded body it has the body's
	// size and hash.
	Described record.Form
}

// Info returns the description of the form for the node.
func (v Verified) Info() step.FormInfo {
	return step.FormInfo{Size: v.Described.Size, Geometry: v.Described.Geometry}
}

// Begin reads the offered index and prepares store to take the shards of the form. It
// returns the shards already in store.
func (v Verified) Begin(store *shardstore.Store) (step.FormInfo, *bitset.BitSet, error) {
	index, err := io.ReadAll(io.LimitReader(v.Bytes, maxIndexBytes))
	if err != nil {
		return step.FormInfo{}, nil, err
	}
	have, err := store.Begin(v.Key, v.Described, v.Signed, index)
	return v.Info(), have, err
}
