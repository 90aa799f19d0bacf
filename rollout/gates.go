package rollout

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"banyan/internal/quantity"
)

// Gates are the conditions under which a wave passes.
type Gates struct {
	// MinSuccess is the share of a region's agents in the wave that must run the version
	// until the wave ends; default 99%.
	MinSuccess quantity.Percent `json:"minSuccess,omitempty"`
	// MaxFailures is the number of agents of the group that may fail, whatever their share.
	// Nil means that MinSuccess alone decides.
	MaxFailures *int `json:"maxFailures,omitempty"`
	// MaxGone is the share of a region's agents, and of the agents in the wave, that may
	// leave while the wave is in progress: a version that takes hosts down must not pass.
	// Default 10%.
	MaxGone quantity.Percent `json:"maxGone,omitempty"`
	// MaxUnheard is the share of a region's hosts in the inventory that need not be heard of when
	// the version is staged and when a wave begins, rounded down. Nil means 10%, but one host
	// at least, and never all hosts.
	MaxUnheard *quantity.Percent `json:"maxUnheard,omitempty"`
	// MaxSkew is the maximum time between a region's first and last apply; zero means no
	// limit.
	MaxSkew quantity.Duration `json:"maxSkew,omitempty"`
	// Timeout is the maximum time for the agents of a wave to run the version; default 2 m.
	Timeout quantity.Duration `json:"timeout,omitempty"`
	// Queries are asked of Prometheus while the wave bakes.
	Queries []Query `json:"queries,omitempty"`
	// Webhooks are called while the wave bakes.
	Webhooks []Webhook `json:"webhooks,omitempty"`
}

// Query is a query of Prometheus. It passes if the answer has a sample and every sample
// meets the condition.
type Query struct {
	// Name identifies the gate; default the query.
	Name string `json:"name,omitempty"`
	// URL is the address of the server, such as http://host:9090.
	URL string `json:"url"`
	// Query is PromQL. $CONFIG and $VERSION are replaced by the config and the version.
	Query string `json:"query"`
	// Condition is an operator and a number, such as "< 0.01".
	Condition string `json:"condition"`
	// Every is the time between two queries; default 15 s.
	Every quantity.Duration `json:"every,omitempty"`
	// Limit is the time without a verdict, beyond Every, after which the gate fails; default
	// 1 m (75 s with the default Every).
	Limit quantity.Duration `json:"limit,omitempty"`
	// Strikes is the number of failures in a row after which the gate fails; default 1.
	Strikes int `json:"strikes,omitempty"`
}

// Webhook is a URL that is called by POST. A status from 200 to 299 passes. Status 503 and no
// answer mean that the verdict is unknown. Any other status fails.
type Webhook struct {
	// Name identifies the gate; default the URL.
	Name string `json:"name,omitempty"`
	URL  string `json:"url"`
	// Every is the time between two calls; default 15 s.
	Every quantity.Duration `json:"every,omitempty"`
	// Limit is the time without a verdict, beyond Every, after which the gate fails; default
	// 1 m (75 s with the default Every).
	Limit quantity.Duration `json:"limit,omitempty"`
	// Strikes is the number of failures in a row after which the gate fails; default 1.
	Strikes int `json:"strikes,omitempty"`
}

// complete returns the gates with their defaults filled in.
func (g Gates) complete() Gates {
	orDefault(&g.MinSuccess, DefaultShare)
	orDefault(&g.MaxGone, DefaultGone)
	orDefault(&g.Timeout, DefaultWaveTimeout)
	queries := make([]Query, len(g.Queries))
	for i, q := range g.Queries {
		orDefault(&q.Every, DefaultEvery)
		orDefault(&q.Limit, DefaultLimit)
		orDefault(&q.Strikes, 1)
		orDefault(&q.Name, q.Query)
		queries[i] = q
	}
	hooks := make([]Webhook, len(g.Webhooks))
	for i, h := range g.Webhooks {
		orDefault(&h.Every, DefaultEvery)
		orDefault(&h.Limit, DefaultLimit)
		orDefault(&h.Strikes, 1)
		orDefault(&h.Name, h.URL)
		hooks[i] = h
	}
	g.Queries = queries
	g.Webhooks = hooks
	return g
}

// Tolerated returns the number of a region's hosts that need not be heard of.
func (g Gates) Tolerated(hosts int) int {
	if g.MaxUnheard != nil {
		return int(float64(*g.MaxUnheard)*float64(hosts) + 1e-9)
	}
	return max(min(max(hosts/10, 1), hosts-1), 0)
}

// validate reports the first gate that can't be judged. where is the place of the gates in
// the plan.
func (g Gates) validate(where string) error {
	if g.MinSuccess < 0 || g.MinSuccess > 1 || g.MaxFailures != nil && *g.MaxFailures < 0 {
		return invalid("%s: minSuccess must be 0%% to 100%%, and maxFailures not negative", where)
	}
	for _, q := range g.Queries {
		if _, err := parseCondition(q.Condition); err != nil {
			return invalid("%s: query %q: %s", where, q.Query, err)
		}
	}
	names := map[string]bool{}
	for _, name := range g.names() {
		if names[name] {
			return invalid("%s: two are named %q", where, name)
		}
		names[name] = true
	}
	return nil
}

// waveGates names the gates of a wave, for errors.
func waveGates(number int) string { return fmt.Sprintf("wave %d: gates", number) }

// names returns the names of the queries and webhooks.
func (g Gates) names() []string {
	var names []string
	complete := g.complete()
	for _, q := range complete.Queries {
		names = append(names, q.Name)
	}
	for _, h := range complete.Webhooks {
		names = append(names, h.Name)
	}
	return names
}

// Judge returns the verdict on the values that answer the query. It fails if a value does not
// meet the condition. Without a value, and with a value that is not a number, such as 0/0
// without traffic, the verdict is unknown.
func (q Query) Judge(values []float64) Verdict {
	c, err := parseCondition(q.Condition)
	if err != nil || len(values) == 0 {
		return Unknown
	}
	verdict := Pass
	for _, v := range values {
		switch {
		case math.IsNaN(v):
			verdict = Unknown
		case !c.meets(v, c.bound):
			return Fail
		}
	}
	return verdict
}

// condition is a parsed condition of a query.
type condition struct {
	meets func(value, bound float64) bool
	bound float64
}

var operators = map[string]func(value, bound float64) bool{
	"<":  func(value, bound float64) bool { return value < bound },
	"<=": func(value, bound float64) bool { return value <= bound },
	">":  func(value, bound float64) bool { return value > bound },
	">=": func(value, bound float64) bool { return value >= bound },
	"==": func(value, bound float64) bool { return value == bound },
	"!=": func(value, bound float64) bool { return value != bound },
}

// parseCondition parses a condition such as "< 0.01".
func parseCondition(text string) (condition, error) {
	number := strings.TrimLeft(text, "<>=!")
	meets := operators[text[:len(text)-len(number)]]
	bound, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if meets == nil || err != nil {
		return condition{}, fmt.Errorf("condition %q; write an operator and a number, as in \"< 0.01\"", text)
	}
	return condition{meets, bound}, nil
}
