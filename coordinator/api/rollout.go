package api

import (
	"strings"
	"time"

	"banyan/rollout"
)

// StartRollout is the request that brings a version live.
type StartRollout struct {
	Version uint64 `json:"version"`
	// Regions are the regions to reach; empty means the regions of the plan, or all.
	Regions []string `json:"regions,omitempty"`
	// Plan is the text of a plan, YAML or JSON.
	Plan string `json:"plan,omitempty"`
	// PlanName is the name of a stored plan.
	PlanName string `json:"plan_name,omitempty"`
	// Immediate skips staging, waves and gates.
	Immediate bool   `json:"immediate,omitempty"`
	Message   string `json:"message,omitempty"`
}

// RolloutRequest is a person's request of a rollout in progress.
type RolloutRequest struct {
	Message string `json:"message,omitempty"`
	// Full makes a promotion skip the gates of all further waves, too.
	Full bool `json:"full,omitempty"`
	// IfRollout is the number that the newest rollout must have; 0 means any.
	IfRollout uint64 `json:"if_rollout,omitempty"`
}

// Rollout is a rollout and its progress.
type Rollout struct {
	// ID numbers the rollouts of a config, from 1.
	ID      uint64       `json:"id"`
	Config  string       `json:"config"`
	Version uint64       `json:"version"`
	Plan    rollout.Plan `json:"plan"`
	// By is the person who started the rollout.
	By      string `json:"by"`
	Message string `json:"message,omitempty"`

	Status rollout.Status `json:"status"`
	// Why is the reason for the status.
	Why string `json:"why,omitempty"`
	// End is the status that follows "returning".
	End rollout.Status `json:"end,omitempty"`

	// Group is the index in Plan.Regions of the regions in progress.
	Group int `json:"group"`
	// Wave is the index in Plan.Waves of the wave in progress.
	Wave int `json:"wave"`
	// Part is the part of the wave in progress; empty if the rollout has not begun.
	Part rollout.Part `json:"part"`
	// Spent is the time spent in this part, in nanoseconds.
	Spent time.Duration `json:"spent_ns"`
	// Short is the time for which too few hosts of those that must run the version have run it,
	// in nanoseconds.
	Short time.Duration `json:"short_ns,omitempty"`
	// Overdue is the time for which gates have given no answer, by gate.
	Overdue map[string]time.Duration `json:"overdue_ns,omitempty"`
	// Skipped is true if a person promoted the rollout past the gates of this part.
	Skipped bool `json:"skipped,omitempty"`
	// Full is true if a person promoted the rollout past all further gates.
	Full bool `json:"full,omitempty"`

	Regions map[string]*RolloutRegion `json:"regions"`
	// Approver is the second person, if a second person had to approve.
	Approver string `json:"approver,omitempty"`

	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	// Decided is the time of the decision to take the version back.
	Decided time.Time `json:"decided,omitzero"`
	// Recovered is the time at which every host in the tree was back.
	Recovered time.Time `json:"recovered,omitzero"`
	// Exposed is the maximum number of agents that ran the version at once.
	Exposed int            `json:"exposed"`
	Log     []RolloutEntry `json:"log"`

	// Waits says for whom the rollout waits, and for how long it will; empty if it does not wait
	// for hosts.
	Waits string `json:"waits,omitempty"`
	// Title is the progress in a few words.
	Title string `json:"title"`
	// Seen is the present state of the agents, by region; empty after the end.
	Seen map[string]RolloutView `json:"seen,omitempty"`
}

// RolloutRegion is a region's part of a rollout.
type RolloutRegion struct {
	// Baseline is the version before the rollout; 0 means that the region ran no version.
	Baseline uint64 `json:"baseline"`
	// Began is the first epoch of the rollout; 0 means that the region is untouched.
	Began uint64 `json:"began"`
	// Epoch is the newest epoch that the rollout wrote.
	Epoch uint64 `json:"epoch"`
	// Left is true if the rollout no longer moves the pointer of the region.
	Left bool `json:"left,omitempty"`
	// Bound is the end of the places that the share of the wave covers, of 1,000,000,000 places.
	Bound uint32 `json:"bound,omitempty"`
	// Filled is true if the wave was counted and had its share of the agents.
	Filled bool `json:"filled,omitempty"`
	// Waived is true if a person promoted the rollout past the gates of the region's last wave.
	Waived bool `json:"waived,omitempty"`
	// Agents is the number of agents that the rollout expects in the region.
	Agents int `json:"agents"`
	// InWave is the number of agents that the rollout expects in the wave.
	InWave int `json:"in_wave"`
	// Counted is the epoch for which InWave was counted.
	Counted uint64 `json:"counted,omitempty"`
}

