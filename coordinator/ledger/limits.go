package ledger

import "time"

const (
	// maxJournal is the maximum number of entries in the journal. The oldest entry goes first.
	maxJournal = 10_000
	// maxJournalText is the maximum size of each text of an entry, in bytes.
	maxJournalText = 2048
	// reissueBatch is the maximum number of pointers that are issued again in one transaction. Each needs
	// four conditions: on the pointer, on two versions, and on its activation log.
	reissueBatch = 30
	// recountEvery is the minimum time between two counts of all pointers.
	recountEvery = time.Minute
)
