package etcdstore

import "time"

const (
	// defaultTimeout is the default of Config.Timeout.
	defaultTimeout = 5 * time.Second
	// defaultLeadTTL is the default of Config.LeadTTL.
	defaultLeadTTL = 5 * time.Second
	// keepAlive is the time of silence after which a connection to a member is probed, and the time for the
	// answer.
	keepAlive = 3 * time.Second
	// maxAttempts is the number of times that a transaction is tried if others change what it reads.
	maxAttempts = 16
	// listPage is the number of keys that are read at a time.
	listPage = 500
	// getBatch is the number of rows that are read in one request.
	getBatch = 100
	// watchPause is the pause before a watch that failed is begun again.
	watchPause = 200 * time.Millisecond
	// termRevisions is the number of revisions of a term.
	termRevisions = 1 << 40
)
