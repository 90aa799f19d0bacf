// Package bench measures real coordinators and agents, and runs the demos.
//
// Entry points: [Fanout] times updates of many agents, [Body] the spread of a large body,
// [Staged] and [Rollback] moves of a pointer, [Idle] the cost of a fleet at rest. [Calibrate]
// compares a real fleet with the simulator. [Demo] and [DemoRollout] run a small fleet
// through the life of a config. Package fleet starts the fleets.
//
// All agents of a fleet share the cores and the one disk of this machine, which real hosts do
// not. Results say so, and give the processor time per agent beside the latencies.
package bench
