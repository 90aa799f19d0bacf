package storetest

import (
	"context"

	"banyan/versionstore"
)

// Observed is a store that calls OnCommit before and after each transaction. A test stops a
// process there, or counts.
type Observed struct {
	versionstore.Replica
	// OnCommit gets the transaction; committed is false before and true after the commit.
	OnCommit func(t versionstore.Transaction, committed bool)
}

// Commit implements versionstore.Store.
func (o Observed) Commit(ctx context.Context, t versionstore.Transaction) (uint64, error) {
	o.OnCommit(t, false)
	revision, err := o.Replica.Commit(ctx, t)
	if err == nil {
		o.OnCommit(t, true)
	}
	return revision, err
}
