package fec

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/reedsolomon"

	"banyan/record"
)

// Geometry by size: a body that fits a few packets is a single shard, since
// parity for it costs more than sending it again; above that, ten data shards
// and four parity shards a stripe let a stripe lose four of fourteen sources.
const (
	singleShardLimit = 16 << 10
	dataShards       = 10
	parityShards     = 4
	maxShardBytes    = 64 << 10
)

// GeometryFor chooses the geometry for a body of size bytes.
func GeometryFor(size int64) record.Geometry {
	if size <= singleShardLimit {
		return record.Geometry{Data: 1, ShardBytes: uint32(max(size, 1))}
	}
	shard := (size + dataShards - 1) / dataShards
	return record.Geometry{Data: dataShards, Parity: parityShards, ShardBytes: uint32(min(shard, maxShardBytes))}
}

// Index is the SHA-256 of every shard, stripe after stripe, in each the data
// shards first.
type Index []record.Digest

// Digest hashes the index: what a manifest binds.
func (x Index) Digest() record.Digest {
	h := sha256.New()
	for _, d := range x {
		h.Write(d[:])
	}
	return record.Digest(h.Sum(nil))
}

// ErrSize is wrapped when a body is not of the size it was said to be.
var ErrSize = errors.New("body size differs")

// BuildIndex reads exactly size bytes of body and returns the index of its
// shards and the SHA-256 of the whole.
func BuildIndex(body io.Reader, size int64, g record.Geometry) (Index, record.Digest, error) {
	if err := g.Validate(); err != nil {
		return nil, record.Digest{}, err
	}
	coder, err := newCoder(g)
	if err != nil {
		return nil, record.Digest{}, err
	}
	whole := sha256.New()
	shards := newStripe(g)
	var index Index
	for remaining := size; remaining > 0; {
		n, err := fillStripe(io.TeeReader(body, whole), shards[:g.Data], remaining)
		if err != nil {
			return nil, record.Digest{}, err
		}
		remaining -= n
		if err := coder.Encode(shards); err != nil {
			return nil, record.Digest{}, fmt.Errorf("encode stripe: %w", err)
		}
		for _, s := range shards {
			index = append(index, record.Sum(s))
		}
	}
	if n, _ := io.CopyN(io.Discard, body, 1); n != 0 {
		return nil, record.Digest{}, fmt.Errorf("%w: more than the %d bytes stated", ErrSize, size)
	}
	return index, record.Digest(whole.Sum(nil)), nil
}

// EncodeStripe cuts data, at most Data×ShardBytes bytes, into a stripe's shards.
func EncodeStripe(data []byte, g record.Geometry) ([][]byte, error) {
	if len(data) > int(g.Data)*int(g.ShardBytes) {
		return nil, fmt.Errorf("%w: %d bytes in a stripe of %d", ErrSize, len(data), int(g.Data)*int(g.ShardBytes))
	}
	coder, err := newCoder(g)
	if err != nil {
		return nil, err
	}
	shards := newStripe(g)
	for i := range shards[:g.Data] {
		n := copy(shards[i], data)
		data = data[n:]
	}
	return shards, coder.Encode(shards)
}

// RebuildStripe restores the missing (nil or empty) data shards of a stripe in place.
func RebuildStripe(shards [][]byte, g record.Geometry) error {
	if len(shards) != int(g.Data)+int(g.Parity) {
		return fmt.Errorf("%w: %d shards in a stripe of %d+%d", record.ErrInvalid, len(shards), g.Data, g.Parity)
	}
	coder, err := newCoder(g)
	if err != nil {
		return err
	}
	return coder.ReconstructData(shards)
}

func newCoder(g record.Geometry) (reedsolomon.Encoder, error) {
	coder, err := reedsolomon.New(int(g.Data), int(g.Parity))
	if err != nil {
		return nil, fmt.Errorf("geometry of %d+%d shards: %w", g.Data, g.Parity, err)
	}
	return coder, nil
}

func newStripe(g record.Geometry) [][]byte {
	n := int(g.Data) + int(g.Parity)
	flat := make([]byte, n*int(g.ShardBytes))
	shards := make([][]byte, n)
	for i := range shards {
		shards[i] = flat[i*int(g.ShardBytes):][:g.ShardBytes:g.ShardBytes]
	}
	return shards
}

// fillStripe reads up to remaining bytes into the data shards, zero behind them.
func fillStripe(r io.Reader, data [][]byte, remaining int64) (read int64, err error) {
	for _, shard := range data {
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

// IndexOf builds the index of a body in memory.
func IndexOf(body []byte, g record.Geometry) (Index, error) {
	index, _, err := BuildIndex(bytes.NewReader(body), int64(len(body)), g)
	return index, err
}
