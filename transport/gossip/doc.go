// Package gossip is a pool of processes that tell each other, over Serf, who is
// alive and what the newest revision of a region is: a second way for the news that
// there is news, for when the tree is broken.
//
// Entry points: [Open] joins or starts a pool; [Pool.Announce] spreads a revision.
//
//	coordinators and upper relays of a region ─── region pool
//	coordinators of all regions ───────────────── wide-area pool
//
// A pool is small, a few hundred members at the most (memberlist's own messages
// starve others beyond), and carries no payload: a revision of some bytes, never a
// pointer. What it says is a hint. It is encrypted with the fleet's gossip key, and
// not signed: whoever acts on it must verify what the mesh then brings.
//
// The caller owns the channel of goroutines behind it: Close ends them.
package gossip
