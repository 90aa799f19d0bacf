package coordinator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"banyan/rollout"

	"github.com/VictoriaMetrics/metrics"
)

type coordinatorMetrics struct {
	set         *metrics.Set
	versions    *metrics.Counter
	shardBytes  *metrics.Counter
	moves       *metrics.Counter
	accused     *metrics.Counter
	slow        *metrics.Counter
	failed      *metrics.Counter
	quarantines *metrics.Counter
	drifts      *metrics.Counter
	steps       *metrics.Counter
	request     *metrics.PrometheusHistogram
}

func newMetrics(c *Coordinator) *coordinatorMetrics {
	s := metrics.NewSet()
	m := &coordinatorMetrics{
		set:         s,
		versions:    s.NewCounter("banyan_coordinator_versions_total"),
		shardBytes:  s.NewCounter("banyan_coordinator_shard_bytes_total"),
		moves:       s.NewCounter("banyan_coordinator_pointer_moves_total"),
		failed:      s.NewCounter("banyan_coordinator_gossip_failed_total"),
		slow:        s.NewCounter("banyan_coordinator_slow_children_total"),
		quarantines: s.NewCounter("banyan_coordinator_quarantines_total"),
		drifts:      s.NewCounter("banyan_coordinator_drift_reports_total"),
		steps:       s.NewCounter("banyan_coordinator_rollout_steps_total"),
		accused:     s.NewCounter("banyan_coordinator_accused_relays_total"),
		request:     s.NewPrometheusHistogramExt("banyan_coordinator_request_seconds", []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}),
	}
	s.NewGauge("banyan_coordinator_children", func() float64 { return float64(c.children.Load()) })
	s.NewGauge("banyan_coordinator_agents", func() float64 { return float64(c.agents.Load()) })
	s.NewGauge("banyan_coordinator_rollouts_active", func() float64 { return float64(c.rollouts.count()) })
	s.NewGauge("banyan_coordinator_quarantined_agents", func() (n float64) {
		c.tracker.with(func(f *rollout.Tracker) { n = float64(len(f.Quarantined())) })
		return n
	})
	s.NewGauge("banyan_coordinator_drifted_files", func() float64 { return float64(len(c.tracker.drifts())) })
	s.NewGauge("banyan_coordinator_staleness_seconds", func() float64 {
		if head := c.headTime.Load(); head != 0 {
			return max(time.Since(time.UnixMicro(head)).Seconds(), 0)
		}
		return -1
	})
	return m
}

// ended counts how rollouts end.
func (m *coordinatorMetrics) ended(status rollout.Status) {
	m.set.GetOrCreateCounter(fmt.Sprintf("banyan_coordinator_rollouts_ended_total{status=%q}", status)).Inc()
}

func (m *coordinatorMetrics) refused(reason string) {
	m.set.GetOrCreateCounter(fmt.Sprintf("banyan_coordinator_refused_total{reason=%q}", reason)).Inc()
}

func (c *Coordinator) serveMetrics(ctx context.Context) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { c.metrics.set.WritePrometheus(w) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(c.metric); err != nil && !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		c.log.Error("metrics ended", "error", err)
	}
}
