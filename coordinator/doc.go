// Package coordinator is the root of a region's tree. It stores what publishers sign, signs
// and announces pointers, sends heads, counts acknowledgements, and serves the control API.
//
// Entry points: [Open] with a [Config], then [Coordinator.Run]. Package api is the client.
//
//	control API ──► requests ──► ledger: the write lock, activation keys, version store
//	rollouts ──────────────────►   │ watch
//	   ▲                           ▼
//	   └──── tracker ◄─ acks ─── mesh.Node (root) ─► tree
//
// The ledger is the only writer of pointers and documents. HTTP handlers and the rollout
// controller hold the ledger and the few things that they use, and not the [Coordinator].
//
// One coordinator leads: it owns the store and the activation keys of every region. The
// others follow. A follower is a child of the leader in the mesh and the root of its own
// region, and keeps a replica of that region's pointers and bodies. It holds no activation
// key, so an attacker who takes over a follower can't move a pointer. A follower that loses
// its leader goes on serving its replica. It redirects writes to the leader.
package coordinator
