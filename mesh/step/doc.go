// Package step defines what goes into one step of a node of the mesh, and what comes out.
//
// An [Input] is one thing that happened to a node: a message came, a link broke, a body
// was stored. An [Output] is one thing that the node wants done: send a message, dial an
// address, fetch a body. Both are plain values; this package decides nothing.
//
//	driver ── Input ──► mesh.Node.Step ── Outputs ──► driver
//
// The parts of a node, such as swarm.Swarm, append to the same list of outputs as the
// node itself, so that the order of outputs is the order of decisions.
package step
