package agent

import (
	"context"
	"log/slog"
	"sync"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// driftReports knows which configs drift, and reports changes to the coordinators. It is safe for
// concurrent use.
type driftReports struct {
	applied *appliedSet
	metrics *agentMetrics
	log     *slog.Logger
	tell    func(context.Context, step.Input) // gives the node an input

	mu      sync.Mutex
	drifted map[string]driftCase // by config; guarded by mu
}

// driftCase is a difference that was seen, and is not over yet.
type driftCase struct {
	repairing bool // the agent is restoring the file
}

// seen reports that the files of v differ from v. It counts and logs a drift once, and reports
// the drift at each call: the coordinators forget drifts without news.
func (r *driftReports) seen(ctx context.Context, v record.VersionKey, err error) {
	r.applied.setDrift(v.Config, err)
	r.begin(v, err)
	r.report(ctx, v, wire.DriftSeen)
}

// repairing notes that the agent begins to restore the files of config.
func (r *driftReports) repairing(config string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drifted[config] = driftCase{repairing: true}
}

// repaired reports that a drift of v is over: the agent shows a verified version again. A nil
// err stands for a drift that was seen before, if any.
func (r *driftReports) repaired(ctx context.Context, v record.VersionKey, err error) {
	if err != nil {
		r.begin(v, err)
	}
	if _, drifted := r.end(v.Config); drifted {
		r.log.Info("drift is repaired", "config", v.Config, "version", v.Version)
		r.report(ctx, v, wire.DriftRepaired)
	}
}

// right reports that the files of v are those of v, if a drift was seen before: the agent or
// somebody else restored the files.
func (r *driftReports) right(ctx context.Context, v record.VersionKey) {
	r.applied.setDrift(v.Config, nil)
	d, drifted := r.end(v.Config)
	switch {
	case drifted && d.repairing:
		r.log.Info("drift is repaired", "config", v.Config, "version", v.Version)
		r.report(ctx, v, wire.DriftRepaired)
	case drifted:
		r.log.Info("drift is gone", "config", v.Config, "version", v.Version)
		r.report(ctx, v, wire.DriftGone)
	}
}

// overwriting compares the files of v with v before v is staged anew. The returned function reports
// a difference, if v is applied: readers saw it through the links, and see v again.
func (r *driftReports) overwriting(ctx context.Context, output *outputDir, v record.VersionKey) func() {
	applied, ok := r.applied.get(v.Config)
	if !ok || applied.Key() != v {
		return func() {}
	}
	drift := output.compare(v)
	return func() {
		if drift != nil {
			r.repaired(ctx, v, drift)
		}
	}
}

// begin notes, counts and logs a drift, unless the drift was seen before.
func (r *driftReports) begin(v record.VersionKey, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, drifted := r.drifted[v.Config]; drifted {
		return
	}
	r.drifted[v.Config] = driftCase{}
	r.metrics.drift.Inc()
	r.log.Warn("drift", "config", v.Config, "version", v.Version, "error", err)
}

// end forgets the drift of config, if there is one, and returns it.
func (r *driftReports) end(config string) (d driftCase, drifted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, drifted = r.drifted[config]
	delete(r.drifted, config)
	return d, drifted
}

func (r *driftReports) report(ctx context.Context, v record.VersionKey, state wire.DriftState) {
	r.tell(ctx, step.Input{Kind: step.InDrift, Body: step.Body{Version: v}, Drift: state})
}
