// Package coordinator is the root of a region's tree. It stores signed versions, signs and
// announces pointers, sends heads, counts acknowledgements, and serves the control API.
//
// Entry points: [Open] with a [Config], then [Coordinator.Run]. Package api is the client.
//
//	control API ──► requests ──► ledger: the write lock, activation keys, version store
//	rollouts ──────────────────►   │ watch
//	   ▲                           ▼
//	   └──── tracker ◄─ acks ─── mesh.Node (root) ─► tree
//
// The ledger makes every write that a leader decides. A follower's replica imports what the
// leader wrote, and the coordinator reserves agent indices itself; neither uses the ledger.
// HTTP handlers and the rollout controller hold the ledger and a few other parts, and not
// the [Coordinator].
//
// One coordinator leads: the leader owns the store and the activation keys of every region.
// The other coordinators follow. A follower is a child of the leader in the mesh and the
// root of its own region, and keeps a replica of the region's pointers and bodies. A
// follower has no activation key: an attacker with control of a follower can't move a
// pointer. Without its leader a follower goes on serving the replica. Writes are redirected
// to the leader.
package coordinator
