// Package scenario runs stories on a virtual fleet: traffic, faults and rollouts on a
// timeline, and assertions about what must come of them.
//
// Entry points: [Load] reads a scenario of the library or a YAML file, [Scenario.Run] runs
// it and returns a [Report]. [CompareRollouts] runs rollout plans on one fleet.
//
//	YAML ──schema, checks──► Scenario ──► measure.Run + faults + rollouts ──► Report ──► Assertions
//
// Promises: a scenario that Load accepts runs to its end; one seed gives one report, byte
// for byte.
package scenario
