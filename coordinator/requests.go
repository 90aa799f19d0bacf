package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/internal/ticks"
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
	// twoPersons says which rollouts wait for a second person.
	twoPersons *twoPersons
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

// launch is a request to start a rollout of a version, which may be stored in the same
// transaction.
type launch struct {
	config  string
	version record.Ref
	in      api.StartRollout
	by      string
	plan    rollout.Plan
	regions []string
	// added is the version to store; nil if it is stored.
	added *versionstore.SignedManifest
	// schema is the guard of the schema that the body of added was validated against.
	schema versionstore.Guard
}

// asksForPlan reports whether the request names a plan. Otherwise the default plan applies.
func (l launch) asksForPlan() bool { return l.in.Immediate || l.in.Plan != "" || l.in.PlanName != "" }

// start checks a request to start a rollout of a stored version, ends the rollout in progress,
// and commits the new rollout with the first moves.
func (r *requests) start(
	ctx context.Context,
	config string,
	in api.StartRollout,
	by string,
) (s rollout.State, err error) {
	if in.Version == 0 {
		return s, errNoVersion
	}
	version, err := r.ledger.Ref(ctx, config, in.Version)
	if err != nil {
		return s, err
	}
	l, err := r.plan(ctx, config, in, by)
	if err != nil {
		return s, err
	}
	l.version = version
	err = r.ledger.Update(func(w *ledger.Writer) error {
		s, err = r.launch(ctx, w, l)
		return err
	})
	return s, err
}

// plan checks the part of a request to start a rollout that no other writer changes: the plan
// and the regions. It may wait for the censuses of the regions.
func (r *requests) plan(ctx context.Context, config string, in api.StartRollout, by string) (launch, error) {
	l := launch{config: config, in: in, by: by}
	if err := checkMessage(in.Message); err != nil {
		return l, err
	}
	plan, err := r.plans.forRollout(ctx, config, in)
	if err != nil {
		return l, err
	}
	l.plan = plan
	l.regions, err = r.regionsFor(ctx, plan, in.Regions)
	return l, err
}

// ready is a launch that passed the checks, with everything to commit.
type ready struct {
	state   rollout.State
	seq     uint64 // of the config's rollout document
	changes ledger.Changes
}

// prepareLaunch makes the checks of a launch and decides the first step. It stores nothing. The
// caller must be in an update.
func (r *requests) prepareLaunch(ctx context.Context, l launch) (ready, error) {
	var out ready
	held, err := r.holds.permit(ctx, l.config, l.regions, false)
	if err != nil {
		return out, err
	}
	// The first pointers of the other rollouts in progress may be yet to come.
	if err := r.ledger.CheckRoom(ctx, l.config, l.regions, maxRollouts); err != nil {
		return out, err
	}
	needsTwo, rule, err := r.twoPersons.needs(ctx, l.config)
	if err != nil {
		return out, err
	}
	b, id, err := r.prepare(ctx, l.config, l.version.Version, l.regions, l.by)
	if err != nil {
		return out, err
	}
	agents := r.sizes.expected(ctx, l.config)
	s, err := rollout.Start(id, l.config, l.version, l.plan, b.pointers, agents, l.by, l.in.Message, time.Now())
	if err != nil {
		return out, err
	}
	if needsTwo {
		s.Wait(time.Now())
	}
	next, moves, _ := rollout.Decide(s, epochsOf(b.pointers), 0)
	out.state = next
	out.seq = b.seq
	out.changes = ledger.Changes{
		Moves:     append(b.back, moves...),
		Documents: b.archive,
		Guards:    []versionstore.Guard{held, rule},
	}
	return out, nil
}

