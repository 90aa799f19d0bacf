package storetest

import (
	"context"

	"banyan/versionstore"
)

// Observed is a store that calls OnCommit before and after each transaction. A test stops a
// process there, or counts.
type Observed struct {
	versionstore.Replica
	// OnCommit gets the transaction; committed is false before and true after the commit. An error
	// before the commit is the outcome of the commit, and nothing is stored.
	OnCommit func(t versionstore.Transaction, committed bool) error
}

// Commit implements versionstore.Store.
func (o Observed) Commit(ctx context.Context, t versionstore.Transaction) (uint64, error) {
	if err := o.OnCommit(t, false); err != nil {
		return 0, err
	}
	revision, err := o.Replica.Commit(ctx, t)
	if err != nil {
		return 0, err
	}
	return revision, o.OnCommit(t, true)
}
