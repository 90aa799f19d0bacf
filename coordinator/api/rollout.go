package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"banyan/rollout"
)

// StartRollout is the request that brings a version live.
type StartRollout struct {
	Version   uint64   `json:"version"`
	Regions   []string `json:"regions,omitempty"`   // none: all
	Plan      string   `json:"plan,omitempty"`      // its text, YAML or JSON
	PlanName  string   `json:"plan_name,omitempty"` // of one that is stored
	Immediate bool     `json:"immediate,omitempty"` // no staging, no waves, no gates
	Message   string   `json:"message,omitempty"`
}

// RolloutRequest is what a person asks of a rollout under way; see the package rollout.
type RolloutRequest struct {
	Message string `json:"message,omitempty"`
	Full    bool   `json:"full,omitempty"`
	// IfRollout, unless 0, refuses it if another rollout is the newest.
	IfRollout uint64 `json:"if_rollout,omitempty"`
}

// Rollout is a rollout and where it is.
type Rollout struct {
	rollout.State
	Title string                    `json:"title"`
	Seen  map[string]rollout.Region `json:"seen,omitempty"` // of the fleet, by region
}

// Rollback is the request to take a config back.
type Rollback struct {
	To      uint64   `json:"to,omitempty"` // 0: what ran before
	Regions []string `json:"regions,omitempty"`
	Message string   `json:"message,omitempty"`
}

// Plan is a stored plan.
type Plan struct {
	Name string    `json:"name"`
	Text string    `json:"text"`
	By   string    `json:"by"`
	At   time.Time `json:"at"`
}

// Plans are all stored plans, and which is the default of which prefix of configs.
type Plans struct {
	Plans    []Plan            `json:"plans"`
	Defaults map[string]string `json:"defaults"`
}

// PlanDefault makes a plan the default of a prefix; with no plan the prefix has none.
type PlanDefault struct {
	Prefix string `json:"prefix"` // "*": all configs
	Plan   string `json:"plan"`
}

// Hold is a freeze of a scope, or a lock of one config.
type Hold struct {
	Scope  string    `json:"scope"` // a prefix of configs, or "*"; of a lock, a config
	Region string    `json:"region,omitempty"`
	Lock   bool      `json:"lock,omitempty"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"` // zero: until it is lifted
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

// String tells what holds, why and until when.
func (h Hold) String() string {
	var b strings.Builder
	if b.WriteString("frozen"); h.Lock {
		b.Reset()
		b.WriteString("locked")
	}
	if h.Region != "" {
		b.WriteString(" in " + h.Region)
	}
	b.WriteString(" by " + h.By)
	if !h.Until.IsZero() {
		b.WriteString(" until " + h.Until.UTC().Format(time.RFC3339))
	}
	return b.String() + ": " + h.Reason
}

// Quarantined is an agent that keeps failing.
type Quarantined = rollout.Quarantined

// Drift is a file on a host that is not what was applied.
type Drift struct {
	Agent    string    `json:"agent"`
	Region   string    `json:"region"`
	Config   string    `json:"config"`
	Version  uint64    `json:"version"` // that was applied
	Repaired bool      `json:"repaired"`
	Since    time.Time `json:"since"`
	Seen     time.Time `json:"seen"`
}

// StartRollout begins a rollout of a version.
func (c *Client) StartRollout(ctx context.Context, config string, in StartRollout) (r Rollout, err error) {
	return r, c.putJSON(ctx, http.MethodPost, configPath(config, "/rollouts"), in, &r)
}

// Rollout asks how the newest rollout of a config stands.
func (c *Client) Rollout(ctx context.Context, config string) (r Rollout, err error) {
	return r, c.get(ctx, configPath(config, "/rollout"), &r)
}

// Rollouts lists rollouts of a config, newest first; of "", the newest of every config.
func (c *Client) Rollouts(ctx context.Context, config string) ([]Rollout, error) {
	var out struct {
		Rollouts []Rollout `json:"rollouts"`
	}
	path := "/v1/rollouts"
	if config != "" {
		path = configPath(config, "/rollouts")
	}
	return out.Rollouts, c.get(ctx, path, &out)
}

// AskRollout asks the newest rollout of a config for something: rollout.Pause and so on, or
// "undo".
func (c *Client) AskRollout(ctx context.Context, config, what string, in RolloutRequest) (r Rollout, err error) {
	return r, c.putJSON(ctx, http.MethodPost, configPath(config, "/rollout/"+what), in, &r)
}

// Rollback takes a config back.
func (c *Client) Rollback(ctx context.Context, config string, in Rollback) ([]Pointer, error) {
	var out Activated
	return out.Pointers, c.putJSON(ctx, http.MethodPost, configPath(config, "/rollback"), in, &out)
}

// Plans lists the stored plans.
func (c *Client) Plans(ctx context.Context) (p Plans, err error) {
	return p, c.get(ctx, "/v1/plans", &p)
}

// PutPlan stores a plan; an empty text removes it.
func (c *Client) PutPlan(ctx context.Context, name, text string) error {
	path := "/v1/plans/" + url.PathEscape(name)
	if text == "" {
		return c.do(ctx, http.MethodDelete, path, nil, 0, nil)
	}
	return c.do(ctx, http.MethodPut, path, strings.NewReader(text), int64(len(text)), nil)
}

// SetDefaultPlan makes a plan the default of a prefix of configs.
func (c *Client) SetDefaultPlan(ctx context.Context, d PlanDefault) error {
	return c.putJSON(ctx, http.MethodPut, "/v1/plan-defaults", d, nil)
}

// LintPlan holds a plan against the fleet.
func (c *Client) LintPlan(ctx context.Context, text string) error {
	return c.do(ctx, http.MethodPost, "/v1/plans", strings.NewReader(text), int64(len(text)), nil)
}

// Holds lists freezes and locks.
func (c *Client) Holds(ctx context.Context) ([]Hold, error) {
	var out struct {
		Holds []Hold `json:"holds"`
	}
	return out.Holds, c.get(ctx, "/v1/holds", &out)
}

// Hold freezes a scope or locks a config.
func (c *Client) Hold(ctx context.Context, h Hold) (out Hold, err error) {
	return out, c.putJSON(ctx, http.MethodPost, "/v1/holds", h, &out)
}

// Lift ends a hold.
func (c *Client) Lift(ctx context.Context, h Hold) error {
	q := url.Values{"scope": {h.Scope}, "region": {h.Region}}
	if h.Lock {
		q.Set("lock", "true")
	}
	return c.do(ctx, http.MethodDelete, "/v1/holds?"+q.Encode(), nil, 0, nil)
}

// Quarantined lists the agents in quarantine.
func (c *Client) Quarantined(ctx context.Context) ([]Quarantined, error) {
	var out struct {
		Agents []Quarantined `json:"agents"`
	}
	return out.Agents, c.get(ctx, "/v1/quarantine", &out)
}

// Release takes an agent of the coordinator's own region out of quarantine.
func (c *Client) Release(ctx context.Context, agent string) error {
	return c.do(ctx, http.MethodDelete, "/v1/quarantine/"+url.PathEscape(agent), nil, 0, nil)
}

// Drifts lists files that are not what was applied.
func (c *Client) Drifts(ctx context.Context) ([]Drift, error) {
	var out struct {
		Drifts []Drift `json:"drifts"`
	}
	return out.Drifts, c.get(ctx, "/v1/drift", &out)
}
