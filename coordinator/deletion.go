package coordinator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/record"
	"banyan/rollout"
	"banyan/versionstore"
)

// deleteConfig deletes config in the regions of a request, in one transaction. The versions stay in the
// store, and a rollback brings back what ran. A region in which the config never ran has nothing
// to delete.
func (r *requests) deleteConfig(ctx context.Context, config string, in api.Delete, by string) (*api.Deleted, error) {
	if _, err := r.ledger.Version(ctx, config, 0); err != nil {
		return nil, err
	}
	regions := slices.Compact(slices.Sorted(slices.Values(in.Regions)))
	out := &api.Deleted{Config: config, Regions: []api.RegionDeleted{}}
	err := r.ledger.Update(func(w *ledger.Writer) error {
		if err := r.checkEpochs(ctx, config, in.IfEpoch); err != nil {
			return err
		}
		if err := r.checkNoRollout(ctx, config); err != nil {
			return err
		}
		pointers, err := r.ledger.PointersOf(ctx, config, slices.Values(regions))
		if err != nil {
			return err
		}
		var changes ledger.Changes
		var moved []string
		for _, region := range regions {
			now := pointers[region]
			if now.Epoch == 0 {
				continue
			}
			done := api.RegionDeleted{Region: region, Version: now.Baseline.Version, Moved: !now.Deleted()}
			out.Regions = append(out.Regions, done)
			if done.Moved {
				changes.Moves = append(changes.Moves, deletionAt(config, region, now.Epoch+1))
				moved = append(moved, region)
			}
		}
		if len(out.Regions) == 0 {
			return &api.Error{
				Code:    api.CodeNotFound,
				Message: config + " runs in none of these regions: there is nothing to delete",
			}
		}
		if len(moved) == 0 {
			return nil
		}
		hint := "'banyan policy two-persons' lists the rules; two persons can end one"
		changes.Checks, err = r.permitAlone(ctx, config, moved, hint)
		if err != nil {
			return err
		}
		act := ledger.Act{By: by, Why: in.Message, What: "deleted in " + strings.Join(moved, ", "), Config: config}
		_, err = w.Commit(ctx, act, changes)
		return err
	})
	if err != nil {
		return nil, err
	}
	out.Pointers, err = r.pointersIn(ctx, config, regions)
	return out, err
}

// deletionAt returns the move that deletes a config in a region.
func deletionAt(config, region string, epoch uint64) rollout.Move {
	return rollout.Move{Config: config, Region: region, Epoch: epoch, Phase: record.PhaseDeleted}
}

// checkNoRollout refuses if a rollout of config is in progress.
func (r *requests) checkNoRollout(ctx context.Context, config string) error {
	s, _, err := newestRollout(ctx, r.ledger, config)
	if isNotFound(err) || err == nil && s.Status.Over() {
		return nil
	}
	if err != nil {
		return err
	}
	return &api.Error{
		Code:    api.CodeConflict,
		Message: fmt.Sprintf("rollout %d of %s, to version %d, is in progress", s.ID, config, s.Version),
		Hint:    "'banyan rollout abort " + config + "' first",
	}
}

// permitAlone refuses what one person does at once if a hold forbids it, or if config needs a second
// person. hint says what to do about the latter. It returns the conditions for the commit.
func (r *requests) permitAlone(
	ctx context.Context, config string, regions []string, hint string,
) ([]versionstore.DocumentCheck, error) {
	held, err := r.holds.permit(ctx, config, regions, false)
	if err != nil {
		return nil, err
	}
	needsTwo, rule, err := r.twoPersons.needs(ctx, config)
	if err != nil {
		return nil, err
	}
	if needsTwo {
		return nil, &api.Error{
			Code:    api.CodeRejected,
			Message: config + " needs a second person's approval",
			Hint:    hint,
		}
	}
	return []versionstore.DocumentCheck{held, rule}, nil
}
