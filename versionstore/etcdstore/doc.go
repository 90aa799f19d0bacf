// Package etcdstore keeps a version store in etcd: several coordinators share it, and a majority of
// etcd's members is enough to read and to write.
//
// Entry point: [Open]. A [Store] implements versionstore.Store, under one prefix of etcd's keys.
//
//	Commit ── conditions ─► one Txn: If(conditions) Then(writes) Else(what the conditions look at)
//	       ── refused? ─► the first condition that does not hold names the error
//	Lead   ── own key under a lease, and the term, in one Txn ─► every Commit has the term as a condition
//	Watch  ── list what is newer ─► emit ─► follow etcd's watch; after a gap, list again
//
// Revisions: etcd counts its transactions, and shares the number among all writes of one. The revision
// of a write is (term-1)·2^40 plus that number, so that a store that was restored from a snapshot in a
// new term gives out higher revisions than before, although etcd counts from a lower number.
//
// Promises: those of versionstore.Store; the suite in storetest checks them. A request that timed out
// after it was sent may have happened, and gives versionstore.ErrUnknown. Reads are linearizable.
//
// The layout of the keys, and what is known of sizes and compaction, is in docs/stores.md.
package etcdstore
