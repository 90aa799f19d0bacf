// Package mesh is Banyan's overlay as pure state machines: who is whose parent,
// what is relayed to whom, which body is fetched where, what is acknowledged.
//
// Entry points: a [Node] is one member of a region's tree, be it the root (a
// coordinator), a follower's root, a relay or a leaf; a [Planner] inside a root
// gives agents their places; [AppendMessage] and [DecodeMessage] are the bytes
// of a [Message].
//
//	Input (message, link up or down, tick, body fetched, version applied)
//	   │
//	 Node.Step(now, input, outputs) ──► outputs: send, connect, drop, fetch, serve, activate, report
//	   │
//	 Node.Deadline() ──► when it wants the next tick
//
// The caller carries the outputs out, in order, and feeds back what came of
// them. It must call Step from one goroutine at a time, with a clock that does
// not run backwards. transport.Driver does so over QUIC, package simulator under
// a virtual clock; they drive the same code.
//
// Promises: no I/O, no clock, no goroutine, no lock; one seed and one sequence of
// inputs give one sequence of outputs. A pointer is relayed only after it was
// verified, and applied only if its epoch is newer than the last. Every queue
// and table has a limit (limits.go).
//
// Bytes: docs/protocol.md. Source of the shape: sans-IO state machines as in
// go.etcd.io/raft.
package mesh
