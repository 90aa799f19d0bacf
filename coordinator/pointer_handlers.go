package coordinator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

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

	inventory *inventory
	leads     bool
	// fresh is the time after which a census is old news.
	fresh time.Duration
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
	out := api.ConfigStatus{
		Config:  config,
		Last:    last.Manifest.Version,
		Alone:   !h.leads,
		Regions: []api.RegionStatus{},
		Refusal: apiRefusal(h.ledger),
	}
	for _, p := range states {
		status := h.regionStatus(p)
		status.Stranded = h.stranded(r.Context(), p.Pointer)
		out.Regions = append(out.Regions, status)
	}
	return out, nil
}

// stranded reports whether p has a candidate that no rollout brings. It reports false if that is not
// known: a coordinator without its leader has no rollouts.
func (h *pointerHandlers) stranded(ctx context.Context, p record.Pointer) bool {
	if p.Candidate.IsZero() || p.Wave.IsEmpty() && p.Phase == record.PhaseActive || !h.leads {
		return false
	}
	s, _, err := newestRollout(ctx, h.ledger, p.Config)
	if err != nil && !isNotFound(err) || s.Brings(p.Region, p.Candidate.Version) {
		return false
	}
	// A rollout and its pointers change together. If the pointer has not moved since it was read, the
	// rollout was read as it is beside that pointer.
	now, err := h.ledger.Pointer(ctx, p.Config, p.Region)
	return err == nil && now.Pointer.Position() == p.Position()
}

func (h *pointerHandlers) regionStatus(p versionstore.PointerState) api.RegionStatus {
	s := api.RegionStatus{
		Region:    p.Pointer.Region,
		Epoch:     p.Pointer.Epoch,
		Version:   p.Pointer.Baseline.Version,
		Deleted:   p.Pointer.Deleted(),
		Candidate: p.Pointer.Candidate.Version,
		MovedAt:   p.At,
	}
	switch {
	case s.Candidate == 0:
	case p.Pointer.Phase == record.PhaseStage:
		s.Wave = api.WaveStaged
	case p.Pointer.Wave.IsEmpty():
		s.Wave = api.WaveTakenBack
	default:
		s.Wave = p.Pointer.Wave.String()
	}
	silent := h.tracker.status(&s, p.Pointer, time.Now().Add(-h.fresh))
	count := h.inventory.count(s.Region, p.Pointer.Config)
	s.Hosts = max(count.hosts, s.Agents)
	s.Unheard = s.Hosts - s.Agents
	for _, a := range count.unheard[:min(listedHosts, len(count.unheard), s.Unheard)] {
		s.Absent = append(s.Absent, api.Absent{Name: a.name, HeardAt: a.heard})
	}
	s.Cloned = count.cloned[:min(listedHosts, len(count.cloned))]
	if answered := s.Applied + s.Drifted + s.Failed; answered < uint64(s.Agents) {
		s.Silent = h.inventory.names(s.Region, p.Pointer.Config, silent, listedHosts)
	}
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
	act := ledger.Act{
		By:     caller.Name,
		Why:    in.Message,
		What:   fmt.Sprintf("activated version %d at once", in.Version),
		Config: config,
	}
	return h.activate(ctx, act, in)
}

// activate moves the pointers of the regions in a request in one transaction. A rollout in
// progress lets go of the regions in the same transaction.
func (h *pointerHandlers) activate(ctx context.Context, act ledger.Act, in api.Activate) (out *api.Activated, err error) {
	regions := slices.Compact(slices.Sorted(slices.Values(in.Regions)))
	err = h.ledger.Update(func(w *ledger.Writer) error {
		guards, err := h.permitActivation(ctx, act.Config, regions)
		if err != nil {
			return err
		}
		version, err := h.ledger.Ref(ctx, act.Config, in.Version)
		if err != nil {
			return err
		}
		var moves []rollout.Move
		for _, region := range regions {
			now, err := h.ledger.Pointer(ctx, act.Config, region)
			if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
				return err
			}
			if err := checkEpoch(now, act.Config, region, in.IfEpoch); err != nil {
				return err
			}
			moves = append(moves, activeAt(act.Config, region, now.Pointer.Epoch+1, version))
		}
		states, err := h.requests.moveByHand(ctx, w, act, ledger.Changes{Moves: moves, Guards: guards}, false)
		out = apiPointers(states)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// permitActivation refuses a move at once if a hold forbids the move, or if config needs a
// second person. It returns the conditions for the commit.
func (h *pointerHandlers) permitActivation(
	ctx context.Context,
	config string,
	regions []string,
) ([]versionstore.Guard, error) {
	hint := "start a rollout; the other person says 'banyan approve " + config + "'"
	return h.requests.permitAlone(ctx, config, regions, hint)
}

// activeAt returns the move that makes a version the baseline of a region.
func activeAt(config, region string, epoch uint64, version record.Ref) rollout.Move {
	return rollout.Move{
		Config:   config,
		Region:   region,
		Epoch:    epoch,
		Baseline: version,
		Phase:    record.PhaseActive,
	}
}

// checkEpoch returns a conflict if a request expects another epoch of a region's pointer.
func checkEpoch(now versionstore.PointerState, config, region string, ifEpoch map[string]uint64) error {
	expected, conditional := ifEpoch[region]
	if !conditional || now.Pointer.Epoch == expected {
		return nil
	}
	return &versionstore.ConflictError{
		What:    "epoch",
		Config:  config,
		Region:  region,
		Wanted:  expected + 1,
		Current: now.Pointer.Epoch,
		By:      now.By,
		At:      now.At,
	}
}

// getActivations returns what ran of a config in each region.
func (h *pointerHandlers) getActivations(r *http.Request, _ identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	if _, err := h.ledger.Version(r.Context(), config, 0); err != nil {
		return nil, err
	}
	out := api.Activations{Config: config, Regions: map[string][]api.Activation{}}
	for _, region := range h.policy.Regions() {
		log, err := h.ledger.Activations(r.Context(), config, region)
		if err != nil {
			return nil, err
		}
		for _, e := range log.Entries {
			out.Regions[region] = append(out.Regions[region], apiActivation(e))
		}
	}
	return out, nil
}

// postRollback takes a config back: a rollout in progress as a whole, or regions to the
// version that ran last and well there, or regions to the version that the request names.
func (h *pointerHandlers) postRollback(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.Rollback
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	if err := checkMessage(in.Message); err != nil {
		return nil, err
	}
	if err := h.requests.checkRegions(in.Regions); err != nil {
		return nil, err
	}
	for _, version := range []uint64{in.From, in.To} {
		if _, err := h.ledger.Version(r.Context(), config, version); err != nil { // 0 is the newest
			return nil, err
		}
	}
	return h.requests.rollback(r.Context(), config, in, caller.Name)
}

// postDeletion deletes a config in regions.
func (h *pointerHandlers) postDeletion(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.Delete
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	if err := checkMessage(in.Message); err != nil {
		return nil, err
	}
	if len(in.Regions) == 0 {
		in.Regions = h.policy.Regions()
	}
	if err := h.requests.checkRegions(in.Regions); err != nil {
		return nil, err
	}
	return h.requests.deleteConfig(r.Context(), config, in, caller.Name)
}
