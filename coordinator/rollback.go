package coordinator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/record"
	"banyan/rollout"
	"banyan/rollout/activation"
	"banyan/versionstore"
)

// regionBack is the decision about a region in a rollback.
type regionBack struct {
	region string
	now    record.Pointer
	// from is the version that is taken back, and to is the version that the region runs after
	// the rollback.
	from, to record.Ref
	moves    bool
	// why is the reason for which the pointer does not move.
	why     string
	ran     *activation.Entry
	skipped []activation.Entry
	// elsewhere reports whether a version ran well in another region.
	elsewhere func(record.Ref) bool
	// refused is the reason for which the region can't go back; nil otherwise.
	refused *api.Error
}

// decideBack decides where a region goes back to. log says what ran in the region. elsewhere
// reports whether a version ran well in another region; it counts for a region in which no host
// ran anything before.
func decideBack(
	now record.Pointer, log activation.Log, elsewhere func(record.Ref) bool, in api.Rollback,
) regionBack {
	d := regionBack{region: now.Region, now: now, from: now.Candidate, to: now.Baseline, elsewhere: elsewhere}
	if now.Candidate.IsZero() || in.From == now.Baseline.Version {
		d.from = now.Baseline
	}
	switch {
	case now.Deleted() && in.To == 0:
		d.undelete(log)
	case in.From != 0 && in.From != now.Baseline.Version && in.From != now.Candidate.Version:
		d.why = fmt.Sprintf("version %d runs, not %d", now.Baseline.Version, in.From)
	case in.To != 0:
		d.named(log, in.To)
	case !now.Candidate.IsZero() && in.From != now.Baseline.Version:
		d.withdraw(log)
	default:
		d.before(log, in.From != 0)
	}
	return d
}

// withdraw takes the candidate back: the region runs its baseline. A region without a baseline
// keeps a candidate that no host runs after the candidate was taken back.
func (d *regionBack) withdraw(log activation.Log) {
	bad, back := log.Back()
	switch {
	case !d.now.Baseline.IsZero():
		d.moves = true
	case back:
		d.to = record.Ref{}
		d.why = fmt.Sprintf("already back: nothing runs, since version %d was %s at %s%s",
			bad.Version, bad, clock(bad.Until), because(bad.EndedWhy))
	default:
		d.refuse("no version ran there before", "'banyan rollout abort "+d.now.Config+
			"' takes a first version back while its rollout goes on; else publish a version that is right")
	}
}

// named goes back to the version to, which must have run well.
func (d *regionBack) named(log activation.Log, to uint64) {
	if to == d.now.Baseline.Version {
		d.moves = !d.now.Candidate.IsZero()
		d.why = fmt.Sprintf("version %d runs already", to)
		return
	}
	hint := fmt.Sprintf("bringing it live is a rollout, with its waves and gates: banyan rollout start %s %d --region %s",
		d.now.Config, to, d.region)
	last, tried := log.Last(to)
	switch {
	case tried && last.Bad():
		d.refuse(fmt.Sprintf("version %d was %s at %s%s", to, last, clock(last.Until), because(last.EndedWhy)), hint)
	case !tried || !last.Live():
		d.refuse(fmt.Sprintf("version %d was never live there", to), hint)
	case !last.Ran && !d.elsewhere(last.Ref()):
		d.refuse(fmt.Sprintf("no host is known to have run version %d", to), hint)
	default:
		d.to = last.Ref()
		d.moves = true
		d.ran = &last
	}
}

// before goes back to the version that ran last and well. A region that came back already stays
// as it is, unless the request named the version to leave.
func (d *regionBack) before(log activation.Log, insist bool) {
	if d.now.Baseline.IsZero() {
		d.refuse("nothing runs there", "")
		return
	}
	bad, back := log.Back()
	if back && !insist {
		d.why = fmt.Sprintf("already back: version %d runs, since version %d was %s at %s%s; "+
			"to leave version %d, too: banyan rollback %s --from %d",
			d.now.Baseline.Version, bad.Version, bad, clock(bad.Until), because(bad.EndedWhy),
			d.now.Baseline.Version, d.now.Config, d.now.Baseline.Version)
		return
	}
	to, skipped, ok := log.Before()
	if !ok {
		to, skipped, ok = log.BeforeAs(d.elsewhere)
	}
	d.skipped = skipped
	if !ok {
		d.refuse(fmt.Sprintf("version %d is live there, and no version before it is known to have run well on a host",
			d.now.Baseline.Version),
			"publish a version that is right, or pause with 'banyan freeze'")
		return
	}
	d.to = to.Ref()
	d.moves = true
	d.ran = &to
}

