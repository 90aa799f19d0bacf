package ledger

const (
	// maxJournal is the maximum number of entries in the journal. The oldest entry goes first.
	maxJournal = 10_000
	// maxJournalText is the maximum size of each text of an entry, in bytes.
	maxJournalText = 2048
)
