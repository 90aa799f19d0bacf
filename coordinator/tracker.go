package coordinator

import (
	"sync"

	"banyan/coordinator/api"
	"banyan/mesh"
	"banyan/record"
)

// tracker is what is known of who has applied what: for each pointer the
// acknowledgements of its newest epoch.
type tracker struct {
	mu     sync.Mutex
	acks   map[trackKey]*mesh.AckEntry // guarded by mu
	under  map[string]under            // by coordinator; guarded by mu
	agents map[string]int              // by region, their sums; guarded by mu
}

type trackKey struct{ config, region string }

func newTracker() *tracker {
	return &tracker{acks: map[trackKey]*mesh.AckEntry{}, under: map[string]under{}, agents: map[string]int{}}
}

// moved starts to count for a pointer's new epoch.
func (t *tracker) moved(p record.Pointer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at(trackKey{p.Config, p.Region}, p.Epoch)
}

// at returns the entry of an epoch, or nil if a newer one is counted.
func (t *tracker) at(key trackKey, epoch uint64) *mesh.AckEntry {
	e := t.acks[key]
	if e == nil || e.Epoch < epoch {
		e = mesh.NewAckEntry(key.config, key.region, epoch)
		t.acks[key] = e
	}
	if e.Epoch > epoch {
		return nil
	}
	return e
}

// acked adds acknowledgements; those of older epochs are of no use.
func (t *tracker) acked(entry *mesh.AckEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.acks) >= mesh.MaxConfigs {
		if _, known := t.acks[trackKey{entry.Config, entry.Region}]; !known {
			return
		}
	}
	if e := t.at(trackKey{entry.Config, entry.Region}, entry.Epoch); e != nil {
		e.Merge(entry)
	}
}

// setAgents notes how many agents of a region are under one of its coordinators.
func (t *tracker) setAgents(coordinator, region string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.under[coordinator] = under{region, n}
	clear(t.agents)
	for _, u := range t.under {
		t.agents[u.region] += u.agents
	}
}

// under is the agents of one coordinator.
type under struct {
	region string
	agents int
}

func (t *tracker) agentsByRegion() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]int{}
	for r, n := range t.agents {
		out[r] = n
	}
	return out
}

// status fills in what is known of a pointer's epoch.
func (t *tracker) status(s *api.RegionStatus, config string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Agents = t.agents[s.Region]
	e := t.acks[trackKey{config, s.Region}]
	if e == nil || e.Epoch != s.Epoch {
		return
	}
	s.Applied, s.Failed = e.Applied.GetCardinality(), e.Failed.GetCardinality()
	s.P50Ms = float64(e.Latency.Quantile(0.5)) / 1000
	s.P99Ms = float64(e.Latency.Quantile(0.99)) / 1000
	s.MaxMs = float64(e.Latency.Quantile(1)) / 1000
	for _, f := range e.Failures {
		s.Failures = append(s.Failures, api.Failure{Agent: f.Name, Reason: f.Reason})
	}
}
