// Package simulator runs the production mesh code under a virtual clock: up to four million
// agents in one goroutine, one seed one history. It has no code of its own; its packages
// do the work:
//
//	world     the virtual fleet: clock, event queue, network, machines, disks, faults
//	measure   what updates on a fleet take: latency, traffic by role, capacity, sweeps
//	scenario  fleets, faults, rollouts and assertions on a timeline, from YAML files
//	compare   the same work done by a star, polling, gossip and a swarm
//	hostile   random faults against every invariant, and a referee
//	report    HTML pages
//
// Imports point one way:
//
//	report ──► scenario, compare ──► measure ──► world ──► mesh
//	                     hostile ──► measure
//
// scenario, compare and hostile do not import each other. The packages that measure a
// fleet share measure: without it, compare would import scenario only for its latencies.
//
// The tests of this package compare recorded histories with testdata/histories.txt:
// `make same`.
package simulator
