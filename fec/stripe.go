package fec

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync"

	"github.com/klauspost/reedsolomon"

	"banyan/record"
)

// Geometry by size. What fits a few packets is a single shard: parity for it costs
// more than sending it again. Above that, ten data and four parity shards let a stripe
// lose four of fourteen sources. Shards are so small that some hundreds of them are on
// their way through the overlay at once, and so large that a shard's own cost, about
// 0.1 ms at either end, stays small beside that of its bytes.
const (
	singleShardLimit = 16 << 10
	dataShards       = 10
	parityShards     = 4
	minShardBytes    = 32 << 10
	maxShardBytes    = 128 << 10
	shardsOfBody     = 1024
)

// GeometryFor chooses the geometry for a form of size bytes.
func GeometryFor(size int64) record.Geometry {
	if size <= singleShardLimit {
		return record.Geometry{Data: 1, ShardBytes: uint32(max(size, 1))}
	}
	shard := min(max(powerOfTwo(size/shardsOfBody), minShardBytes), maxShardBytes)
	shard = min(shard, (size+dataShards-1)/dataShards)
	return record.Geometry{Data: dataShards, Parity: parityShards, ShardBytes: uint32(shard)}
}

// powerOfTwo is the largest power of two that is not above n; 0 for 0.
func powerOfTwo(n int64) int64 {
	if n <= 0 {
		return 0
	}
	return 1 << (bits.Len64(uint64(n)) - 1)
}

// ErrSize is wrapped when a form is not of the size it was said to be.
var ErrSize = errors.New("body size differs")

// Coder encodes and rebuilds stripes of one geometry. It may be used by many at once.
type Coder struct {
	g  record.Geometry
	rs reedsolomon.Encoder
}

// coders are kept because to make one costs more than to encode a stripe with it.
// Geometries come from signed manifests, and few are in use at a time; to bound them
// all, a full table starts over.
var coders struct {
	sync.Mutex
	byGeometry map[record.Geometry]*Coder
}

const maxCoders = 64

// CoderFor returns the coder of a geometry.
func CoderFor(g record.Geometry) (*Coder, error) {
	coders.Lock()
	defer coders.Unlock()
	if c := coders.byGeometry[g]; c != nil {
		return c, nil
	}
	if err := g.Validate(0); err != nil {
		return nil, err
	}
	rs, err := reedsolomon.New(int(g.Data), int(g.Parity), reedsolomon.WithAutoGoroutines(int(g.ShardBytes)))
	if err != nil {
		return nil, fmt.Errorf("geometry of %d+%d shards: %w", g.Data, g.Parity, err)
	}
	if len(coders.byGeometry) >= maxCoders || coders.byGeometry == nil {
		coders.byGeometry = map[record.Geometry]*Coder{}
	}
	c := &Coder{g, rs}
	coders.byGeometry[g] = c
	return c, nil
}

// NewStripe makes the k+m buffers of a stripe.
func (c *Coder) NewStripe() [][]byte {
	n := c.g.PerStripe()
	flat := make([]byte, n*int(c.g.ShardBytes))
	shards := make([][]byte, n)
	for i := range shards {
		shards[i] = flat[i*int(c.g.ShardBytes):][:c.g.ShardBytes:c.g.ShardBytes]
	}
	return shards
}

// Encode fills the parity shards of a stripe from its data shards.
func (c *Coder) Encode(stripe [][]byte) error { return c.rs.Encode(stripe) }

// Rebuild restores the missing (nil or empty) data shards of a stripe; one of length
// 0 with room behind it is restored in place.
func (c *Coder) Rebuild(stripe [][]byte) error { return c.rs.ReconstructData(stripe) }

// fill reads up to remaining bytes into the data shards, zero behind them.
func (c *Coder) fill(r io.Reader, stripe [][]byte, remaining int64) (read int64, err error) {
	for _, shard := range stripe[:c.g.Data] {
		want := min(int64(len(shard)), remaining-read)
		n, err := io.ReadFull(r, shard[:want])
		read += int64(n)
		if err != nil {
			return read, fmt.Errorf("%w: it ends %d bytes early: %w", ErrSize, remaining-read, err)
		}
		clear(shard[want:])
	}
	return read, nil
}
