package rollout

import (
	"time"

	"banyan/record"
)

// View is the fleet as a controller sees it when deciding a step.
type View struct {
	// Now is the wall-clock time of the step, for the history. No decision depends on Now.
	Now time.Time
	// Regions are the regions of the rollout.
	Regions map[string]Region
	// Places returns the places of the agents of a region that count, in ascending order (see
	// record.WavePlace); none if the names of the agents are not known. It is called when a wave
	// begins. Nil means that no names are known.
	Places func(region string) []uint32
	// Uptime is the time since the controller started. A controller that has just started
	// has not counted all agents.
	Uptime time.Duration
	// Frozen is the reason for which the rollout must not go forward; empty means that the
	// rollout may.
	Frozen string
	// Answers are the newest answers of queries and webhooks, by gate, since the wave began
	// to bake.
	Answers map[string]Answer
}

// Region is what a controller sees of a config in one region. All counts except Placed
// leave out the agents in quarantine for an epoch of the config before the rollout's first.
type Region struct {
	// Epoch is the pointer's epoch in the store, Term its term, and Content its content.
	Epoch   uint64
	Term    uint64
	Content record.Digest
	// Known is true if every coordinator of the region counted agents for Epoch.
	Known bool
	// Placed is the number of subscribers in the tree, with those in quarantine.
	Placed int
	// Agents is the number of subscribers in the tree.
	Agents int
	// InWave is the number of agents that must run the candidate.
	InWave int
	// Applied is the number of agents that applied or staged the epoch.
	Applied int
	// Running is the number of agents that run the candidate.
	Running int
	// Failed is the number of agents that failed the epoch and have not recovered.
	Failed int
	// Skew is the time between the first and the last apply.
	Skew time.Duration
	// Reasons are the reasons of some failures.
	Reasons []string
	// Hosts is the number of subscribers in the inventory; 0 if there is no inventory.
	Hosts int
	// Unheard is the number of hosts in the inventory that are not in the tree.
	Unheard int
	// Absent names some of the hosts that are not in the tree, and Waiting some of the others that
	// have not applied the epoch, or the coordinator if nothing is heard of the region. No decision
	// depends on them.
	Absent  []string
	Waiting []string
}

// Stored returns the view of a region with the pointer p, in which no agent was counted.
func Stored(p record.Pointer) Region {
	return Region{Epoch: p.Epoch, Term: p.Term, Content: p.Content()}
}

// Verdict is the judgment of a gate.
type Verdict uint8

const (
	// Unknown means that the gate could not be asked, or did not decide.
	Unknown Verdict = iota
	Pass
	Fail
)

// Answer is the newest answer of a gate.
type Answer struct {
	Verdict Verdict
	Detail  string
}

// Move is a pointer to write, on condition that the stored epoch is the one before.
type Move = record.Pointer