// undelete goes back to the version that ran when the config was deleted.
func (d *regionBack) undelete(log activation.Log) {
	last, ok := log.Deleted()
	if !ok {
		d.refuse("it is deleted, and no version ran there before", "publish it again")
		return
	}
	d.to = last.Ref()
	d.moves = true
	d.ran = &last
}

func (d *regionBack) refuse(why, hint string) {
	message := fmt.Sprintf("%s can't be rolled back in region %s: %s", d.now.Config, d.region, why)
	d.refused = &api.Error{Code: api.CodeRejected, Message: message, Hint: hint}
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

// rollback takes regions of config back in one transaction. A rollout in progress is taken back as a
// whole, unless another writer has moved its pointers: then the rollout does not know what runs, so
// each region is decided by its pointer, and the rollout ends.
//
// A rollback is never a way around the rules of a rollout: it only goes to versions that ran
// well in the region. So it needs no second person and passes a freeze. A lock stops it.
func (r *requests) rollback(ctx context.Context, config string, in api.Rollback, by string) (*api.RolledBack, error) {
	if _, err := r.ledger.Version(ctx, config, 0); err != nil {
		return nil, err
	}
	var out *api.RolledBack
	err := r.ledger.Update(func(w *ledger.Writer) error {
		pointers, err := r.ledger.PointersOf(ctx, config, slices.Values(r.policy.Regions()))
		if err != nil {
			return err
		}
		if err := r.checkEpochs(ctx, config, in.IfEpoch); err != nil {
			return err
		}
		whole, err := r.abortOf(ctx, config, in)
		if err != nil {
			return err
		}
		lost := whole != nil && len(whole.Lost(epochsOf(pointers))) > 0
		if whole != nil && !lost {
			out, err = r.rollbackRollout(ctx, w, *whole, in, by, pointers)
			return err
		}
		decisions, err := r.decideBacks(ctx, config, in, pointers)
		if err != nil {
			return err
		}
		act := ledger.Act{By: by, Why: in.Message, Config: config, Back: true}
		out, err = r.commitBacks(ctx, w, act, decisions, lost)
		return err
	})
	return out, err
}

// checkEpochs returns a conflict if the pointer of a region is not where the request expects it.
func (r *requests) checkEpochs(ctx context.Context, config string, ifEpoch map[string]uint64) error {
	for _, region := range slices.Sorted(maps.Keys(ifEpoch)) {
		now, err := r.ledger.Pointer(ctx, config, region)
		if err != nil {
			return err
		}
		if err := checkEpoch(now, config, region, ifEpoch); err != nil {
			return err
		}
	}
	return nil
}

// abortOf returns the rollout in progress that a rollback takes back as a whole; nil if there
// is none. A rollout that has moved no pointer is left alone: what runs is older than it.
func (r *requests) abortOf(ctx context.Context, config string, in api.Rollback) (*rollout.State, error) {
	if in.To != 0 || len(in.Regions) > 0 {
		return nil, nil
	}
	s, _, err := newestRollout(ctx, r.ledger, config)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if s.Status.Over() || in.From != 0 && in.From != s.Version || !s.Moved() {
		return nil, nil
	}
	return &s, nil
}

// rollbackRollout takes a rollout in progress back. A rollout that is being taken back already
// stays as it is.
func (r *requests) rollbackRollout(
	ctx context.Context,
	w *ledger.Writer,
	s rollout.State,
	in api.Rollback,
	by string,
	pointers map[string]record.Pointer,
) (*api.RolledBack, error) {
	out := &api.RolledBack{Config: s.Config}
	moved := s.Status != rollout.Returning
	if moved {
		request := rollout.Request{What: rollout.Abort, By: by, Message: in.Message}
		next, err := r.carryOut(ctx, w, s.Config, request)
		if err != nil {
			return nil, err
		}
		s = next
	}
	for _, region := range slices.Sorted(maps.Keys(s.Regions)) {
		state := s.Regions[region]
		if state.Began == 0 {
			continue
		}
		if state.Left {
			out.Regions = append(out.Regions, leftAlone(s, region, pointers[region]))
			continue
		}
		back := api.RegionBack{Region: region, From: s.Version, To: state.Baseline.Version, Moved: moved}
		if !moved {
			back.Why = fmt.Sprintf("already on its way back from version %d: %s", s.Version, s.Why)
		}
		out.Regions = append(out.Regions, back)
	}
	return out, r.addPointers(ctx, out)
}

// leftAlone is the outcome of a rollback of the rollout s in a region that a person took out of s.
func leftAlone(s rollout.State, region string, now record.Pointer) api.RegionBack {
	return api.RegionBack{
		Region: region,
		From:   now.Baseline.Version,
		To:     now.Baseline.Version,
		Why: fmt.Sprintf("the region was moved by hand during rollout %d; to take it back, too: "+
			"banyan rollback %s --region %s", s.ID, s.Config, region),
	}
}

// decideBacks decides about each region of a rollback. A region that can't go back is an error
// if the request names the region or a version, or if no region can go back.
func (r *requests) decideBacks(
	ctx context.Context,
	config string,
	in api.Rollback,
	pointers map[string]record.Pointer,
) ([]regionBack, error) {
	regions := slices.Compact(slices.Sorted(slices.Values(in.Regions)))
	if len(regions) == 0 {
		for region, p := range pointers {
			if !p.Baseline.IsZero() || !p.Candidate.IsZero() || p.Deleted() {
				regions = append(regions, region)
			}
		}
		slices.Sort(regions)
	}
	if len(regions) == 0 {
		return nil, &api.Error{
			Code:    api.CodeNotFound,
			Message: config + " runs in no region: there is nothing to roll back",
		}
	}
	if err := r.checkRegions(regions); err != nil {
		return nil, err
	}
	logs, err := r.activations(ctx, config, regions)
	if err != nil {
		return nil, err
	}
	ran := func(version record.Ref) bool {
		for _, log := range logs {
			if log.RanWell(version) {
				return true
			}
		}
		return false
	}
	var decisions []regionBack
	var refused *api.Error
	able := 0
	for _, region := range regions {
		now := pointers[region]
		now.Config = config
		now.Region = region
		d := decideBack(now, logs[region], ran, in)
		decisions = append(decisions, d)
		if d.refused == nil {
			able++
		} else if refused == nil {
			refused = d.refused
		}
	}
	if refused != nil && (in.To != 0 || len(in.Regions) > 0 || able == 0) {
		return nil, refused
	}
	return decisions, nil
}

// activations returns what ran of config, by region. Only the logs of needed must be readable.
func (r *requests) activations(
	ctx context.Context, config string, needed []string,
) (map[string]activation.Log, error) {
	logs := map[string]activation.Log{}
	for _, region := range r.policy.Regions() {
		log, err := r.ledger.Activations(ctx, config, region)
		if err != nil && slices.Contains(needed, region) {
			return nil, err
		}
		logs[region] = log
	}
	return logs, nil
}

// commitBacks commits the decisions about the regions of a rollback. If ends is true, the rollout in
// progress ends.
func (r *requests) commitBacks(
	ctx context.Context,
	w *ledger.Writer,
	act ledger.Act,
	decisions []regionBack,
	ends bool,
) (*api.RolledBack, error) {
	out := &api.RolledBack{Config: act.Config}
	var changes ledger.Changes
	var regions, what []string
	for _, d := range decisions {
		out.Regions = append(out.Regions, apiRegionBack(d))
		regions = append(regions, d.region)
		if d.moves {
			changes.Moves = append(changes.Moves, activeAt(act.Config, d.region, d.now.Epoch+1, d.to))
			what = append(what, d.String())
		}
	}
	held, err := r.holds.permit(ctx, act.Config, regions, true)
	if err != nil {
		return nil, err
	}
	if len(changes.Moves) > 0 {
		changes.Guards = []versionstore.Guard{held}
		act.What = "rolled back " + strings.Join(what, ", ")
		if _, err := r.moveByHand(ctx, w, act, changes, ends); err != nil {
			return nil, err
		}
	}
	return out, r.addPointers(ctx, out)
}

// String describes the move, for the journal.
func (d regionBack) String() string {
	if d.now.Deleted() {
		return fmt.Sprintf("%s from the deletion to version %d", d.region, d.to.Version)
	}
	return fmt.Sprintf("%s from version %d to version %d", d.region, d.from.Version, d.to.Version)
}

// addPointers adds the present pointers of the regions to the answer of a rollback.
func (r *requests) addPointers(ctx context.Context, out *api.RolledBack) error {
	var regions []string
	for _, back := range out.Regions {
		regions = append(regions, back.Region)
	}
	var err error
	out.Pointers, err = r.pointersIn(ctx, out.Config, regions)
	return err
}

// pointersIn returns the pointers of config in regions, without those that there are not.
func (r *requests) pointersIn(ctx context.Context, config string, regions []string) ([]api.Pointer, error) {
	pointers := []api.Pointer{}
	for _, region := range regions {
		p, err := r.ledger.Pointer(ctx, config, region)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		pointers = append(pointers, apiPointer(p))
	}
	return pointers, nil
}
