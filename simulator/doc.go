// Package simulator drives mesh under a virtual clock: up to a million nodes in
// one goroutine, one seed one history.
//
// Entry points: [NewWorld] makes a fleet, [World.Boot] and [World.Settle] let it
// join, [World.Publish] moves a pointer, [World.Run] advances time.
//
//	event queue ──(time, host, input)──► mesh.Node.Step ──outputs──► network, processor and disk model ──► event queue
//
// The nodes are the production ones. What is modelled is the rest (model.go says
// with which numbers): the round trips between regions and zones, jitter, loss and
// its recovery, the rates of links, the processor time of messages and signatures,
// the durable apply, crashes, restarts and partitions.
//
// Promises: no goroutine, no real clock, no decision that depends on map order; a
// run is a function of its Config alone, on any machine.
package simulator
