// Package swarm exchanges the bodies of versions between the nodes of a region: a state
// machine of its own inside a mesh.Node.
//
// Entry points: [New] makes a [Swarm] for a node. The node calls [Swarm.Fetch] when a
// pointer names a version that is not at hand, hands inputs to the On… methods, and
// learns the outcome through its [Overlay]: BodyReady or BodyFailed.
//
//	Fetch ──► ask the parent ──► the whole body arrives ─────────────► BodyReady
//	                         └─► an index arrives: an exchange begins
//	                               assign: which source for which shard ──► Want ──► sources
//	                               shards arrive, from many sources at once
//	                               a form is complete ──► assembled ────► BodyReady
//	Want from a peer ──► upload: shards leave, a few at a time
//
// # Circles
//
// Agents that exchange the shards of a body form a circle. A circle of T members shares
// out the shards: each member has the duty to fetch one T-th of them from the feeders,
// which are the members of another circle, and to send them to the other members of its
// own circle, and to the members with the same duty in each circle that its own circle
// feeds. So every circle is fed through all of its members at once, every agent sends
// about as much as it receives, and a body flows through the circles as a stream: the
// time to the last host is that of one download, plus some shards per circle.
//
//	coordinator ──shard──► the member with the duty ──► the other T-1 members of the circle
//	                          └──► the members with that duty in each circle fed ──► …
//
// A source that is silent while others deliver is suspected, and its shards are assigned
// to the next candidate. The members with the same duty in the circle do the same, so the
// shards of a dead member arrive from its feeders through all other members. When the
// whole circle and its feeders are suspected, the last resort is the parent, then the
// backup, then the coordinator.
//
// Sources: SplitStream (Castro et al., SOSP 2003), in which a node is interior in one
// tree of many; Turbine's layers of neighborhoods (Solana).
//
// # Shards for others
//
// A node that does not subscribe to a config fetches exactly the shards that other nodes
// ask for, and keeps them in a cache of limited size (cache.go).
//
// # Promises
//
// No I/O, no clock, no goroutine: the caller passes the time, carries out the outputs, and
// calls from one goroutine at a time. Every table that a peer can fill
// has a limit (limits.go). No decision
// depends on the order of a map.
package swarm
