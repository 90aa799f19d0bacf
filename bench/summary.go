package bench

import (
	"slices"
	"time"
)

// summary is the distribution of a set of latencies, in milliseconds.
type summary struct {
	count                   int
	min, p50, p90, p99, max float64
}

// summarize sorts the latencies and returns their distribution.
func summarize(latencies []time.Duration) summary {
	if len(latencies) == 0 {
		return summary{}
	}
	slices.Sort(latencies)
	at := func(q float64) float64 {
		i := min(int(q*float64(len(latencies))), len(latencies)-1)
		return float64(latencies[i].Microseconds()) / 1000
	}
	return summary{
		count: len(latencies),
		min:   at(0),
		p50:   at(0.5),
		p90:   at(0.9),
		p99:   at(0.99),
		max:   at(1),
	}
}

// median sorts the values and returns the middle one, the upper of two; 0 for no values.
func median[T int | float64](values []T) T {
	slices.Sort(values)
	if len(values) == 0 {
		return 0
	}
	return values[len(values)/2]
}
