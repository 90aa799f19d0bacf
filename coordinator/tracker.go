package coordinator

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"banyan/coordinator/api"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
)

// Limits of what is kept of drift.
const (
	maxDrift = 10_000
	// driftAge is how long a drift is listed that nobody tells of any more; agents repeat
	// themselves each time they look.
	driftAge = 10 * time.Minute
)

// tracker is what is known of the fleet: who has applied what, who is in quarantine,
// whose files drift.
type tracker struct {
	mu    sync.Mutex
	fleet *rollout.Tracker        // guarded by mu
	drift map[driftKey]*api.Drift // guarded by mu
}

type driftKey struct{ region, agent, config string }

func newTracker() *tracker {
	return &tracker{fleet: rollout.NewTracker(), drift: map[driftKey]*api.Drift{}}
}

// with runs fn with what is known of the fleet.
func (t *tracker) with(fn func(f *rollout.Tracker)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fn(t.fleet)
}

func (t *tracker) moved(p record.Pointer) { t.with(func(f *rollout.Tracker) { f.Moved(p) }) }

// drifted takes news of a file that is not what was applied.
func (t *tracker) drifted(m *wire.Drift) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := driftKey{m.Region, m.Name, m.Config}
	now := time.Now()
	maps.DeleteFunc(t.drift, func(_ driftKey, d *api.Drift) bool { return now.Sub(d.Seen) > driftAge })
	switch d := t.drift[key]; {
	case m.State == wire.DriftGone:
		delete(t.drift, key)
	case d != nil:
		d.Version, d.Seen, d.Repaired = m.Version, now, m.State == wire.DriftRepaired
	case len(t.drift) < maxDrift:
		t.drift[key] = &api.Drift{Agent: m.Name, Region: m.Region, Config: m.Config, Version: m.Version, Since: now, Seen: now,
			Repaired: m.State == wire.DriftRepaired}
	}
}

// drifts lists files that are not what was applied, or were put right lately.
func (t *tracker) drifts() []api.Drift {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]api.Drift, 0, len(t.drift))
	for _, d := range t.drift {
		if time.Since(d.Seen) <= driftAge {
			all = append(all, *d)
		}
	}
	slices.SortFunc(all, func(a, b api.Drift) int {
		return cmp.Or(cmp.Compare(a.Agent, b.Agent), cmp.Compare(a.Config, b.Config))
	})
	return all
}

func (t *tracker) sizes() (sizes map[string]rollout.Size) {
	t.with(func(f *rollout.Tracker) { sizes = f.Sizes() })
	return sizes
}

// status fills in what is known of a pointer's epoch.
func (t *tracker) status(s *api.RegionStatus, config string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Agents = t.fleet.Sizes()[s.Region].Subscribers(config)
	e := t.fleet.Acks(config, s.Region, s.Epoch)
	if e == nil {
		return
	}
	s.Applied, s.Running, s.Failed = e.Applied.GetCardinality(), e.Running.GetCardinality(), e.Failed.GetCardinality()
	s.P50Ms = float64(e.Latency.Quantile(0.5)) / 1000
	s.P99Ms = float64(e.Latency.Quantile(0.99)) / 1000
	s.MinMs = float64(e.Latency.Quantile(0)) / 1000
	s.MaxMs = float64(e.Latency.Quantile(1)) / 1000
	for _, f := range e.Failures {
		s.Failures = append(s.Failures, api.Failure{Agent: f.Name, Reason: f.Reason, Attempts: f.Attempts})
	}
}
