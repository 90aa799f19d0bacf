// Package coordinator is the root of a region's tree: it stores what publishers
// sign, signs and announces pointers, sends heads, gathers acknowledgements, and
// serves the control API.
//
// Entry points: [Open] with a [Config], then [Coordinator.Run]. Package api is
// what talks to it.
//
//	control API ─► verify, validate ─► version store + blobs ─► watch ─► mesh.Node (root) ─► tree
//	tree ─► merged acknowledgements ─► status
//
// One coordinator leads: it owns the store and the activation keys of every
// region. The others follow: each is a child of the leader in the mesh and the
// root of its own region, keeps a replica of that region's pointers and bodies,
// and holds no activation key, so that taking one over moves no pointer. A
// follower that is cut off goes on serving what it has; writes go to the leader.
package coordinator
