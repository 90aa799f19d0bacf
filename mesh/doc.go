// Package mesh is Banyan's overlay as a pure state machine: one [Node] is one member of a
// region's tree, whether a coordinator, a relay or a leaf.
//
// Entry points: [NewNode], then [Node.Step] for each thing that happens, and
// [Node.Deadline] for the time of the next tick.
//
//	step.Input (message, link up or down, tick, body fetched, version applied)
//	   │
//	 Node.Step(now, input, outputs) ──► outputs: send, connect, drop, fetch, serve, activate, report
//	   │
//	 Node.Deadline() ──► when the node wants the next step.InTick
//
// The caller carries out the outputs, in order, and feeds back the results as inputs. The
// caller must call Step from one goroutine at a time, with a clock that does not run
// backwards. transport.Driver does so over QUIC, package simulator under a virtual clock;
// both drive the same code.
//
// The overlay has five rooms, each of which imports only rooms to its left:
//
//		wire ◄── step ◄── tree, swarm ◄── mesh
//
//	  - mesh/wire: the messages, their encoding and their limits.
//	  - mesh/step: inputs, outputs and time.
//	  - mesh/tree: who stands where: planner, quarantine, census, circles.
//	  - mesh/swarm: the exchange of bodies, shard by shard.
//	  - mesh: what a node does with pointers and links.
//
// In mesh, each type has a file with its name: pointers, unsettled, retries, ledger, upstream
// (with standby.go as its second half), silence, children, families, shadows, circles, reports,
// acks, survey, root, rollcalls, overlay, peers; the settler is in settle.go. Node connects them:
// node.go has the dispatch, and announce.go, head.go and links.go have handlers.
//
// Promises: no I/O, no clock, no goroutine, no lock. One seed and one sequence of inputs
// give one sequence of outputs. A pointer is relayed only after it was verified, and
// applied only if its epoch is newer than the epoch applied last. Every queue and table
// that a peer can fill has a limit (limits.go).
//
// Bytes: docs/protocol.md. Source of the shape: sans-IO state machines as in
// go.etcd.io/raft.
package mesh
