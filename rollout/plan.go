package rollout

import (
	"time"

	"banyan/internal/quantity"
)

// Plan says how a version goes live. Its JSON Schema is plan.schema.json. The zero value
// stages in all regions and then activates everywhere at once.
type Plan struct {
	Name  string `json:"name,omitempty"`
	About string `json:"about,omitempty"`
	// Immediate skips staging, waves and gates: every region moves at once.
	Immediate bool `json:"immediate,omitempty"`
	// Stage says when a version counts as being on the hosts of a region.
	Stage Stage `json:"stage,omitzero"`
	// Regions are groups: one group after the other goes through all waves; the regions of
	// a group move together. None: all regions are one group.
	Regions [][]string `json:"regions,omitempty"`
	// Waves, growing, the last of which is everybody. None: everybody at once.
	Waves []Wave `json:"waves,omitempty"`
	// Gates hold for every wave that has none of its own.
	Gates Gates `json:"gates,omitzero"`
	// OnFailure is "rollback" (the default) or "pause".
	OnFailure string `json:"onFailure,omitempty"`
}

// Stage is the step before the first wave of a group.
type Stage struct {
	Skip    bool              `json:"skip,omitempty"`
	Share   quantity.Percent  `json:"share,omitempty"`   // of each region's agents that must hold it; default 99%
	Timeout quantity.Duration `json:"timeout,omitempty"` // default 5m
}

// Wave adds agents to those of the waves before it.
type Wave struct {
	Labels map[string]string `json:"labels,omitempty"` // agents that carry all of these
	Share  quantity.Percent  `json:"share,omitempty"`  // and so many of all
	Bake   quantity.Duration `json:"bake,omitempty"`   // how long it must be well before the next
	Gates  *Gates            `json:"gates,omitempty"`  // instead of the plan's
}

// Gates are what must hold for a wave to pass.
type Gates struct {
	// MinSuccess is the share of a region's agents in the wave that must run the version,
	// and go on doing so; default 99%.
	MinSuccess quantity.Percent `json:"minSuccess,omitempty"`
	// MaxFailures is how many agents of the group may fail, whatever their share; absent: as
	// many as MinSuccess lets.
	MaxFailures *int `json:"maxFailures,omitempty"`
	// MaxGone is the share of a region's agents, and of those in the wave, that may leave
	// while the wave is under way: a version that takes its hosts down is not well. Default 10%.
	MaxGone quantity.Percent `json:"maxGone,omitempty"`
	// MaxSkew is the longest time between a region's first and last apply; 0: any.
	MaxSkew quantity.Duration `json:"maxSkew,omitempty"`
	// Timeout is how long the agents of a wave have; default 2m.
	Timeout quantity.Duration `json:"timeout,omitempty"`
	// Queries are asked of Prometheus while a wave bakes.
	Queries []Query `json:"queries,omitempty"`
	// Webhooks are called while a wave bakes.
	Webhooks []Webhook `json:"webhooks,omitempty"`
}

// Query is a question to Prometheus. It holds if every sample of the answer meets the
// condition, and there is one.
type Query struct {
	Name      string            `json:"name,omitempty"`
	URL       string            `json:"url"`   // of the server, http://host:9090
	Query     string            `json:"query"` // PromQL; $CONFIG and $VERSION are filled in
	Condition string            `json:"condition"`
	Every     quantity.Duration `json:"every,omitempty"` // default 15s
	Limit     quantity.Duration `json:"limit,omitempty"` // how long it may be impossible to ask; default 1m
	Strikes   int               `json:"strikes,omitempty"`
}

// Webhook is asked by POST; a status of 200 to 299 passes, 503 and no answer are "not
// known yet", any other fails.
type Webhook struct {
	Name    string            `json:"name,omitempty"`
	URL     string            `json:"url"`
	Every   quantity.Duration `json:"every,omitempty"` // as of a query
	Limit   quantity.Duration `json:"limit,omitempty"`
	Strikes int               `json:"strikes,omitempty"`
}

// What to do when a gate fails.
const (
	FailRollback = "rollback"
	FailPause    = "pause"
)

// Defaults of a plan.
const (
	DefaultShare        = quantity.Percent(0.99)
	DefaultGone         = quantity.Percent(0.1)
	DefaultStageTimeout = quantity.Duration(5 * time.Minute)
	DefaultWaveTimeout  = quantity.Duration(2 * time.Minute)
	DefaultEvery        = quantity.Duration(15 * time.Second)
	DefaultLimit        = quantity.Duration(time.Minute)
)

// complete fills in what a plan leaves open.
func (p Plan) complete() Plan {
	orDefault(&p.Stage.Share, DefaultShare)
	orDefault(&p.Stage.Timeout, DefaultStageTimeout)
	orDefault(&p.OnFailure, FailRollback)
	p.Gates = p.Gates.complete()
	if len(p.Waves) == 0 {
		p.Waves = []Wave{{Share: 1}}
	}
	waves := make([]Wave, len(p.Waves))
	for i, w := range p.Waves {
		gates := p.Gates
		if w.Gates != nil {
			gates = w.Gates.complete()
		}
		w.Gates = &gates
		waves[i] = w
	}
	p.Waves = waves
	return p
}

func (g Gates) complete() Gates {
	orDefault(&g.MinSuccess, DefaultShare)
	orDefault(&g.MaxGone, DefaultGone)
	orDefault(&g.Timeout, DefaultWaveTimeout)
	queries, hooks := make([]Query, len(g.Queries)), make([]Webhook, len(g.Webhooks))
	for i, q := range g.Queries {
		orDefault(&q.Every, DefaultEvery)
		orDefault(&q.Limit, DefaultLimit)
		orDefault(&q.Strikes, 1)
		orDefault(&q.Name, q.Query)
		queries[i] = q
	}
	for i, h := range g.Webhooks {
		orDefault(&h.Every, DefaultEvery)
		orDefault(&h.Limit, DefaultLimit)
		orDefault(&h.Strikes, 1)
		orDefault(&h.Name, h.URL)
		hooks[i] = h
	}
	g.Queries, g.Webhooks = queries, hooks
	return g
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Bakes is how long the waves of a plan bake in all, per group of regions.
func (p Plan) Bakes() time.Duration {
	sum := time.Duration(0)
	for _, w := range p.Waves {
		sum += time.Duration(w.Bake)
	}
	return sum
}
