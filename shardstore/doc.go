// Package shardstore keeps the forms of bodies that are on their way to this host on disk,
// shard by shard. It serves shards of these forms and of complete forms that their owner
// keeps elsewhere.
//
//	index ──Begin──► directory with the manifest, the index and a file with holes ◄──Put── shards
//	                                  │                └──Get──► shards, for other hosts
//	                               Finish: checked and durable; the owner moves the file
//
// Entry point: [Open].
//
// Promises: a shard that was put survives kill -9, and [Store.Begin] finds it again. At most
// MaxOpen files are open. A damaged shard is neither stored nor served.
package shardstore
