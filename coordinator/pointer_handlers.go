package coordinator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// pointerHandlers answer requests that read pointers, or move them without a rollout.
type pointerHandlers struct {
	ledger   *ledger.Ledger
	requests *requests
	holds    *holds
	tracker  *tracker
	policy   *record.Policy
}

// pointers returns the pointers of config, by region, or versionstore.ErrNotFound if there
// is no such config.
func (h *pointerHandlers) pointers(ctx context.Context, config string) ([]versionstore.PointerState, error) {
	if _, err := h.ledger.Version(ctx, config, 0); err != nil {
		return nil, err
	}
	var states []versionstore.PointerState
	for _, region := range h.policy.Regions() {
		p, err := h.ledger.Pointer(ctx, config, region)
		if errors.Is(err, versionstore.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		states = append(states, p)
	}
	return states, nil
}

func (h *pointerHandlers) getPointers(r *http.Request, _ identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	states, err := h.pointers(r.Context(), config)
	if err != nil {
		return nil, err
	}
	return apiPointers(states), nil
}

func (h *pointerHandlers) getStatus(r *http.Request, _ identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	last, err := h.ledger.Version(r.Context(), config, 0)
	if err != nil {
		return nil, err
	}
	states, err := h.pointers(r.Context(), config)
	if err != nil {
		return nil, err
	}
	out := api.ConfigStatus{Config: config, Last: last.Manifest.Version, Regions: []api.RegionStatus{}}
	for _, p := range states {
		out.Regions = append(out.Regions, h.regionStatus(p))
	}
	return out, nil
}

func (h *pointerHandlers) regionStatus(p versionstore.PointerState) api.RegionStatus {
	s := api.RegionStatus{
		Region:    p.Pointer.Region,
		Epoch:     p.Pointer.Epoch,
		Version:   p.Pointer.Baseline,
		Candidate: p.Pointer.Candidate,
		MovedAt:   p.At,
	}
	switch {
	case s.Candidate == 0:
	case p.Pointer.Phase == record.PhaseStage:
		s.Wave = "staged"
	default:
		s.Wave = p.Pointer.Wave.String()
	}
	h.tracker.status(&s, p.Pointer.Config)
	return s
}

// postPointers moves the pointers of a config to a version at once, in one transaction.
func (h *pointerHandlers) postPointers(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.Activate
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	if in.Version == 0 {
		return nil, errNoVersion
	}
	ctx := r.Context()
	if _, err := h.ledger.Version(ctx, config, in.Version); err != nil {
		return nil, err
	}
	if len(in.Regions) == 0 {
		in.Regions = h.policy.Regions()
	}
	if err := h.requests.checkRegions(in.Regions); err != nil {
		return nil, err
	}
	if err := h.holds.permit(ctx, config, in.Regions, false); err != nil {
		return nil, err
	}
	if h.holds.needsTwo(config) {
		return nil, &api.Error{
			Code:    api.CodeRejected,
			Message: config + " needs a second person's approval",
			Hint:    "start a rollout; the other person says 'banyan approve " + config + "'",
		}
	}
	choose := func(now versionstore.PointerState, region string) (uint64, error) {
		expected, conditional := in.IfEpoch[region]
		if conditional && now.Pointer.Epoch != expected {
			return 0, &versionstore.ConflictError{
				What:    "epoch",
				Config:  config,
				Region:  region,
				Wanted:  expected + 1,
				Current: now.Pointer.Epoch,
				By:      now.By,
				At:      now.At,
			}
		}
		return in.Version, nil
	}
	return h.move(ctx, config, in.Regions, ledger.Act{By: caller.Name}, choose)
}

// move moves the pointers of regions, in one transaction, each to the version that choose
// returns. A rollout in progress lets go of the regions in the same transaction.
func (h *pointerHandlers) move(
	ctx context.Context,
	config string,
	regions []string,
	act ledger.Act,
	choose func(now versionstore.PointerState, region string) (uint64, error),
) (out *api.Activated, err error) {
	regions = slices.Compact(slices.Sorted(slices.Values(regions)))
	err = h.ledger.Update(func(w *ledger.Writer) error {
		var moves []rollout.Move
		for _, region := range regions {
			now, err := h.ledger.Pointer(ctx, config, region)
			if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
				return err
			}
			version, err := choose(now, region)
			if err != nil {
				return err
			}
			moves = append(moves, rollout.Move{
				Config:   config,
				Region:   region,
				Epoch:    now.Pointer.Epoch + 1,
				Baseline: version,
				Phase:    record.PhaseActive,
			})
		}
		states, err := h.requests.moveByHand(ctx, w, config, moves, act)
		out = apiPointers(states)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// postRollback takes a config back: a rollout in progress as a whole, or regions to the
// version before theirs, or regions to the version that the request names.
func (h *pointerHandlers) postRollback(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.Rollback
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	ctx := r.Context()
	states, err := h.pointers(ctx, config)
	if err != nil {
		return nil, err
	}
	if in.To != 0 {
		if _, err := h.ledger.Version(ctx, config, in.To); err != nil {
			return nil, err
		}
	} else if len(in.Regions) == 0 && h.inProgress(ctx, config) {
		if err := h.holds.permit(ctx, config, nil, true); err != nil {
			return nil, err
		}
		return h.abort(ctx, config, caller.Name, in.Message)
	}
	if len(in.Regions) == 0 {
		for _, p := range states {
			in.Regions = append(in.Regions, p.Pointer.Region)
		}
	}
	if len(in.Regions) == 0 {
		return nil, &api.Error{
			Code:    api.CodeNotFound,
			Message: config + " runs in no region: there is nothing to roll back",
		}
	}
	if err := h.requests.checkRegions(in.Regions); err != nil {
		return nil, err
	}
	if err := h.holds.permit(ctx, config, in.Regions, true); err != nil {
		return nil, err
	}
	choose := func(now versionstore.PointerState, region string) (uint64, error) {
		if in.To != 0 {
			return in.To, nil
		}
		now.Pointer.Config = config
		now.Pointer.Region = region
		return h.before(ctx, now.Pointer)
	}
	act := ledger.Act{By: caller.Name, Why: in.Message, Back: true}
	return h.move(ctx, config, in.Regions, act, choose)
}

// inProgress reports whether a rollout of config has not ended.
func (h *pointerHandlers) inProgress(ctx context.Context, config string) bool {
	s, _, err := newestRollout(ctx, h.ledger, config)
	return err == nil && !s.Status.Over()
}

// abort takes the rollout of config back, and returns the pointers after the first step.
func (h *pointerHandlers) abort(ctx context.Context, config, by, message string) (*api.Activated, error) {
	request := rollout.Request{What: rollout.Abort, By: by, Message: message}
	if _, err := h.requests.ask(ctx, config, request, 0); err != nil {
		return nil, err
	}
	states, err := h.pointers(ctx, config)
	return apiPointers(states), err
}

// before returns the version that a region goes back to: the baseline if there is a
// candidate, otherwise the version before the baseline.
func (h *pointerHandlers) before(ctx context.Context, now record.Pointer) (uint64, error) {
	if now.Baseline == 0 {
		return 0, &api.Error{
			Code: api.CodeRejected,
			Message: fmt.Sprintf("%s runs nothing in region %s: there is nothing to roll back",
				now.Config, now.Region),
		}
	}
	if now.Candidate != 0 {
		return now.Baseline, nil
	}
	v, err := h.ledger.Version(ctx, now.Config, now.Baseline)
	if err != nil {
		return 0, err
	}
	if v.Manifest.Parent == 0 {
		return 0, &api.Error{
			Code: api.CodeRejected,
			Message: fmt.Sprintf("%s runs version %d in region %s, and there is no version before it",
				now.Config, now.Baseline, now.Region),
		}
	}
	return v.Manifest.Parent, nil
}
