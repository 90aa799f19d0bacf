// Package ledger makes every write that a leader decides: it signs pointers and commits
// them with documents. It also numbers and signs heads. (A follower's replica imports what the
// leader wrote; the coordinator reserves agent indices itself.)
//
// Entry points: [New], then [Ledger.Update] to move pointers and write documents, and the
// methods of [versionstore.Reader] to read. [Ledger.Wait], [Ledger.Stop] and [Ledger.BeginTerm]
// decide whether the ledger writes at all.
//
//	Update: take the write lock ─► read ─► decide ─► Writer.Commit: sign, store, count, log
//
// A commit that moves a pointer also writes the activation log of the pointer's config and
// region (package activation), and a commit with a description adds an entry to the journal,
// in the same transaction.
//
// Promises: updates run one after another. Pointers and documents that an update reads do
// not change until the commit; a version may be added, and a schema may change. A commit
// stores all pointers and documents or nothing. Only the ledger signs with activation keys.
//
// The write lock orders the writers of one process. Against writers of other processes
// the store compares epochs and sequences, and Commit returns a
// *versionstore.ConflictError.
package ledger
