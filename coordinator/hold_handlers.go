package coordinator

import (
	"log/slog"
	"net/http"
	"time"

	"banyan/coordinator/api"
	"banyan/record"
	"banyan/transport/identity"
)

// holdHandlers answer requests about freezes and locks.
type holdHandlers struct {
	holds  *holds
	policy *record.Policy
	// changed is called after a hold was put or lifted.
	changed func()
	log     *slog.Logger
}

// getAll returns the holds in force.
func (h *holdHandlers) getAll(r *http.Request, _ identity.Identity) (any, error) {
	all, err := h.holds.all(r.Context())
	if err != nil {
		return nil, err
	}
	out := []api.Hold{}
	for _, one := range all {
		out = append(out, apiHold(one))
	}
	return map[string]any{"holds": out}, nil
}

// post puts a hold in force.
func (h *holdHandlers) post(r *http.Request, caller identity.Identity) (any, error) {
	var in api.Hold
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	put := hold(in)
	put.By = caller.Name
	put.At = time.Now()
	if err := put.check(h.policy.Regions()); err != nil {
		return nil, err
	}
	if err := h.holds.put(r.Context(), put); err != nil {
		return nil, err
	}
	log := h.log.With("scope", put.Scope, "lock", put.Lock, "reason", put.Reason, "by", put.By)
	if !put.Until.IsZero() {
		log = log.With("until", put.Until)
	}
	log.Warn("hold")
	h.changed()
	return apiHold(put), nil
}

// remove lifts a hold.
func (h *holdHandlers) remove(r *http.Request, caller identity.Identity) (any, error) {
	q := r.URL.Query()
	lifted := hold{Scope: q.Get("scope"), Region: q.Get("region"), Lock: q.Get("lock") == "true"}
	if err := h.holds.lift(r.Context(), lifted, caller.Name); err != nil {
		return nil, err
	}
	h.log.Warn("hold lifted", "scope", lifted.Scope, "lock", lifted.Lock, "by", caller.Name)
	h.changed()
	return nil, nil
}
