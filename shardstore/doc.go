// Package shardstore keeps, on disk and shard by shard, the forms of bodies on their way to
// this host. It serves shards of forms on their way, and of complete forms that the owner
// keeps elsewhere.
//
//	index ──Begin──► directory with the manifest, the index and a file with holes ◄──Put── shards
//	                                  │                └──Get──► shards, for other hosts
//	                               Finish: checked and durable; the owner moves the file
//
// Entry point: [Open].
//
// Promises: a stored shard survives kill -9, and [Store.Begin] finds the shard again. At most
// MaxOpen files are open. A damaged shard is neither stored nor served.
package shardstore
