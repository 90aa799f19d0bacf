package agent

import (
	"time"

	"banyan/internal/quantity"
	"banyan/mesh"
	"banyan/record"
)

// Defaults of Config.
const (
	// DefaultDriftInterval is the default time between two looks at each file.
	DefaultDriftInterval = time.Minute
	// defaultKeep is the default number of versions of each config that stay on disk.
	defaultKeep = 3
	// defaultReserve is the default number of bytes that must stay free on disk.
	defaultReserve = 32 << 20
)

// Limits of the stores.
const (
	// MinCacheLimit is the smallest value of Config.CacheLimit in bytes. Small bodies and
	// indices of other configs need that much on their way through this host.
	MinCacheLimit = 16 << 20
	// partialAge is the age at which the shards of an incomplete body are deleted, if no
	// further shard has come.
	partialAge = 24 * time.Hour
	// maxProven is the number of versions of a config that the host remembers as the baseline of
	// a pointer.
	maxProven = 32
	// maxCommit is the maximum number of rows in one commit. A transaction of the database holds 15% of
	// memTable, that is 157 KB. The largest row has 2.6 KB: a pointer of record.MaxBatchedPointer bytes, and
	// maxProven versions.
	maxCommit = 50
	// keepEvery is the time between two writes of the pointers of configs without a subscription.
	keepEvery = 10 * time.Second
	// memTable is the size of the database's memory table in bytes. A small table is
	// enough: the database has only one row for each config.
	memTable = 1 << 20
)

// Limits of files in the output directory.
const (
	// maxMetaFile is the maximum size of meta.json, in bytes. A signed manifest has at most
	// record.MaxManifest bytes, and the description repeats its fields.
	maxMetaFile = 16 << 10
	// maxIndexFile is the maximum size of a shard index, in bytes.
	maxIndexFile = record.MaxIndex * int64(len(record.Digest{}))
	// maxVerified is the maximum number of files whose stamps are remembered. Files beyond
	// are read again before they are shown.
	maxVerified = 4 * mesh.MaxConfigs
	// clockTick is the longest tick of the clock from which a file system takes the times of a
	// file. Linux ticks at least 100 times a second.
	clockTick = 20 * time.Millisecond
)

// Limits of hooks.
const (
	// maxHooksFile is the maximum size of a hooks file, in bytes.
	maxHooksFile = 1 << 20
	// maxRules is the maximum number of rules in a hooks file.
	maxRules = 1000
	// hookTimeout is the default time after which a command is killed.
	hookTimeout = quantity.Duration(30 * time.Second)
	// maxHookTimeout is the maximum timeout that a rule may set.
	maxHookTimeout = quantity.Duration(time.Hour)
	// hooksAtOnce is the maximum number of configs whose hooks run at the same time.
	hooksAtOnce = 8
)
