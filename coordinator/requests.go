package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/record"
	"banyan/rollout"
	"banyan/versionstore"
)

// requests carries out people's requests of rollouts.
type requests struct {
	ledger   *ledger.Ledger
	rollouts *rollouts
	holds    *holds
	plans    *plans
	sizes    *sizes
	tracker  *tracker
	policy   *record.Policy
}

// beginning holds the writes that belong to the first step of a rollout.
type beginning struct {
	seq      uint64                    // of the config's rollout document; 0 if there is none
	pointers map[string]record.Pointer // of the regions that the new rollout reaches
	// archive moves the old rollout to the history.
	archive []versionstore.DocumentWrite
	// back takes back the regions of the old rollout that the new rollout does not reach.
	back []rollout.Move
}

// start checks a request to start a rollout, ends the rollout in progress, and commits the
// new rollout with the first moves.
func (r *requests) start(
	ctx context.Context,
	config string,
	in api.StartRollout,
	by string,
) (s rollout.State, err error) {
	if in.Version == 0 {
		return s, errNoVersion
	}
	if _, err := r.ledger.Version(ctx, config, in.Version); err != nil {
		return s, err
	}
	plan, err := r.plans.forRollout(ctx, config, in)
	if err != nil {
		return s, err
	}
	regions, err := r.regionsFor(ctx, plan, in.Regions)
	if err != nil {
		return s, err
	}
	if err := r.holds.permit(ctx, config, regions, false); err != nil {
		return s, err
	}
	err = r.ledger.Update(func(w *ledger.Writer) error {
		b, id, err := r.prepare(ctx, config, in.Version, regions, by)
		if err != nil {
			return err
		}
		agents := r.sizes.expected(ctx, config)
		s, err = rollout.Start(id, config, in.Version, plan, b.pointers, agents, by, in.Message, time.Now())
		if err != nil {
			return err
		}
		if r.holds.needsTwo(config) {
			s.Wait(time.Now())
		}
		next, moves, _ := rollout.Decide(s, epochsOf(b.pointers), 0)
		s = next
		act := ledger.Act{By: by, Why: in.Message}
		return r.commit(ctx, w, act, next, b.seq, append(b.back, moves...), b.archive...)
	})
	return s, err
}

var errNoVersion = fmt.Errorf("%w: the request names no version", errRequest)

// prepare reads the pointers and the rollout over which a new rollout of config begins, and
// returns the number of the new rollout. The caller must be in an update.
func (r *requests) prepare(
	ctx context.Context,
	config string,
	version uint64,
	regions []string,
	by string,
) (b beginning, id uint64, err error) {
	b.pointers, err = r.ledger.PointersOf(ctx, config, slices.Values(regions))
	if err != nil {
		return b, 0, err
	}
	old, seq, err := newestRollout(ctx, r.ledger, config)
	b.seq = seq
	if errors.Is(err, versionstore.ErrNotFound) {
		id, err = nextID(ctx, r.ledger, config)
		if err != nil {
			return b, 0, err
		}
		return b, id, r.checkRoom()
	}
	if err != nil {
		return b, 0, err
	}
	if old.Status.Over() {
		err = r.checkRoom()
	} else {
		old, err = r.supersede(ctx, &b, old, version, regions, by)
	}
	if err != nil {
		return b, 0, err
	}
	b.archive, err = archiveOf(ctx, r.ledger, old)
	return b, old.ID + 1, err
}

// checkRoom refuses one more rollout if maxRollouts are in progress.
func (r *requests) checkRoom() error {
	if r.rollouts.count() < maxRollouts {
		return nil
	}
	return &api.Error{
		Code:    api.CodeUnavailable,
		Message: fmt.Sprintf("%d rollouts are in progress, which is the limit", maxRollouts),
		Hint:    "wait for some of them, or abort them",
	}
}

// supersede ends the rollout old in favour of a newer version, and returns the last state of
// old. The candidate of old is withdrawn, and the new rollout gets the baselines from
// before old.
func (r *requests) supersede(
	ctx context.Context,
	b *beginning,
	old rollout.State,
	version uint64,
	regions []string,
	by string,
) (rollout.State, error) {
	if version <= old.Version {
		return old, &api.Error{
			Code: api.CodeConflict,
			Message: fmt.Sprintf(
				"rollout %d of version %d, started by %s, is in progress (%s); version %d is not newer",
				old.ID, old.Version, old.By, old.Title(), version),
			Hint: "abort it first: banyan rollout abort " + old.Config,
		}
	}
	now, err := r.ledger.PointersOf(ctx, old.Config, maps.Keys(old.Regions))
	if err != nil {
		return old, err
	}
	for name, region := range old.Regions {
		p, taken := b.pointers[name]
		if taken && region.Began != 0 && !region.Left {
			p.Baseline = region.Baseline
			b.pointers[name] = p
		}
	}
	request := rollout.Request{
		What:    rollout.Supersede,
		By:      fmt.Sprintf("by %s with version %d", by, version),
		Regions: regions,
	}
	ended, moves, err := rollout.Apply(old, request, epochsOf(now))
	b.back = moves
	return ended, err
}

