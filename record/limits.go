package record

import "crypto/sha256"

// Limits of records. They bound every decoder of this package.
const (
	// MaxConfigName is the longest config name, in bytes.
	MaxConfigName = 128
	// MaxSegment is the longest part of a config name between slashes, in bytes.
	MaxSegment = 64
	// MaxRegionName is the longest region name, in bytes.
	MaxRegionName = 32
	// MaxMessage is the longest message a publisher may attach to a version, in bytes.
	MaxMessage = 1024
	// MaxContentType is the longest content type, in bytes.
	MaxContentType = 100
	// MaxWaveLabels is the largest sum of the bytes of all labels of a wave.
	MaxWaveLabels = 96
	// MaxWaveSets is the largest number of sets of labels in a wave.
	MaxWaveSets = 4
	// MaxKeyFile is the largest file with a key, in bytes.
	MaxKeyFile = 64 << 10
	// MaxManifest is the largest signed manifest, in bytes.
	MaxManifest = 2048
	// MaxPointer is the largest pointer with a signature of its own, in bytes.
	MaxPointer = 544
	// MaxPointerPayload is the largest payload of a pointer, in bytes.
	MaxPointerPayload = 416
	// maxPath is the largest number of hashes between a pointer and the root of its batch.
	maxPath = 8
	// MaxBatch is the largest number of pointers under one signature.
	MaxBatch = 1 << maxPath
	// MaxRoot is the largest signed root of a batch, in bytes.
	MaxRoot = 192
	// maxRoots is the number of signed roots that a policy remembers.
	maxRoots = 64
	// batchedHeads is the most that the heads of the fields and the index of a batchedPointer take, in bytes.
	batchedHeads = 16
	// MaxBatchedPointer is the largest pointer with the proof that it is of a batch, in bytes.
	MaxBatchedPointer = MaxPointerPayload + MaxRoot + maxPath*sha256.Size + batchedHeads
	// MaxAnnouncement is the largest announcement (revision and signed pointer), in bytes. All but the
	// pointer takes at most 16 bytes.
	MaxAnnouncement = MaxBatchedPointer + 16
	// MaxHead is the largest signed head, in bytes.
	MaxHead = 256
	// MaxPolicy is the largest signed trust policy, in bytes.
	MaxPolicy = 1 << 20
	// MaxBody is the largest body a manifest may describe, in bytes.
	MaxBody = 1 << 30
	// MaxShards is the largest number of shards of a stripe, data and parity together.
	MaxShards = 255
	// MaxShardBytes is the largest shard, in bytes.
	MaxShardBytes = 256 << 10
	// MaxIndex is the largest number of shards of a form.
	MaxIndex = 1 << 16
	// MaxForms is the largest number of forms of a version.
	MaxForms = 2
	// MaxDelta is the largest body of a delta, base or result, in bytes. Both are in memory
	// while a delta is made or decoded.
	MaxDelta = 16 << 20
)
