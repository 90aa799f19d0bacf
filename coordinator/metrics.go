package coordinator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"banyan/rollout"
)

// coordinatorMetrics are the counters of a coordinator. The ledger adds its own to set.
type coordinatorMetrics struct {
	set         *metrics.Set
	shardBytes  *metrics.Counter
	accused     *metrics.Counter
	clones      *metrics.Counter
	slow        *metrics.Counter
	failed      *metrics.Counter
	quarantines *metrics.Counter
	drifts      *metrics.Counter
	steps       *metrics.Counter
	unreadable  *metrics.Counter
	stopped     *metrics.Counter
	request     *metrics.PrometheusHistogram
}

// requestBuckets are the upper bounds of the buckets of request, in seconds.
var requestBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}

func newMetrics() *coordinatorMetrics {
	s := metrics.NewSet()
	return &coordinatorMetrics{
		set:         s,
		shardBytes:  s.NewCounter("banyan_coordinator_shard_bytes_total"),
		failed:      s.NewCounter("banyan_coordinator_gossip_failed_total"),
		slow:        s.NewCounter("banyan_coordinator_slow_children_total"),
		quarantines: s.NewCounter("banyan_coordinator_quarantines_total"),
		drifts:      s.NewCounter("banyan_coordinator_drift_reports_total"),
		steps:       s.NewCounter("banyan_coordinator_rollout_steps_total"),
		unreadable:  s.NewCounter("banyan_coordinator_unreadable_documents_total"),
		stopped:     s.NewCounter("banyan_coordinator_stopped_writing_total"),
		accused:     s.NewCounter("banyan_coordinator_accused_relays_total"),
		clones:      s.NewCounter("banyan_coordinator_clones_total"),
		request:     s.NewPrometheusHistogramExt("banyan_coordinator_request_seconds", requestBuckets),
	}
}

// gauge adds a gauge whose value is read when the metrics are written.
func (m *coordinatorMetrics) gauge(name string, read func() float64) { m.set.NewGauge(name, read) }

// ended counts a rollout that ended with a status.
func (m *coordinatorMetrics) ended(status rollout.Status) {
	m.set.GetOrCreateCounter(fmt.Sprintf("banyan_coordinator_rollouts_ended_total{status=%q}", status)).Inc()
}

// refused counts a message that the node refused.
func (m *coordinatorMetrics) refused(reason string) {
	m.set.GetOrCreateCounter(fmt.Sprintf("banyan_coordinator_refused_total{reason=%q}", reason)).Inc()
}

// addGauges adds the gauges of a coordinator to its metrics.
func (c *Coordinator) addGauges() {
	m := c.metrics
	m.gauge("banyan_coordinator_children", func() float64 { return float64(c.children.Load()) })
	m.gauge("banyan_coordinator_agents", func() float64 { return float64(c.agents.Load()) })
	m.gauge("banyan_coordinator_rollouts_active", func() float64 { return float64(c.rollouts.count()) })
	quarantined := func() float64 { return float64(len(c.tracker.quarantined())) }
	m.gauge("banyan_coordinator_quarantined_agents", quarantined)
	m.gauge("banyan_coordinator_drifted_files", func() float64 { return float64(len(c.tracker.allDrifts())) })
	m.gauge("banyan_coordinator_staleness_seconds", func() float64 {
		head := c.headTime.Load()
		if head == 0 {
			return -1
		}
		return max(time.Since(time.UnixMicro(head)).Seconds(), 0)
	})
}

// serveMetrics serves /metrics and /healthz until ctx ends.
func (c *Coordinator) serveMetrics(ctx context.Context) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { c.metrics.set.WritePrometheus(w) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	err := server.Serve(c.metricsListener)
	if err != nil && !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		c.log.Error("metrics ended", "error", err)
	}
}
