// Package versionstore stores what publishers and coordinators write: manifests, pointers,
// schemas, bodies, and documents whose content only the writer interprets.
//
// Entry points: [Store] is the contract, [Reader] its reading half, and [Replica] the
// contract of a store that follows another region. [OpenBadger] opens the embedded
// implementation of all three. [FileBlobs] stores bodies under their hash.
//
//	Commit ── compare: the term; version = newest + 1; epoch = current + 1; sequences
//	       └─► one transaction, new revisions, fsync ──► Watch
//
// Promises: an acknowledged write survives kill -9 and power loss, and a store that lacks one
// does not open: the number of the newest write is kept in a file apart. A manifest never
// changes; the version of a config and the epoch of a pointer grow by exactly one;
// revisions order all writes of a store. The suite in storetest checks every
// implementation against these promises.
//
// A store neither verifies nor makes signatures. The caller does both.
package versionstore
