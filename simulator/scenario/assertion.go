package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// Assertion is a condition on a report, such as "p99 < 2s" or "missed == 0".
type Assertion struct {
	Text string `json:"text"`
	// Value is the value of the metric: milliseconds, a count or a share.
	Value float64 `json:"value"`
	Holds bool    `json:"holds"`

	metric, op string
	limit      float64
}

// metrics holds the values that assertions can compare. Latencies are in milliseconds.
var metrics = map[string]func(*Report) float64{
	"p50":            func(r *Report) float64 { return r.P50 },
	"p99":            func(r *Report) float64 { return r.P99 },
	"max":            func(r *Report) float64 { return r.Max },
	"verified_p99":   func(r *Report) float64 { return r.Verified.P99 },
	"rollback_p99":   func(r *Report) float64 { return r.Rollback.P99 },
	"rollback_max":   func(r *Report) float64 { return r.Rollback.Max },
	"bound":          func(r *Report) float64 { return r.Bound },
	"ratio":          func(r *Report) float64 { return r.RatioToBound },
	"rollback_ratio": func(r *Report) float64 { return r.RollbackRatio },
	"missed":         func(r *Report) float64 { return float64(r.Missed) },
	"coverage":       func(r *Report) float64 { return r.Coverage },
	"depth":          func(r *Report) float64 { return float64(r.Depth) },
	"exposed": func(r *Report) float64 {
		worst := 0.0
		for _, ro := range r.Rollouts {
			worst = max(worst, ro.ExposedShare)
		}
		return worst
	},
	"rolled_back": func(r *Report) float64 {
		n := 0
		for _, ro := range r.Rollouts {
			if ro.RolledBack {
				n++
			}
		}
		return float64(n)
	},
	"recovery": func(r *Report) float64 {
		worst := 0.0
		for _, ro := range r.Rollouts {
			worst = max(worst, ro.RecoverySeconds*1000)
		}
		return worst
	},
}

// Metrics returns the names of the metrics that assertions can compare, sorted.
func Metrics() []string { return slices.Sorted(maps.Keys(metrics)) }

// operators holds the comparisons of assertions.
var operators = map[string]func(a, b float64) bool{
	"<":  func(a, b float64) bool { return a < b },
	"<=": func(a, b float64) bool { return a <= b },
	"==": func(a, b float64) bool { return a == b },
	">=": func(a, b float64) bool { return a >= b },
	">":  func(a, b float64) bool { return a > b },
}

func parseAssertion(text string) (Assertion, error) {
	parts := strings.Fields(text)
	if len(parts) != 3 {
		return Assertion{}, fmt.Errorf("%w: assertion %q: write METRIC OPERATOR VALUE, such as \"p99 < 2s\"",
			world.ErrInvalid, text)
	}
	a := Assertion{Text: text, metric: parts[0], op: parts[1]}
	if metrics[a.metric] == nil {
		return a, fmt.Errorf("%w: assertion %q: no metric %q; the metrics are %s",
			world.ErrInvalid, text, a.metric, strings.Join(Metrics(), ", "))
	}
	if operators[a.op] == nil {
		return a, fmt.Errorf("%w: assertion %q: no operator %q; the operators are <, <=, ==, >= and >",
			world.ErrInvalid, text, a.op)
	}
	var err error
	a.limit, err = parseLimit(parts[2])
	if err != nil {
		return a, fmt.Errorf("%w: assertion %q: %q is not a number, a duration or a share", world.ErrInvalid, text, parts[2])
	}
	return a, nil
}

func parseLimit(text string) (float64, error) {
	if share, ok := strings.CutSuffix(text, "%"); ok {
		v, err := strconv.ParseFloat(share, 64)
		return v / 100, err
	}
	if d, err := time.ParseDuration(text); err == nil && text != "0" {
		return measure.Millis(d), nil
	}
	return strconv.ParseFloat(text, 64)
}

// hold evaluates the assertion on a report. An assertion does not hold if nothing was
// measured for its metric.
func (a Assertion) hold(r *Report) Assertion {
	a.Value = metrics[a.metric](r)
	a.Holds = operators[a.op](a.Value, a.limit)
	switch {
	case strings.HasPrefix(a.metric, "rollback_") && r.Rollback.Count == 0,
		(a.metric == "p50" || a.metric == "p99" || a.metric == "max" || a.metric == "ratio") && r.Rest.Count == 0,
		a.metric == "verified_p99" && r.Verified.Count == 0,
		a.metric == "recovery" && a.Value == 0, a.metric == "exposed" && len(r.Rollouts) == 0:
		a.Holds = false
	}
	return a
}