// commit commits a state that the controller did not decide, and hands it to the
// controller.
func (r *requests) commit(
	ctx context.Context,
	w *ledger.Writer,
	act ledger.Act,
	next rollout.State,
	seq uint64,
	moves []rollout.Move,
	more ...versionstore.DocumentWrite,
) error {
	if _, err := r.rollouts.commit(ctx, w, act, next, seq, moves, more...); err != nil {
		return err
	}
	r.rollouts.keep(next, seq+1)
	r.rollouts.signal()
	return nil
}

// regionsFor returns the regions that a rollout reaches: the regions in the request, the
// regions of the plan, or all.
func (r *requests) regionsFor(ctx context.Context, plan rollout.Plan, asked []string) ([]string, error) {
	if err := r.plans.checkFleet(plan); err != nil {
		return nil, err
	}
	regions := asked
	if len(regions) == 0 {
		regions = slices.Concat(plan.Regions...)
	}
	if len(regions) == 0 {
		regions = r.policy.Regions()
	}
	regions = slices.Compact(slices.Sorted(slices.Values(regions)))
	if err := r.checkRegions(regions); err != nil {
		return nil, err
	}
	if plan.Immediate {
		return regions, nil
	}
	if uncovered := r.uncovered(ctx, regions); len(uncovered) > 0 {
		return nil, &api.Error{
			Code: api.CodeRejected,
			Message: fmt.Sprintf("no coordinator of %v is connected: nothing would be known of the agents there",
				uncovered),
			Hint: "name the other regions with --region, or move all with --immediate; " +
				"a region that comes back takes up what its pointer says",
		}
	}
	return regions, nil
}

// checkRegions refuses a region outside the trust policy, and a region for which the
// coordinator has no activation key.
func (r *requests) checkRegions(regions []string) error {
	known := r.policy.Regions()
	for _, region := range regions {
		if !slices.Contains(known, region) {
			return unknownRegion(region, known)
		}
		if !r.ledger.HasKey(region) {
			return &api.Error{
				Code:    api.CodeRejected,
				Message: "this coordinator has no activation key for region " + region,
				Hint:    "give it the key, or ask the coordinator that has it",
			}
		}
	}
	return nil
}

// uncovered returns the regions of which no coordinator sent a census within coverWait.
func (r *requests) uncovered(ctx context.Context, regions []string) []string {
	ctx, cancel := context.WithTimeout(ctx, coverWait)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		var missing []string
		r.tracker.with(func(f *rollout.Tracker) {
			missing = slices.DeleteFunc(slices.Clone(regions), f.Covers)
		})
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return missing
		}
	}
}

// ask carries out a request on the newest rollout of config. If id is not 0, the newest
// rollout must have that number.
func (r *requests) ask(
	ctx context.Context,
	config string,
	request rollout.Request,
	id uint64,
) (next rollout.State, err error) {
	err = r.ledger.Update(func(w *ledger.Writer) error {
		s, seq, err := newestRollout(ctx, r.ledger, config)
		if err != nil {
			return err
		}
		if id != 0 && s.ID != id {
			return &api.Error{
				Code:    api.CodeConflict,
				Message: fmt.Sprintf("the newest rollout of %s is %d, not %d", config, s.ID, id),
			}
		}
		s = r.rollouts.refresh(s)
		pointers, err := r.ledger.PointersOf(ctx, config, maps.Keys(s.Regions))
		if err != nil {
			return err
		}
		var moves []rollout.Move
		next, moves, err = rollout.Apply(s, request, epochsOf(pointers))
		if err != nil {
			return err
		}
		act := ledger.Act{By: request.By, Why: request.Message, Back: next.End == rollout.Aborted}
		return r.commit(ctx, w, act, next, seq, moves)
	})
	return next, err
}

// moveByHand commits moves of config's pointers that no rollout decided. A rollout of config
// in progress lets go of the moved regions in the same transaction.
func (r *requests) moveByHand(
	ctx context.Context,
	w *ledger.Writer,
	config string,
	moves []rollout.Move,
	act ledger.Act,
) ([]versionstore.PointerState, error) {
	s, seq, err := newestRollout(ctx, r.ledger, config)
	if errors.Is(err, versionstore.ErrNotFound) || err == nil && s.Status.Over() {
		return w.Commit(ctx, act, moves)
	}
	if err != nil {
		return nil, err
	}
	request := rollout.Request{What: rollout.Leave, By: act.By}
	for _, p := range moves {
		request.Regions = append(request.Regions, p.Region)
	}
	next, _, err := rollout.Apply(s, request, rollout.View{Now: time.Now()})
	if err != nil {
		return nil, err
	}
	write, err := writeOf(next, seq)
	if err != nil {
		return nil, err
	}
	states, err := w.Commit(ctx, act, moves, write)
	if err != nil {
		return nil, err
	}
	r.rollouts.keep(next, seq+1)
	return states, nil
}

// epochsOf returns a view with the epochs of pointers, in which no agent was counted.
func epochsOf(pointers map[string]record.Pointer) rollout.View {
	v := rollout.View{Now: time.Now(), Regions: map[string]rollout.Region{}}
	for region, p := range pointers {
		v.Regions[region] = rollout.Region{Epoch: p.Epoch}
	}
	return v
}
