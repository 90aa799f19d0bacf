// Package fleet runs a whole fleet in one process: a coordinator for each region, and agents,
// each with a socket, a store and a directory of its own. `banyan dev`, the demos, the benchmarks
// and many tests run on such a fleet.
//
// Entry point: [Start] with a [Config], then the Client of the [Fleet]. [Fleet.Stop] ends
// the fleet. Package fleettest starts fleets for tests.
//
//	Client ─► coordinator of the first region (leads) ─► coordinators of other regions
//	               │                                          │
//	               ▼                                          ▼
//	      agents 0, 2, 4, …                          agents 1, 3, 5, …      (two regions)
//
// Every coordinator and agent is the production one. Coordinators and agents share the
// process, and talk only over sockets. With Config.Link the sockets are emulated: packets may be
// lost and delayed, and [Fleet.Kill] ends an agent like a power cut.
//
// The methods of a Fleet are for one goroutine. Only StopCoordinator may be called from another
// goroutine, such as one of the coordinator itself, but not during RestartCoordinator.
package fleet