// launch makes the checks of a launch and commits it. The caller must be in an update.
func (r *requests) launch(ctx context.Context, w *ledger.Writer, l launch) (rollout.State, error) {
	out, err := r.prepareLaunch(ctx, l)
	if err != nil {
		return out.state, err
	}
	act := ledger.Act{By: l.by, Why: l.in.Message, Config: l.config, What: newsOf(rollout.State{}, out.state)}
	if l.added != nil {
		out.changes.Versions = []versionstore.SignedManifest{*l.added}
		out.changes.Guards = append(out.changes.Guards, l.schema)
		act.What = fmt.Sprintf("version %d stored; %s", l.version.Version, act.What)
		act.Why = cmp.Or(act.Why, l.added.Manifest.Message)
	}
	return out.state, r.commit(ctx, w, act, out.state, out.seq, out.changes)
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
	changes ledger.Changes,
) error {
	if _, err := r.rollouts.commit(ctx, w, act, next, seq, changes); err != nil {
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
			Message: fmt.Sprintf("no coordinator of %s is connected: nothing would be known of the agents there",
				strings.Join(uncovered, ", ")),
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
	var missing []string
	for range ticks.FromNow(ctx, 100*time.Millisecond) {
		r.tracker.with(func(f *rollout.Tracker) {
			missing = slices.DeleteFunc(slices.Clone(regions), f.Covers)
		})
		if len(missing) == 0 {
			return nil
		}
	}
	return missing
}

// permittedInFreeze are the requests that a freeze allows.
var permittedInFreeze = []string{rollout.Abort, rollout.Undo, rollout.Pause}

// ask carries out a request on the newest rollout of config. If id is not 0, the newest
// rollout must have that number.
func (r *requests) ask(
	ctx context.Context,
	config string,
	request rollout.Request,
	id uint64,
) (next rollout.State, err error) {
	err = r.ledger.Update(func(w *ledger.Writer) error {
		s, _, err := newestRollout(ctx, r.ledger, config)
		if err != nil {
			return err
		}
		if id != 0 && s.ID != id {
			return &api.Error{
				Code:    api.CodeConflict,
				Message: fmt.Sprintf("the newest rollout of %s is %d, not %d", config, s.ID, id),
			}
		}
		next, err = r.carryOut(ctx, w, config, request)
		return err
	})
	return next, err
}

// carryOut carries out a request on the newest rollout of config. The caller must be in an
// update.
func (r *requests) carryOut(
	ctx context.Context,
	w *ledger.Writer,
	config string,
	request rollout.Request,
) (rollout.State, error) {
	s, seq, err := newestRollout(ctx, r.ledger, config)
	if err != nil {
		return s, err
	}
	back := slices.Contains(permittedInFreeze, request.What)
	held, err := r.holds.permit(ctx, config, slices.Collect(maps.Keys(s.Regions)), back)
	if err != nil {
		return s, err
	}
	s = r.rollouts.refresh(s)
	pointers, err := r.ledger.PointersOf(ctx, config, maps.Keys(s.Regions))
	if err != nil {
		return s, err
	}
	next, moves, err := rollout.Apply(s, request, epochsOf(pointers))
	if err != nil {
		return s, err
	}
	act := ledger.Act{
		By:     request.By,
		Why:    request.Message,
		What:   newsOf(s, next),
		Config: config,
		Back:   next.End == rollout.Aborted,
	}
	changes := ledger.Changes{Moves: moves, Guards: []versionstore.Guard{held}}
	return next, r.commit(ctx, w, act, next, seq, changes)
}

// moveByHand commits moves of config's pointers that no rollout decided. A rollout of config
// in progress lets go of the moved regions in the same transaction; of all regions, if ends is true.
func (r *requests) moveByHand(
	ctx context.Context,
	w *ledger.Writer,
	act ledger.Act,
	changes ledger.Changes,
	ends bool,
) ([]versionstore.PointerState, error) {
	s, seq, err := newestRollout(ctx, r.ledger, act.Config)
	if errors.Is(err, versionstore.ErrNotFound) || err == nil && s.Status.Over() {
		return w.Commit(ctx, act, changes)
	}
	if err != nil {
		return nil, err
	}
	request := rollout.Request{What: rollout.Leave, By: act.By}
	for _, p := range changes.Moves {
		request.Regions = append(request.Regions, p.Region)
	}
	if ends {
		request.Regions = slices.Sorted(maps.Keys(s.Regions))
	}
	next, _, err := rollout.Apply(s, request, rollout.View{Now: time.Now()})
	if err != nil {
		return nil, err
	}
	write, err := writeOf(next, seq)
	if err != nil {
		return nil, err
	}
	changes.Documents = append(changes.Documents, write)
	states, err := w.Commit(ctx, act, changes)
	if err != nil {
		return nil, err
	}
	r.rollouts.keep(next, seq+1)
	return states, nil
}

// epochsOf returns a view with pointers, in which no agent was counted.
func epochsOf(pointers map[string]record.Pointer) rollout.View {
	v := rollout.View{Now: time.Now(), Regions: map[string]rollout.Region{}}
	for region, p := range pointers {
		v.Regions[region] = rollout.Stored(p)
	}
	return v
}
