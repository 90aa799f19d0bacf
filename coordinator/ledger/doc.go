// Package ledger is the only writer of a coordinator's version store.
//
// Entry points: [New], then [Ledger.Update] to move pointers and write documents, and the
// methods of [versionstore.Reader] to read.
//
//	Update: take the write lock ─► read ─► decide ─► Writer.Commit: sign, store, count, log
//
// Promises: updates run one after another, and the values that an update reads stay true
// until the commit. A commit stores all pointers and documents or nothing. Only the ledger
// signs with activation keys.
//
// The write lock orders the writers of one process. Against writers of other processes
// the store compares epochs and sequences, and Commit returns a
// *versionstore.ConflictError.
package ledger
