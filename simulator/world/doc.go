// Package world is a virtual fleet: mesh nodes on modelled machines and a modelled
// network, under a virtual clock.
//
// Entry points: [New] makes a fleet, [World.Boot] and [World.Settle] let it join,
// [World.Move] moves the pointers of a config, [World.Strike] schedules a fault,
// [World.Run] advances time, and [World.Watch] reports what happens.
//
//	event queue ──(time, host, input)──► mesh.Node.Step ──outputs──► network, machines, disks ──► event queue
//
// The nodes are the production ones. The rest is modelled, with the numbers in config.go and size.go:
// the round trips between regions and zones, jitter, loss and its recovery, the rates of
// links, the processor time of messages and signatures, the durable apply, crashes,
// restarts and partitions.
//
// Promises: no goroutine, no real clock, and no decision that depends on map order. A run
// is a function of its [Config] and of the calls on [World], on any machine.
package world
