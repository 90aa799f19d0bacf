package fec

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/reedsolomon"

	"banyan/record"
)

// ErrSize is wrapped if a form does not have the stated size.
var ErrSize = errors.New("body size differs")

// Coder encodes and rebuilds stripes of one geometry. It is safe for concurrent use.
type Coder struct {
	g  record.Geometry
	rs reedsolomon.Encoder
}

// coders keeps coders, because making a coder costs more than encoding a stripe. Geometries
// come from signed manifests, and few are in use at a time. The table is emptied when it has
// maxCoders entries.
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

// Rebuild restores the missing data shards of a stripe. A missing shard is nil or empty. An
// empty shard with enough capacity is restored in place.
func (c *Coder) Rebuild(stripe [][]byte) error { return c.rs.ReconstructData(stripe) }

// fill reads up to remaining bytes into the data shards, and fills the rest of the shards with
// zeros.
func (c *Coder) fill(r io.Reader, stripe [][]byte, remaining int64) (read int64, err error) {
	for _, shard := range stripe[:c.g.Data] {
		want := min(int64(len(shard)), remaining-read)
		n, err := io.ReadFull(r, shard[:want])
		read += int64(n)
		if err != nil {
			return read, fmt.Errorf("%w: the form ends %d bytes early: %w", ErrSize, remaining-read, err)
		}
		clear(shard[want:])
	}
	return read, nil
}
