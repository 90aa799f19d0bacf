// Package hostile makes histories that try to break an invariant, and judges them.
//
// Entry points: [New] makes the history of a seed, [NewLong] one of days, [History.Run] runs it,
// [History.Shrink] leaves out every fault and update that a failure does not need.
//
//	seed ──► faults and updates at random moments ──► quiet ──► referee ──► Outcome
//
// A referee holds every effect against the invariants of docs/architecture.md as the
// effect happens, and the whole fleet at the end of the quiet phase. Every two seconds it compares
// what the status of each leader says with what the hosts run.
//
// Promise: a history is a function of its seed and of what is left out.
package hostile
