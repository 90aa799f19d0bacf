package bench

import (
	"fmt"
	"os"
	"slices"
	"time"

	"banyan/agent"
	"banyan/record"
)

// summary is the distribution of a set of latencies, in milliseconds.
type summary struct {
	count                   int
	min, p50, p90, p99, max float64
}

func summarize(latencies []time.Duration) summary {
	if len(latencies) == 0 {
		return summary{}
	}
	slices.Sort(latencies)
	at := func(q float64) float64 {
		i := min(int(q*float64(len(latencies))), len(latencies)-1)
		return float64(latencies[i].Microseconds()) / 1000
	}
	return summary{count: len(latencies), min: at(0), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1)}
}

// summary takes the latencies, from the signing of the pointer, of one kind of
// event for the given epochs of a config.
func (r *recorder) summary(kind agent.EventKind, config string, epochs map[string]uint64) summary {
	return r.summaryWithout(kind, config, epochs, nil)
}

// summaryWithout leaves out the agents that are dead.
func (r *recorder) summaryWithout(kind agent.EventKind, config string, epochs map[string]uint64, dead map[string]bool) summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	var latencies []time.Duration
	for _, e := range r.events {
		if e.Kind == kind && e.Pointer.Config == config && e.Pointer.Epoch == epochs[e.Pointer.Region] && !dead[e.Agent] {
			latencies = append(latencies, e.At.Sub(time.UnixMicro(e.Pointer.TimeMicros)))
		}
	}
	return summarize(latencies)
}

// checkFile reports a file whose content does not have the digest.
func checkFile(path string, want record.Digest) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, err := record.SumReader(f)
	if err != nil {
		return err
	}
	if sum != want {
		return fmt.Errorf("%s: %w", path, record.ErrChecksum)
	}
	return nil
}

func median[T int | float64](values []T) T {
	slices.Sort(values)
	if len(values) == 0 {
		return 0
	}
	return values[len(values)/2]
}
