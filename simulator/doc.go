// Package simulator drives mesh under a virtual clock: thousands of nodes in one
// goroutine, one seed one history.
//
// Entry points: [New] makes a [World] with a root and its agents; [World.Run]
// advances it; [World.Publish] moves a pointer.
//
//	event queue ──(time, node, input)──► mesh.Node.Step ──outputs──► network model ──► event queue
//
// The nodes are the production ones. What the simulator models is the rest: the
// delay of a link, the time to verify, fetch and apply.
package simulator
