// Package rollout decides how a version goes live: staged, in waves, region by region, gated
// on health, and taken back when a gate fails. It does no I/O.
//
// Entry points: [ParsePlan] reads and checks a plan. [Start] returns the state of a new
// rollout. [Decide] is the controller, a pure function of the state, the view of the fleet
// and the time since the last step. [Apply] carries out a person's request. [Tracker] turns
// acknowledgements and censuses into the view. [Driver] and [Pace] are the loop around
// Decide.
//
//	plan, version ──Start──► State ──┐
//	acks, censuses ──Tracker──► View ┼─Decide─► next State + pointer moves ──► one transaction
//	gates that the caller asks ──────┘                                         of the store
//
// The caller must store the next state and the moves in one transaction, on condition that
// the stored state and the epochs of the pointers have not changed. A controller may
// die at any moment and no step is done twice: a step is committed or not.
//
// Time passes only on the caller's monotonic clock and while the controller runs. Neither a
// jump of the wall clock nor an outage of the controller makes a bake shorter.
//
// The coordinator and the simulator run this code.
package rollout
