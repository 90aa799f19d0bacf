package fec

import (
	"math/bits"

	"banyan/record"
)

// Geometry by size of the form.
const (
	// singleShardLimit is the size in bytes up to which a form is a single shard without
	// parity. Such a form fits a few packets; sending it again is cheaper than parity.
	singleShardLimit = 16 << 10
	// A stripe of 10 data and 4 parity shards may lose 4 of 14 sources.
	dataShards   = 10
	parityShards = 4
	// A form is cut into about shardsOfBody data shards of at least minShardBytes and at most
	// maxShardBytes bytes. Shards are small enough that some hundreds of them are on their
	// way through the overlay at once. They are large enough that the fixed cost of a shard,
	// about 0.1 ms at each end, is small compared with the cost of its bytes.
	shardsOfBody  = 1024
	minShardBytes = 32 << 10
	maxShardBytes = 128 << 10
)

// GeometryFor returns the geometry for a form of size bytes.
//
// For example, 10 KiB are one shard, 1 MiB is cut into shards of 32 KiB, 64 MiB into shards of
// 64 KiB, and everything from 128 MiB on into shards of 128 KiB.
func GeometryFor(size int64) record.Geometry {
	if size <= singleShardLimit {
		return record.Geometry{Data: 1, ShardBytes: uint32(max(size, 1))}
	}
	shard := min(max(powerOfTwo(size/shardsOfBody), minShardBytes), maxShardBytes)
	shard = min(shard, (size+dataShards-1)/dataShards)
	return record.Geometry{Data: dataShards, Parity: parityShards, ShardBytes: uint32(shard)}
}

// powerOfTwo returns the largest power of two that is at most n; 0 if n is 0.
func powerOfTwo(n int64) int64 {
	if n <= 0 {
		return 0
	}
	return 1 << (bits.Len64(uint64(n)) - 1)
}
