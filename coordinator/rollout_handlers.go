package coordinator

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport/identity"
)

// rolloutHandlers answer requests about rollouts.
type rolloutHandlers struct {
	ledger   *ledger.Ledger
	requests *requests
	rollouts *rollouts
}

// personal are the requests that a person may make of a rollout.
var personal = []string{
	rollout.Pause,
	rollout.Resume,
	rollout.Promote,
	rollout.Abort,
	rollout.Undo,
	rollout.Approve,
}

// post starts a rollout.
func (h *rolloutHandlers) post(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.StartRollout
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	s, err := h.requests.start(r.Context(), config, in, caller.Name)
	if err != nil {
		return nil, err
	}
	return h.describe(r.Context(), s), nil
}

// postRequest carries out a request on the newest rollout of a config.
func (h *rolloutHandlers) postRequest(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.RolloutRequest
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	what := r.PathValue("request")
	if !slices.Contains(personal, what) {
		return nil, fmt.Errorf("%w: request %q of a rollout; use one of %v", errRequest, what, personal)
	}
	if err := checkMessage(in.Message); err != nil {
		return nil, err
	}
	request := rollout.Request{What: what, By: caller.Name, Message: in.Message, Full: in.Full}
	s, err := h.requests.ask(r.Context(), config, request, in.IfRollout)
	if err != nil {
		return nil, err
	}
	return h.describe(r.Context(), s), nil
}

// getNewest returns the newest rollout of a config.
func (h *rolloutHandlers) getNewest(r *http.Request, _ identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	s, _, err := newestRollout(r.Context(), h.ledger, config)
	if err != nil {
		return nil, err
	}
	return h.describe(r.Context(), s), nil
}

// getAll returns a page of the newest rollout of every config.
func (h *rolloutHandlers) getAll(r *http.Request, _ identity.Identity) (any, error) {
	states, next, err := newestRollouts(r.Context(), h.ledger, r.URL.Query().Get("after"))
	if err != nil {
		return nil, err
	}
	answer := h.describeAll(r.Context(), states)
	if next != "" {
		answer["next"] = next
	}
	return answer, nil
}

// getHistory returns the rollouts of a config, newest first.
func (h *rolloutHandlers) getHistory(r *http.Request, _ identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	if _, err := h.ledger.Version(r.Context(), config, 0); err != nil {
		return nil, err
	}
	states, err := rolloutsOf(r.Context(), h.ledger, config)
	if err != nil {
		return nil, err
	}
	return h.describeAll(r.Context(), states), nil
}

func (h *rolloutHandlers) describeAll(ctx context.Context, states []rollout.State) map[string]any {
	rollouts := []api.Rollout{}
	for _, s := range states {
		rollouts = append(rollouts, h.describe(ctx, s))
	}
	return map[string]any{"rollouts": rollouts}
}

// describe returns the answer for a rollout. If the rollout has not ended, the answer has
// the view of each region with a pointer.
func (h *rolloutHandlers) describe(ctx context.Context, s rollout.State) api.Rollout {
	s = h.rollouts.refresh(s)
	if s.Status.Over() {
		return apiRollout(s, nil)
	}
	pointers := map[string]record.Pointer{}
	for region := range maps.Keys(s.Regions) {
		p, err := h.ledger.Pointer(ctx, s.Config, region)
		if err == nil {
			pointers[region] = p.Pointer
		}
	}
	seen := h.rollouts.countHosts(s, pointers)
	h.rollouts.nameWaiting(s.Config, pointers, seen)
	out := apiRollout(s, seen)
	if err := h.ledger.Refusal(); err != nil {
		out.Title = "stands still: " + err.Error()
	}
	return out
}
