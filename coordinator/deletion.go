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
	out := &api.Deleted{Config: config}
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
		var moves []rollout.Move
		out.Regions, moves = decideDeletions(config, regions, pointers)
		if len(out.Regions) == 0 {
			return notFoundf("%s runs in none of these regions: there is nothing to delete", config)
		}
		return r.commitDeletions(ctx, w, ledger.Act{By: by, Why: in.Message, Config: config}, moves)
	})
	if err != nil {
		return nil, err
	}
	out.Pointers, err = r.pointersIn(ctx, config, regions)
	return out, err
}

// decideDeletions returns what a deletion does in each region in which the config ran, and the moves.
func decideDeletions(
	config string, regions []string, pointers map[string]record.Pointer,
) (decided []api.RegionDeleted, moves []rollout.Move) {
	for _, region := range regions {
		now := pointers[region]
		if now.Epoch == 0 {
			continue
		}
		d := api.RegionDeleted{Region: region, Version: now.Baseline.Version, Moved: !now.Deleted()}
		decided = append(decided, d)
		if d.Moved {
			moves = append(moves, deletionAt(config, region, now.Epoch+1))
		}
	}
	return decided, moves
}

// commitDeletions commits the moves of a deletion, if there are any.
func (r *requests) commitDeletions(ctx context.Context, w *ledger.Writer, act ledger.Act, moves []rollout.Move) error {
	if len(moves) == 0 {
		return nil
	}
	var regions []string
	for _, p := range moves {
		regions = append(regions, p.Region)
	}
	hint := "'banyan policy two-persons' lists the rules; two persons can end one"
	guards, err := r.permitAlone(ctx, act.Config, regions, hint)
	if err != nil {
		return err
	}
	act.What = "deleted in " + strings.Join(regions, ", ")
	_, err = w.Commit(ctx, act, ledger.Changes{Moves: moves, Guards: guards})
	return err
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
) ([]versionstore.Guard, error) {
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
	return []versionstore.Guard{held, rule}, nil
}
