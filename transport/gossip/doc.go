// Package gossip is a pool of processes that exchange, over Serf, which members are alive and
// the newest revision of each region. If the tree is broken, a host learns of newer pointers
// over the pool.
//
// Entry points: [Open] starts a pool of one member, [Pool.Join] joins other members, and
// [Pool.Announce] spreads a revision.
//
//	coordinators and upper relays of a region ─── region pool
//	coordinators of all regions ───────────────── wide-area pool
//
// A pool has at most a few hundred members, because in larger pools memberlist's own messages
// starve all others. A pool carries revisions of a few bytes and never a pointer. A revision is a
// hint: gossip is encrypted with the fleet's gossip key and not signed, and a host must verify
// the pointers from the mesh.
//
// The caller must Close a pool, to end the goroutines of the pool.
package gossip
