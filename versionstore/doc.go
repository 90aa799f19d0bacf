// Package versionstore keeps what publishers and activators sign: manifests,
// pointers, schemas, bodies, and documents that others make sense of.
//
// Entry points: [Store] is the contract, [OpenBadger] the embedded
// implementation; [FileBlobs] keeps bodies under their hash.
//
//	PutManifest ──CAS: version = last+1──┐
//	MovePointer ──CAS: epoch = current+1─┼─► one transaction, one new revision, fsync ──► Watch
//	Commit ── all of it, or nothing ─────┤
//	PutSchema ───────────────────────────┘
//
// Promises: what a write acknowledged survives kill -9 and power loss; manifests
// never change; a pointer's epoch and a config's version grow by exactly one;
// revisions order all writes of a store. The suite in storetest checks these
// against every implementation.
//
// A store does not verify signatures and does not sign: its callers do both.
// [Replica] is the view that a region following another keeps of it.
package versionstore
