package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"banyan/coordinator/api"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// postPointers moves the pointers of a config to a version at once, without a rollout: all
// named regions in one transaction.
func (c *Coordinator) postPointers(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.Activate
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	if in.Version == 0 {
		return nil, fmt.Errorf("%w: no version given", record.ErrInvalid)
	}
	if _, err := c.store.Version(r.Context(), config, in.Version); err != nil {
		return nil, err
	}
	if len(in.Regions) == 0 {
		in.Regions = c.Policy().Regions()
	}
	if err := c.checkRegions(in.Regions); err != nil {
		return nil, err
	}
	if err := c.permit(r.Context(), config, in.Regions, false); err != nil {
		return nil, err
	}
	if c.needsTwo(config) {
		return nil, &api.Error{Code: api.CodeRejected, Message: config + " needs a second person's approval", Hint: "start a rollout; the other person says 'banyan approve " + config + "'"}
	}
	return c.moveByHand(r.Context(), config, in.Regions, caller.Name, func(now versionstore.PointerState, region string) (rollout.Move, error) {
		if expected, conditional := in.IfEpoch[region]; conditional && now.Pointer.Epoch != expected {
			return rollout.Move{}, &versionstore.ConflictError{What: "epoch", Config: config, Region: region, Wanted: expected + 1,
				Current: now.Pointer.Epoch, By: now.By, At: now.At}
		}
		return rollout.Move{Baseline: in.Version, Phase: record.PhaseActive}, nil
	})
}

func (c *Coordinator) checkRegions(regions []string) error {
	known := c.Policy().Regions()
	for _, region := range regions {
		if !slices.Contains(known, region) {
			return fmt.Errorf("%w: region %q is not in the trust policy, which has %v", record.ErrInvalid, region, known)
		}
		if _, ok := c.keys[region]; !ok {
			return &api.Error{Code: api.CodeRejected, Message: fmt.Sprintf("this coordinator has no activation key for region %s", region),
				Hint: "give it the key, or ask the coordinator that has it"}
		}
	}
	return nil
}

// moveByHand moves the pointers of regions as shape says, in one transaction. A rollout
// under way lets go of those regions in the same one.
func (c *Coordinator) moveByHand(ctx context.Context, config string, regions []string, by string,
	shape func(now versionstore.PointerState, region string) (rollout.Move, error)) (*api.Activated, error) {
	c.writes.Lock()
	defer c.writes.Unlock()
	var moves []rollout.Move
	regions = slices.Compact(slices.Sorted(slices.Values(regions)))
	for _, region := range regions {
		now, err := c.store.Pointer(ctx, config, region)
		if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
			return nil, err
		}
		p, err := shape(now, region)
		if err != nil {
			return nil, err
		}
		p.Config, p.Region, p.Epoch = config, region, now.Pointer.Epoch+1
		moves = append(moves, p)
	}
	signed, err := c.sign(moves)
	if err != nil {
		return nil, err
	}
	t := versionstore.Transaction{By: by, Pointers: signed}
	after, seq, err := c.letGo(ctx, config, regions, by, &t)
	if err != nil {
		return nil, err
	}
	revision, err := c.store.Commit(ctx, t)
	if err != nil {
		return nil, err
	}
	if after != nil {
		c.rollouts.keep(*after, seq)
	}
	c.metrics.moves.Add(len(moves))
	out := &api.Activated{}
	for i, p := range signed {
		c.log.Info("pointer moved", "config", config, "of", p.Pointer.Region, "epoch", p.Pointer.Epoch, "to", p.Pointer.String(), "by", by)
		out.Pointers = append(out.Pointers, api.Pointer{Pointer: p.Pointer, MovedBy: by, MovedAt: time.Now(),
			Revision: revision - uint64(len(signed)-1-i), Signed: p.Raw})
	}
	return out, nil
}

// letGo adds to a transaction that the config's rollout, if one is under way, leaves regions.
func (c *Coordinator) letGo(ctx context.Context, config string, regions []string, by string, t *versionstore.Transaction) (*rollout.State, uint64, error) {
	s, seq, err := c.rolloutOf(ctx, config)
	if errors.Is(err, versionstore.ErrNotFound) || err == nil && s.Status.Over() {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	next, _, err := rollout.Apply(s, rollout.Request{What: rollout.Leave, By: by, Regions: regions}, rollout.View{Now: time.Now()})
	if err != nil {
		return nil, 0, err
	}
	raw, err := json.Marshal(next)
	t.Documents = append(t.Documents, versionstore.DocumentWrite{Kind: kindRollout, Name: config, Raw: raw, IfSeq: seq})
	return &next, seq + 1, err
}

// postRollback takes a config back: a rollout under way as a whole, or regions to the
// version before theirs, or to the one that is named.
func (c *Coordinator) postRollback(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.Rollback
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	ctx := r.Context()
	states, err := c.pointers(ctx, config)
	if err != nil {
		return nil, err
	}
	if in.To != 0 {
		if _, err := c.store.Version(ctx, config, in.To); err != nil {
			return nil, err
		}
	} else if s, _, err := c.rolloutOf(ctx, config); err == nil && !s.Status.Over() && len(in.Regions) == 0 {
		if err := c.permit(ctx, config, nil, true); err != nil {
			return nil, err
		}
		return c.abortAll(ctx, config, caller.Name, in.Message)
	}
	if len(in.Regions) == 0 {
		for _, p := range states {
			in.Regions = append(in.Regions, p.Pointer.Region)
		}
	}
	if len(in.Regions) == 0 {
		return nil, &api.Error{Code: api.CodeNotFound, Message: config + " runs nowhere: there is nothing to roll back"}
	}
	if err := c.checkRegions(in.Regions); err != nil {
		return nil, err
	}
	if err := c.permit(ctx, config, in.Regions, true); err != nil {
		return nil, err
	}
	return c.moveByHand(ctx, config, in.Regions, caller.Name, func(now versionstore.PointerState, region string) (rollout.Move, error) {
		to, err := c.before(ctx, now.Pointer, in.To)
		return rollout.Move{Baseline: to, Phase: record.PhaseActive}, err
	})
}

// abortAll takes a rollout back, and tells of the pointers as they are then.
func (c *Coordinator) abortAll(ctx context.Context, config, by, message string) (*api.Activated, error) {
	if _, err := c.askRollout(ctx, config, rollout.Request{What: rollout.Abort, By: by, Message: message}, 0); err != nil {
		return nil, err
	}
	states, err := c.pointers(ctx, config)
	out := &api.Activated{Pointers: []api.Pointer{}}
	for _, p := range states {
		out.Pointers = append(out.Pointers, toPointer(p))
	}
	return out, err
}

// before is the version that a region is taken back to.
func (c *Coordinator) before(ctx context.Context, now record.Pointer, to uint64) (uint64, error) {
	if to != 0 {
		return to, nil
	}
	if now.Candidate != 0 && now.Baseline != 0 {
		return now.Baseline, nil
	}
	running := now.Baseline
	if running == 0 {
		return 0, &api.Error{Code: api.CodeRejected, Message: fmt.Sprintf("%s runs nothing in region %s: there is nothing to roll back", now.Config, now.Region)}
	}
	v, err := c.store.Version(ctx, now.Config, running)
	if err != nil {
		return 0, err
	}
	if v.Manifest.Parent == 0 {
		return 0, &api.Error{Code: api.CodeRejected, Message: fmt.Sprintf("%s runs version %d in region %s, which has none before it", now.Config, running, now.Region)}
	}
	return v.Manifest.Parent, nil
}
