// Package rollout decides how a version goes live: staged, in waves, region by region,
// gated on health, and taken back when a gate fails.
//
// Entry points: [ParsePlan] reads and checks a plan; [Start] makes the state of a new
// rollout; [Decide] is the controller, a pure function of that state, of what is seen of
// the fleet and of the time that passed; [Apply] carries out what a person asks for.
// [Tracker] gathers acknowledgements and censuses into what is seen.
//
//	plan, version ──Start──► State ──┐
//	acks, censuses ──Tracker──► View ┼─Decide─► next State + pointer moves ──► one transaction
//	gates asked by the driver ───────┘                                          of the store
//
// The caller stores the next state and the moves in one transaction, conditional on the
// state and on the pointers' epochs, or neither. So a controller may die at any moment,
// and no step is done twice: what was not committed was not done, what was is seen.
//
// Time is what passes on the caller's monotonic clock while it runs: neither a jump of the
// wall clock nor an outage of the controller makes a bake shorter.
//
// The coordinator and the simulator run the same code.
package rollout