// RolloutEntry is a line in the history of a rollout.
type RolloutEntry struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// RolloutView is the present state of a region's agents, for the pointer of a rollout.
type RolloutView struct {
	// Epoch is the pointer's epoch in the store.
	Epoch uint64 `json:"Epoch"`
	// Known is true if every coordinator of the region counted agents for Epoch.
	Known bool `json:"Known"`
	// Placed is the number of subscribers in the tree.
	Placed int `json:"Placed"`
	// Agents is the number of subscribers in the tree and not in quarantine.
	Agents int `json:"Agents"`
	// InWave is the number of agents that must run the candidate.
	InWave int `json:"InWave"`
	// Applied is the number of agents that applied or staged the epoch.
	Applied int `json:"Applied"`
	// Running is the number of agents that run the candidate.
	Running int `json:"Running"`
	// Failed is the number of agents that failed and have not recovered.
	Failed int `json:"Failed"`
	// Skew is the time between the first and the last apply.
	Skew time.Duration `json:"Skew"`
	// Reasons are the reasons of some failures.
	Reasons []string `json:"Reasons"`
	// Hosts is the number of subscribers in the inventory.
	Hosts int `json:"Hosts"`
	// Unheard is the number of hosts in the inventory that are not in the tree.
	Unheard int `json:"Unheard"`
	// Absent names some of the hosts that are not in the tree.
	Absent []string `json:"Absent"`
	// Waiting names some of the hosts in the tree that have not applied the epoch, and says why.
	Waiting []string `json:"Waiting"`
}

// Plan is a stored plan.
type Plan struct {
	Name string    `json:"name"`
	Text string    `json:"text"`
	By   string    `json:"by"`
	At   time.Time `json:"at"`
}

// Plans are the stored plans, and the default plans by prefix of configs.
type Plans struct {
	Plans    []Plan            `json:"plans"`
	Defaults map[string]string `json:"defaults"`
}

// LintedPlan is the answer to the check of a plan.
type LintedPlan struct {
	Waves []WaveCount `json:"waves"`
}

// WaveCount is the number of hosts that a wave of a plan has now.
type WaveCount struct {
	// Wave describes the wave, with the waves before it: "1% or canary=true".
	Wave string `json:"wave"`
	// Hosts is the number of hosts by region.
	Hosts map[string]int `json:"hosts"`
	// AtLeast is true if the wave may have more hosts: hosts with several labels, or with a label
	// and in the share too, are not counted apart.
	AtLeast bool `json:"at_least"`
}

// PlanDefault is the request that makes a plan the default of a prefix of configs.
type PlanDefault struct {
	// Prefix is a prefix of configs; "*" means all configs.
	Prefix string `json:"prefix"`
	// Plan is the name of a stored plan; empty removes the default of the prefix.
	Plan string `json:"plan"`
}

// Hold is a freeze of a scope or a lock of one config.
type Hold struct {
	// Scope is a prefix of configs, or "*" for all; for a lock, the name of a config.
	Scope string `json:"scope"`
	// Region limits the hold to one region; empty means all.
	Region string `json:"region,omitempty"`
	// Lock is true for a lock and false for a freeze.
	Lock   bool   `json:"lock,omitempty"`
	Reason string `json:"reason"`
	// Until is the end of the hold; zero means that a person must lift the hold.
	Until time.Time `json:"until,omitzero"`
	By    string    `json:"by"`
	At    time.Time `json:"at"`
}

// String describes the hold: "frozen in eu by alice until 2026-03-01T12:00:00Z: sale".
func (h Hold) String() string {
	var b strings.Builder
	if h.Lock {
		b.WriteString("locked")
	} else {
		b.WriteString("frozen")
	}
	if h.Region != "" {
		b.WriteString(" in " + h.Region)
	}
	b.WriteString(" by " + h.By)
	if !h.Until.IsZero() {
		b.WriteString(" until " + h.Until.UTC().Format(time.RFC3339))
	}
	return b.String() + ": " + h.Reason
}
