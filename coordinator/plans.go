package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"banyan/coordinator/api"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// Kinds of the store's documents that plans are kept in.
const (
	kindPlan    = "plan"         // by name, as they were written
	kindDefault = "plan-default" // names of plans, by prefix of configs
	maxPlans    = 1000
)

var planName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// planFor finds the plan of a rollout: the one that came with the request, the named one,
// the default of the longest prefix, or the built-in one.
func (c *Coordinator) planFor(ctx context.Context, config string, in api.StartRollout) (rollout.Plan, error) {
	switch {
	case in.Immediate && (in.Plan != "" || in.PlanName != ""):
		return rollout.Plan{}, fmt.Errorf("%w: immediate, with a plan; choose one", record.ErrInvalid)
	case in.Immediate:
		return rollout.Plan{Immediate: true}, nil
	case in.Plan != "":
		return rollout.ParsePlan([]byte(in.Plan))
	case in.PlanName != "":
		return c.planNamed(ctx, in.PlanName)
	}
	for prefix := config; ; {
		d, err := c.store.Document(ctx, kindDefault, prefix)
		if err == nil {
			return c.planNamed(ctx, string(d.Raw))
		}
		if !errors.Is(err, versionstore.ErrNotFound) {
			return rollout.Plan{}, err
		}
		if prefix == "*" {
			return rollout.Plan{}, nil
		}
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			prefix = prefix[:i]
		} else {
			prefix = "*"
		}
	}
}

func (c *Coordinator) planNamed(ctx context.Context, name string) (rollout.Plan, error) {
	d, err := c.store.Document(ctx, kindPlan, name)
	if err != nil {
		return rollout.Plan{}, err
	}
	p, err := rollout.ParsePlan(d.Raw)
	p.Name = name
	return p, err
}

// checkFleet refuses a plan that names regions or labels which the fleet has not.
func (c *Coordinator) checkFleet(p rollout.Plan) error {
	var labels map[string]int
	c.tracker.with(func(f *rollout.Tracker) { labels = f.Labels() })
	return p.CheckFleet(c.Policy().Regions(), labels)
}

func (c *Coordinator) getPlans(r *http.Request, _ identity.Identity) (any, error) {
	plans, err := c.store.List(r.Context(), kindPlan, "", maxPlans)
	if err != nil {
		return nil, err
	}
	defaults, err := c.store.List(r.Context(), kindDefault, "", maxPlans)
	if err != nil {
		return nil, err
	}
	out := api.Plans{Plans: []api.Plan{}, Defaults: map[string]string{}}
	for _, d := range plans {
		out.Plans = append(out.Plans, api.Plan{Name: d.Name, Text: string(d.Raw), By: d.By, At: d.At})
	}
	for _, d := range defaults {
		out.Defaults[d.Name] = string(d.Raw)
	}
	return out, nil
}

func (c *Coordinator) putPlan(r *http.Request, caller identity.Identity) (any, error) {
	name := r.PathValue("name")
	if !planName.MatchString(name) {
		return nil, fmt.Errorf("%w: plan name %q; use lower-case letters, digits and hyphens, at most 63", record.ErrInvalid, name)
	}
	if r.Method == http.MethodDelete {
		defaults, err := c.store.List(r.Context(), kindDefault, "", maxPlans)
		if err != nil {
			return nil, err
		}
		for _, d := range defaults {
			if string(d.Raw) == name {
				return nil, &api.Error{Code: api.CodeRejected, Message: fmt.Sprintf("plan %s is the default of %s", name, d.Name), Hint: "give that prefix another default first, or none"}
			}
		}
		return nil, c.replaceDocument(r.Context(), kindPlan, name, nil, caller.Name)
	}
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, rollout.MaxPlan))
	if err != nil {
		return nil, err
	}
	plan, err := rollout.ParsePlan(raw)
	if err != nil {
		return nil, err
	}
	if err := c.checkFleet(plan); err != nil {
		return nil, err
	}
	return nil, c.replaceDocument(r.Context(), kindPlan, name, raw, caller.Name)
}

// putDefault makes a plan the default of a prefix, or none with an empty name.
func (c *Coordinator) putDefault(r *http.Request, caller identity.Identity) (any, error) {
	var in api.PlanDefault
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	if in.Prefix != "*" {
		if err := record.ValidateConfig(in.Prefix); err != nil {
			return nil, err
		}
	}
	if in.Plan == "" {
		return nil, c.replaceDocument(r.Context(), kindDefault, in.Prefix, nil, caller.Name)
	}
	if _, err := c.planNamed(r.Context(), in.Plan); err != nil {
		return nil, err
	}
	return nil, c.replaceDocument(r.Context(), kindDefault, in.Prefix, []byte(in.Plan), caller.Name)
}

// postLint checks a plan against this fleet.
func (c *Coordinator) postLint(r *http.Request, _ identity.Identity) (any, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, rollout.MaxPlan))
	if err != nil {
		return nil, err
	}
	plan, err := rollout.ParsePlan(raw)
	if err != nil {
		return nil, err
	}
	return json.RawMessage(`{}`), c.checkFleet(plan)
}
