package record

// Limits on what a record may hold. They bound every decoder of this package.
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
	// MaxWaveLabels bounds the labels of a wave: the sum of their bytes.
	MaxWaveLabels = 96
	// MaxWaveSets is the most sets of labels in a wave.
	MaxWaveSets = 4
	// MaxManifest is the largest signed manifest, in bytes.
	MaxManifest = 2048
	// MaxAnnouncement is the largest announcement (revision and signed pointer), in bytes.
	MaxAnnouncement = 512
	// MaxPointer is the largest signed pointer: an announcement less its revision and framing.
	MaxPointer = MaxAnnouncement - 16
	// MaxHead is the largest signed head, in bytes.
	MaxHead = 256
	// MaxPolicy is the largest signed trust policy, in bytes.
	MaxPolicy = 1 << 20
	// MaxBody is the largest body a manifest may describe, in bytes.
	MaxBody = 1 << 30
	// MaxShards is the most shards, data and parity together, a stripe may have.
	MaxShards = 255
	// MaxShardBytes is the largest shard, in bytes.
	MaxShardBytes = 256 << 10
	// MaxIndex is the most shards a body may be cut into.
	MaxIndex = 1 << 16
	// MaxForms is the most forms a version may have.
	MaxForms = 2
	// MaxDelta is the largest body, base or result, of a delta: both are held in memory.
	MaxDelta = 16 << 20
)
