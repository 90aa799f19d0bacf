// Package bench puts load on real coordinators and agents and measures them.
//
// Entry points: [Fanout] times announcements to many agents; [Demo] tells the
// story of a config's life on a small fleet. Package fleet starts the fleets.
//
// All agents of a fleet here share one machine's cores and one disk; hosts do
// not. Results say so, and give CPU per agent beside the time to all.
package bench
