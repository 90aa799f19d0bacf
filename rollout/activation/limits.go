package activation

const (
	// MaxEntries is the maximum number of entries in a log of each kind: of versions that ran
	// well, of bad versions, and of versions that were replaced during their rollout.
	MaxEntries = 16
	// MaxText is the maximum size of each text of an entry, in bytes.
	MaxText = 256
	// MaxLog is the maximum size of a stored log, in bytes.
	MaxLog = 256 << 10
)
