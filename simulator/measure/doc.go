// Package measure follows updates on a virtual fleet and reports what they took.
//
// Entry points: [Fleet] measures a new version and its rollback; [Sweep] does so for many
// fleets. [Begin] lets a fleet join and returns a [Run], on which [Run.Update] and
// [Run.Spread] move a config and wait until every host has it.
//
//	world ──committed, verified, applied──► Meter ──► Latency, coverage, history hash ──► Report, Capacity
//
// Promises: one configuration gives one [Report], byte for byte, except for the fields
// that the caller fills in (wall time, memory). [Report.History] is a hash of every effect
// in order.
package measure
