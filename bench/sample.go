package bench

// sample is the result of one update.
type sample struct {
	verified, applied summary
	cpuPerAgent       float64 // µs
}

func verifiedOf(s sample) summary { return s.verified }
func appliedOf(s sample) summary  { return s.applied }

// samples are the results of several updates.
type samples []sample

// medians returns the median of each quantile of the summaries that of selects.
func (all samples) medians(of func(sample) summary) summary {
	var p50, p99, most []float64
	for _, s := range all {
		p50 = append(p50, of(s).p50)
		p99 = append(p99, of(s).p99)
		most = append(most, of(s).max)
	}
	return summary{p50: median(p50), p99: median(p99), max: median(most)}
}

// cpu returns the median of the processor time per agent, in µs.
func (all samples) cpu() float64 {
	var v []float64
	for _, s := range all {
		v = append(v, s.cpuPerAgent)
	}
	return median(v)
}

// every returns every second sample, beginning with the sample number from.
func (all samples) every(from int) (some samples) {
	for i := from; i < len(all); i += 2 {
		some = append(some, all[i])
	}
	return some
}
