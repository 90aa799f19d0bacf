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
	drifted map[string]bool // by config; guarded by mu
}

// seen reports that the files of v differ from v. It counts and logs a drift once, and reports
// the drift at each call: the coordinators forget drifts without news.
func (r *driftReports) seen(ctx context.Context, v record.VersionKey, drift error) {
	r.applied.setDrift(v.Config, drift)
	r.begin(v, drift)
	r.report(ctx, v, wire.DriftSeen)
}

// repaired reports that a drift of v is over: the agent shows a verified version again. A nil
// drift stands for a drift that was seen before, if any.
func (r *driftReports) repaired(ctx context.Context, v record.VersionKey, drift error) {
	if drift != nil {
		r.begin(v, drift)
	}
	if r.end(v.Config) {
		r.log.Info("drift is repaired", "config", v.Config, "version", v.Version)
		r.report(ctx, v, wire.DriftRepaired)
	}
}

// gone reports that a drift of v is over, if a drift was seen: somebody else restored the file.
func (r *driftReports) gone(ctx context.Context, v record.VersionKey) {
	r.applied.setDrift(v.Config, nil)
	if r.end(v.Config) {
		r.log.Info("drift is gone", "config", v.Config, "version", v.Version)
		r.report(ctx, v, wire.DriftGone)
	}
}

func (r *driftReports) begin(v record.VersionKey, drift error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.drifted[v.Config] {
		return
	}
	r.drifted[v.Config] = true
	r.metrics.drift.Inc()
	r.log.Warn("drift", "config", v.Config, "version", v.Version, "error", drift)
}

// end reports whether config drifted until now.
func (r *driftReports) end(config string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	drifted := r.drifted[config]
	delete(r.drifted, config)
	return drifted
}

func (r *driftReports) report(ctx context.Context, v record.VersionKey, drift wire.DriftState) {
	r.tell(ctx, step.Input{Kind: step.InDrift, Body: step.Body{Version: v}, Drift: drift})
}
