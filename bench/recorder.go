package bench

import (
	"slices"
	"sync"
	"time"

	"banyan/agent"
)

// recorder keeps the events of the agents.
type recorder struct {
	mu     sync.Mutex
	events []agent.Event // guarded by mu
}

func newRecorder() *recorder { return &recorder{} }

func (r *recorder) event(e agent.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// reset forgets all events.
func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = r.events[:0]
}

// count returns the number of events of a kind.
func (r *recorder) count(kind agent.EventKind) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// countLive returns the number of events of a kind for the given epochs, without the events
// of dead agents. epochs is by region.
func (r *recorder) countLive(kind agent.EventKind, epochs map[string]uint64, dead map[string]bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == kind && e.Pointer.Epoch == epochs[e.Pointer.Region] && !dead[e.Agent] {
			n++
		}
	}
	return n
}

// refused reports whether an agent has refused something for one of the reasons.
func (r *recorder) refused(reasons []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.events, func(e agent.Event) bool {
		return e.Kind == agent.EventRefused && slices.Contains(reasons, e.Reason)
	})
}

// summary returns the latencies of the events of a kind for the given epochs of a config. A
// latency runs from the signature of the pointer to the event.
func (r *recorder) summary(kind agent.EventKind, config string, epochs map[string]uint64) summary {
	return r.summaryLive(kind, config, epochs, nil)
}

// summaryLive is summary without the events of dead agents.
func (r *recorder) summaryLive(
	kind agent.EventKind,
	config string,
	epochs map[string]uint64,
	dead map[string]bool,
) summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	var latencies []time.Duration
	for _, e := range r.events {
		p := &e.Pointer
		if e.Kind == kind && p.Config == config && p.Epoch == epochs[p.Region] && !dead[e.Agent] {
			latencies = append(latencies, e.At.Sub(time.UnixMicro(p.TimeMicros)))
		}
	}
	return summarize(latencies)
}
