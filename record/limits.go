package record

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
	// MaxAnnouncement is the largest announcement (revision and signed pointer), in bytes.
	MaxAnnouncement = 560
	// MaxPointer is the largest signed pointer, in bytes: an announcement without its
	// revision and framing.
	MaxPointer = MaxAnnouncement - 16
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
