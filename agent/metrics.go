package agent

import (
	"fmt"
	"io"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// latencyBuckets are in seconds. They span the latency to a host in the same rack and to a
// host after an outage of minutes.
var latencyBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// agentMetrics are the metrics of one agent. A process may run many agents, so the metrics are
// not global.
type agentMetrics struct {
	set         *metrics.Set
	verified    *metrics.PrometheusHistogram
	propagation *metrics.PrometheusHistogram
	applied     *metrics.Counter
	gaps        *metrics.Counter
	dropped     *metrics.Counter
	slow        *metrics.Counter
	shards      *metrics.Counter
	duplicates  *metrics.Counter
	suspects    *metrics.Counter
	cached      *metrics.Counter
	cacheServed *metrics.Counter
	bodyBytes   *metrics.Counter
	drift       *metrics.Counter
}

// hook records the duration and the outcome of a hook.
func (m *agentMetrics) hook(name string, took time.Duration, err error) {
	seconds := fmt.Sprintf("banyan_agent_hook_seconds{hook=%q}", name)
	m.set.GetOrCreatePrometheusHistogramExt(seconds, latencyBuckets).Update(took.Seconds())
	if err != nil {
		m.set.GetOrCreateCounter(fmt.Sprintf("banyan_agent_hook_failures_total{hook=%q}", name)).Inc()
	}
}

func newMetrics() *agentMetrics {
	s := metrics.NewSet()
	return &agentMetrics{
		set:         s,
		verified:    s.NewPrometheusHistogramExt("banyan_agent_verified_seconds", latencyBuckets),
		propagation: s.NewPrometheusHistogramExt("banyan_agent_propagation_seconds", latencyBuckets),
		applied:     s.NewCounter("banyan_agent_applied_total"),
		gaps:        s.NewCounter("banyan_agent_gaps_total"),
		slow:        s.NewCounter("banyan_agent_slow_children_total"),
		shards:      s.NewCounter("banyan_agent_shards_total"),
		duplicates:  s.NewCounter("banyan_agent_duplicate_shards_total"),
		suspects:    s.NewCounter("banyan_agent_silent_sources_total"),
		cached:      s.NewCounter("banyan_agent_cached_shards_total"),
		cacheServed: s.NewCounter("banyan_agent_cache_served_shards_total"),
		bodyBytes:   s.NewCounter("banyan_agent_shard_bytes_total"),
		drift:       s.NewCounter("banyan_agent_drift_total"),
		dropped:     s.NewCounter("banyan_agent_links_dropped_total"),
	}
}

// gauges registers the gauges of a.
func (m *agentMetrics) gauges(a *Agent) {
	m.set.NewGauge("banyan_agent_staleness_seconds", func() float64 { return a.applied.staleness().Seconds() })
	m.set.NewGauge("banyan_agent_children", func() float64 { return float64(a.children.Load()) })
	m.set.NewGauge("banyan_agent_configs", func() float64 { return float64(a.applied.count()) })
	m.set.NewGauge("banyan_agent_cache_bytes", func() float64 { return float64(a.cache.Stored()) })
	m.set.NewGauge("banyan_agent_attached", func() float64 {
		if a.attached.Load() {
			return 1
		}
		return 0
	})
}

// refused counts a refusal. reason is from a fixed set of labels.
func (m *agentMetrics) refused(reason string) {
	m.set.GetOrCreateCounter(fmt.Sprintf("banyan_agent_refused_total{reason=%q}", reason)).Inc()
}

// alone counts a failed attempt to find a parent. cause is from a fixed set of labels.
func (m *agentMetrics) alone(cause string) {
	m.set.GetOrCreateCounter(fmt.Sprintf("banyan_agent_alone_total{cause=%q}", cause)).Inc()
}

// failed counts a failed activation by stage.
func (m *agentMetrics) failed(stage string) {
	m.set.GetOrCreateCounter(fmt.Sprintf("banyan_agent_failed_total{stage=%q}", stage)).Inc()
}

func (m *agentMetrics) write(w io.Writer) { m.set.WritePrometheus(w) }
