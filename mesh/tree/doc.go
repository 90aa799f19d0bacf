// Package tree decides where the agents of a region stand: which parent and which
// backups each agent gets, which agents are kept out of relay duty, how many agents a
// wave concerns, and which agents exchange shards with each other.
//
// Entry points: [Planner] gives agents their places; [Quarantine] lists agents that keep
// failing; [TakeCensus] counts agents; [Arrange] forms circles; [Rendezvous] shares
// agents out between the coordinators of a region; [Admission] limits the rate of joins.
//
//	Join, Adopt, Leave, Reconcile, Accuse ──► Planner ──► Placement, clones, displaced indices
//	Ack, time ─────────────────────► Quarantine ──► Changes
//	Planner + Quarantine + candidates ──► Census
//	children, grandchildren ────────► Arrange ──► Circles
//
// Everything here is a pure data structure: the caller passes the time, nothing does I/O,
// and no decision depends on the order of a map. A value is not safe for concurrent use.
package tree
