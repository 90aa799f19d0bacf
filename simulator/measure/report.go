package measure

import (
	"time"

	"banyan/simulator/world"
)

// Report is the result of a run. A latency runs from the publisher's command to the
// durable apply at an agent, unless its comment says otherwise.
type Report struct {
	// Nodes is the number of agents.
	Nodes   int    `json:"nodes"`
	Regions int    `json:"regions"`
	Fanout  int    `json:"fanout"`
	Seed    uint64 `json:"seed"`
	Matrix  string `json:"matrix,omitempty"`

	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
	CDF []Point `json:"cdf,omitempty"`
	// Rest is the latency of new versions with all quantiles.
	Rest Latency `json:"update"`
	// Verified is the latency up to the check of the pointer's signature.
	Verified Latency `json:"verified"`
	// Rollback is the latency of moves to a version that the hosts hold already.
	Rollback    Latency `json:"rollback"`
	RollbackCDF []Point `json:"rollback_cdf,omitempty"`
	// Bound is the physical floor: the quorum's commit, and then half the round trip to
	// the farthest region.
	Bound float64 `json:"bound_ms"`
	// RatioToBound is P99 / Bound.
	RatioToBound float64 `json:"ratio_to_bound"`
	// RollbackRatio is Rollback.P99 / Bound.
	RollbackRatio float64         `json:"rollback_ratio"`
	ByRegion      []RegionLatency `json:"by_region,omitempty"`

	Updates int `json:"updates"`
	// Missed counts the configs of live agents that are not current at the end.
	Missed int `json:"missed"`
	// Coverage is the share of the configs of all agents that are current at the end.
	Coverage float64 `json:"coverage"`
	// Depth is the number of hops from a coordinator to the deepest agent.
	Depth int `json:"depth"`

	// Roles is the traffic of the updates, by role.
	Roles []RoleTraffic `json:"roles,omitempty"`
	// Idle is the traffic of a minute without updates, by role.
	Idle []RoleTraffic `json:"idle,omitempty"`

	// Body describes how the body spread; nil if the body was fetched in one piece.
	Body *BodyReport `json:"body,omitempty"`

	Capacity *Capacity `json:"capacity,omitempty"`

	VirtualSeconds float64 `json:"virtual_s"`
	Events         uint64  `json:"events"`
	// History is a hash of every effect in order. Two runs with one hash are equal.
	History string `json:"history_xxh64"`
	// WallSeconds and PeakRSSBytes are filled in by the caller.
	WallSeconds  float64 `json:"wall_s,omitempty"`
	PeakRSSBytes int64   `json:"peak_rss_bytes,omitempty"`
}

// RegionLatency is the latency of new versions in one region.
type RegionLatency struct {
	Region string `json:"region"`
	Agents int    `json:"agents"`
	Latency
}

// RoleTraffic is the traffic of the hosts of one role.
type RoleTraffic struct {
	// Role is RoleLeader, RoleCoordinator, RoleRelay or RoleLeaf.
	Role  string        `json:"role"`
	Hosts int           `json:"hosts"`
	Total world.Traffic `json:"total"`
	// Busiest is the largest value of each field at any one host.
	Busiest world.Traffic `json:"busiest"`
}

// Millis returns d in milliseconds, cut to whole microseconds.
func Millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
