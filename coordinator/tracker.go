package coordinator

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/coordinator/api"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
)

// tracker is the coordinator's knowledge of the fleet: acknowledgements, censuses, the
// quarantine, and files that drift. Methods are safe for concurrent use.
type tracker struct {
	mu     sync.Mutex
	fleet  *rollout.Tracker    // guarded by mu
	drifts map[driftKey]*drift // guarded by mu
}

type driftKey struct{ region, agent, config string }

// drift is a file on a host whose content is not the applied version.
type drift struct {
	Agent    string
	Region   string
	Config   string
	Version  uint64 // the applied version
	index    uint32 // of the agent
	Repaired bool
	Since    time.Time // first report
	Seen     time.Time // newest report
}

func newTracker() *tracker {
	return &tracker{fleet: rollout.NewTracker(), drifts: map[driftKey]*drift{}}
}

// with calls fn with the lock held.
func (t *tracker) with(fn func(f *rollout.Tracker)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fn(t.fleet)
}

// moved starts to count acknowledgements for the pointer's epoch.
func (t *tracker) moved(p record.Pointer) { t.with(func(f *rollout.Tracker) { f.Moved(p) }) }

// ran returns the versions that p names and that hosts have acknowledged to run.
func (t *tracker) ran(p record.Pointer) (versions []record.Ref) {
	t.with(func(f *rollout.Tracker) { versions = f.Ran(p) })
	return versions
}

// lateRan returns, once, the versions that hosts have acknowledged to have run by pointers that were
// replaced.
func (t *tracker) lateRan(key record.PointerKey) (versions []record.Ref) {
	t.with(func(f *rollout.Tracker) { versions = f.LateRan(key) })
	return versions
}

// sizes returns the number of agents, and their subscriptions, by region.
func (t *tracker) sizes() (sizes map[string]rollout.Size) {
	t.with(func(f *rollout.Tracker) { sizes = f.Sizes() })
	return sizes
}

// labels returns the number of agents that carry each label, by "key=value".
func (t *tracker) labels() (labels map[string]int) {
	t.with(func(f *rollout.Tracker) { labels = f.Labels() })
	return labels
}

// counts returns the number of hosts in each wave of a plan.
func (t *tracker) counts(p rollout.Plan) (counts []rollout.WaveCount) {
	t.with(func(f *rollout.Tracker) { counts = p.Counts(f.Sizes(), f.RegionLabels()) })
	return counts
}

// quarantined returns the agents in quarantine, by name.
func (t *tracker) quarantined() (agents []rollout.Quarantined) {
	t.with(func(f *rollout.Tracker) { agents = f.Quarantined() })
	return agents
}

// drifted adds an agent's report on one file.
func (t *tracker) drifted(m *wire.Drift) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(t.drifts, func(_ driftKey, d *drift) bool { return now.Sub(d.Seen) > driftAge })
	key := driftKey{m.Region, m.Name, m.Config}
	if m.State == wire.DriftGone {
		delete(t.drifts, key)
		return
	}
	d := t.drifts[key]
	if d == nil {
		if len(t.drifts) >= maxDrift {
			return
		}
		d = &drift{Agent: m.Name, Region: m.Region, Config: m.Config, Since: now}
		t.drifts[key] = d
	}
	d.Version = m.Version
	d.index = m.Agent
	d.Repaired = m.State == wire.DriftRepaired
	d.Seen = now
}

// restoreDrifts adds drifts that were known before a restart.
func (t *tracker) restoreDrifts(stored []storedDrift) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, s := range stored {
		t.drifts[driftKey{s.Region, s.Agent, s.Config}] = &drift{
			Agent:   s.Agent,
			Region:  s.Region,
			Config:  s.Config,
			Version: s.Version,
			index:   s.Index,
			Since:   s.Since,
			Seen:    now,
		}
	}
}

// allDrifts returns the drifts reported within driftAge, by agent and config.
func (t *tracker) allDrifts() []drift {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]drift, 0, len(t.drifts))
	for _, d := range t.drifts {
		if time.Since(d.Seen) <= driftAge {
			all = append(all, *d)
		}
	}
	slices.SortFunc(all, func(a, b drift) int {
		return cmp.Or(cmp.Compare(a.Agent, b.Agent), cmp.Compare(a.Config, b.Config))
	})
	return all
}

// drifting returns the agents of p's region whose file of p's config is not the applied version.
// The caller holds the lock.
func (t *tracker) drifting(p record.Pointer) *roaring.Bitmap {
	agents := roaring.New()
	for key, d := range t.drifts {
		if key.config == p.Config && key.region == p.Region && !d.Repaired && time.Since(d.Seen) <= driftAge {
			agents.Add(d.index)
		}
	}
	return agents
}

// status fills in the counts for the pointer p. If no coordinator of the region was heard of
// since the time fresh, the region is unreachable, and none of its agents counts. status returns the
// attached agents that have neither acknowledged p nor failed.
func (t *tracker) status(s *api.RegionStatus, p record.Pointer, fresh time.Time) (silent *roaring.Bitmap) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.HeardAt = t.fleet.LastHeard(s.Region)
	if s.HeardAt.Before(fresh) {
		s.Unreachable = true
		return roaring.New()
	}
	silent = t.fleet.Silent(p)
	s.Agents = t.fleet.Sizes()[s.Region].Subscribers(p.Config)
	e := t.fleet.Acks(p)
	if e == nil {
		return silent
	}
	silent.AndNot(e.Failed)
	present := t.fleet.Present(s.Region)
	drifting := t.drifting(p)
	drifting.And(present)
	s.Drifted = drifting.AndCardinality(e.Applied)
	s.Applied = e.Applied.AndCardinality(present) - s.Drifted
	s.Running = e.Running.AndCardinality(present) - drifting.AndCardinality(e.Running)
	s.Failed = e.Failed.AndCardinality(present)
	s.Latency = apiLatency(&e.Latency)
	s.Failures = apiFailures(e)
	return silent
}
