package coordinator

import (
	"fmt"
	"io"
	"net/http"

	"banyan/coordinator/api"
	"banyan/rollout"
	"banyan/transport/identity"
)

// planHandlers answer requests about stored plans.
type planHandlers struct{ plans *plans }

// getAll returns the plans and the defaults.
func (h *planHandlers) getAll(r *http.Request, _ identity.Identity) (any, error) {
	texts, defaults, err := h.plans.all(r.Context())
	if err != nil {
		return nil, err
	}
	out := api.Plans{Plans: []api.Plan{}, Defaults: map[string]string{}}
	for _, d := range texts {
		text := string(d.Raw)
		if d.Damaged != nil {
			text = "# " + d.Damaged.Error() + "; put the plan again\n"
		}
		out.Plans = append(out.Plans, api.Plan{Name: d.Name, Text: text, By: d.By, At: d.At})
	}
	for _, d := range defaults {
		out.Defaults[d.Name] = string(d.Raw)
	}
	return out, nil
}

// put stores a plan.
func (h *planHandlers) put(r *http.Request, caller identity.Identity) (any, error) {
	name, err := planOf(r)
	if err != nil {
		return nil, err
	}
	text, err := readPlan(r)
	if err != nil {
		return nil, err
	}
	return nil, h.plans.put(r.Context(), name, text, caller.Name)
}

// remove removes a plan.
func (h *planHandlers) remove(r *http.Request, caller identity.Identity) (any, error) {
	name, err := planOf(r)
	if err != nil {
		return nil, err
	}
	return nil, h.plans.remove(r.Context(), name, caller.Name)
}

// putDefault sets or removes the default plan of a prefix.
func (h *planHandlers) putDefault(r *http.Request, caller identity.Identity) (any, error) {
	var in api.PlanDefault
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	return nil, h.plans.setDefault(r.Context(), in, caller.Name)
}

// lint checks a plan, counts the hosts of its waves, and stores nothing.
func (h *planHandlers) lint(r *http.Request, _ identity.Identity) (any, error) {
	text, err := readPlan(r)
	if err != nil {
		return nil, err
	}
	plan, err := h.plans.parse(text)
	if err != nil {
		return nil, err
	}
	out := api.LintedPlan{Waves: []api.WaveCount{}}
	for _, c := range h.plans.tracker.counts(plan) {
		out.Waves = append(out.Waves, api.WaveCount(c))
	}
	return out, nil
}

// planOf returns the name of the plan in the path of a request.
func planOf(r *http.Request) (string, error) {
	name := r.PathValue("name")
	if !planName.MatchString(name) {
		return "", fmt.Errorf("%w: plan name %q; use at most 63 lower-case letters, digits and hyphens",
			errRequest, name)
	}
	return name, nil
}

// readPlan reads the text of a plan from the body of a request.
func readPlan(r *http.Request) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(nil, r.Body, rollout.MaxPlan))
}
