package measure

import (
	"time"

	"banyan/simulator/world"
)

// Report is what a run found. Latencies are from the moment the publisher asked
// to the durable apply at each agent, unless said otherwise.
type Report struct {
	Nodes   int    `json:"nodes"` // agents
	Regions int    `json:"regions"`
	Fanout  int    `json:"fanout"`
	Seed    uint64 `json:"seed"`
	Matrix  string `json:"matrix,omitempty"`

	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	Max  float64 `json:"max_ms"`
	CDF  []Point `json:"cdf,omitempty"`
	Rest Latency `json:"update"` // the same with more quantiles
	// Verified is to the check of the pointer's signature.
	Verified Latency `json:"verified"`
	// Rollback is of moves to a version that the hosts already hold.
	Rollback    Latency `json:"rollback"`
	RollbackCDF []Point `json:"rollback_cdf,omitempty"`
	// Bound is the physical floor: the quorum's commit, and light to the farthest region.
	Bound         float64         `json:"bound_ms"`
	RatioToBound  float64         `json:"ratio_to_bound"` // of the update's 99th percentile
	RollbackRatio float64         `json:"rollback_ratio"` // of the rollback's
	ByRegion      []RegionLatency `json:"by_region,omitempty"`

	Updates  int     `json:"updates"`
	Missed   int     `json:"missed"`   // configs of live agents that are not current at the end
	Coverage float64 `json:"coverage"` // share of all agents' configs that are
	Depth    int     `json:"depth"`    // hops from a coordinator to the deepest agent

	Roles []RoleTraffic `json:"roles,omitempty"` // of the updates
	Idle  []RoleTraffic `json:"idle,omitempty"`  // of a minute without updates

	// Body is how the body spread, if it is large enough to go by the shard.
	Body *BodyReport `json:"body,omitempty"`

	Capacity *Capacity `json:"capacity,omitempty"`

	VirtualSeconds float64 `json:"virtual_s"`
	Events         uint64  `json:"events"`
	History        string  `json:"history_xxh64"` // of every effect in order: equal histories, equal runs
	WallSeconds    float64 `json:"wall_s,omitempty"`
	PeakRSSBytes   int64   `json:"peak_rss_bytes,omitempty"`
}

// RegionLatency is one region's share of the update's latency.
type RegionLatency struct {
	Region string `json:"region"`
	Agents int    `json:"agents"`
	Latency
}

// RoleTraffic is what the hosts of one role sent and spent.
type RoleTraffic struct {
	Role    string        `json:"role"` // leader, coordinator, relay or leaf
	Hosts   int           `json:"hosts"`
	Total   world.Traffic `json:"total"`
	Busiest world.Traffic `json:"busiest"` // the most of each, at one host
}

// Millis returns d in milliseconds, cut to whole microseconds.
func Millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
