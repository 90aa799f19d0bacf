package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"time"

	"banyan/coordinator/api"
	"banyan/mesh/step"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// postRollout starts a rollout.
func (c *Coordinator) postRollout(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.StartRollout
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	s, err := c.startRollout(r.Context(), config, in, caller.Name)
	if err != nil {
		return nil, err
	}
	c.rollouts.awake()
	return c.describe(s), nil
}

// startRollout checks a request, ends the rollout that the new one supersedes, and commits
// the new one with its first moves.
func (c *Coordinator) startRollout(ctx context.Context, config string, in api.StartRollout, by string) (s rollout.State, err error) {
	if in.Version == 0 {
		return s, fmt.Errorf("%w: no version given", record.ErrInvalid)
	}
	if _, err := c.store.Version(ctx, config, in.Version); err != nil {
		return s, err
	}
	plan, err := c.planFor(ctx, config, in)
	if err != nil {
		return s, err
	}
	regions, err := c.regionsFor(ctx, plan, in.Regions)
	if err != nil {
		return s, err
	}
	if err := c.permit(ctx, config, regions, false); err != nil {
		return s, err
	}
	c.writes.Lock()
	defer c.writes.Unlock()
	pointers, err := c.pointersOf(ctx, config, slices.Values(regions))
	if err != nil {
		return s, err
	}
	old, seq, err := c.rolloutOf(ctx, config)
	if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
		return s, err
	}
	begin := beginning{seq: seq, pointers: pointers}
	if supersedes := seq > 0 && !old.Status.Over(); !supersedes && c.rollouts.count() >= maxRollouts {
		return s, &api.Error{Code: api.CodeUnavailable, Message: fmt.Sprintf("%d rollouts are under way, the limit", maxRollouts), Hint: "wait for some of them, or abort them"}
	}
	if seq > 0 {
		if err := c.replace(ctx, &begin, old, in.Version, regions, by); err != nil {
			return s, err
		}
	}
	if s, err = rollout.Start(old.ID+1, config, in.Version, plan, pointers, c.expected(ctx, config), by, in.Message, time.Now()); err != nil {
		return s, err
	}
	if c.needsTwo(config) {
		s.Wait(time.Now())
	}
	return c.begin(ctx, s, begin)
}

// beginning is what is written with the start of a rollout.
type beginning struct {
	seq      uint64
	pointers map[string]record.Pointer
	archive  []versionstore.DocumentWrite
	back     []rollout.Move // of regions that the new rollout does not reach
}

// begin commits a new rollout with its first moves.
func (c *Coordinator) begin(ctx context.Context, s rollout.State, b beginning) (rollout.State, error) {
	next, moves, _ := rollout.Decide(s, epochsOf(b.pointers), 0)
	return next, c.rollouts.commit(ctx, next, b.seq, append(b.back, moves...), b.archive...)
}

// regionsFor are the regions that a rollout reaches: those asked for, or of the plan, or all.
func (c *Coordinator) regionsFor(ctx context.Context, plan rollout.Plan, asked []string) ([]string, error) {
	if err := c.checkFleet(plan); err != nil {
		return nil, err
	}
	regions := asked
	if len(regions) == 0 {
		regions = slices.Concat(plan.Regions...)
	}
	if len(regions) == 0 {
		regions = c.Policy().Regions()
	}
	regions = slices.Compact(slices.Sorted(slices.Values(regions)))
	if err := c.checkRegions(regions); err != nil {
		return nil, err
	}
	if plan.Immediate {
		return regions, nil
	}
	if away := c.awayOf(ctx, regions); len(away) > 0 {
		return nil, &api.Error{Code: api.CodeRejected, Message: fmt.Sprintf("no coordinator of %v is connected: nothing would be known of the agents there", away),
			Hint: "name the other regions with --region, or move all with --immediate; a region that comes back takes up what its pointer says"}
	}
	return regions, nil
}

// awayOf are the regions of which no coordinator was heard of; one that has just restarted
// gives them a moment.
func (c *Coordinator) awayOf(ctx context.Context, regions []string) (away []string) {
	ctx, cancel := context.WithTimeout(ctx, coverWait)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		away = away[:0]
		c.tracker.with(func(f *rollout.Tracker) {
			for _, region := range regions {
				if !f.Covers(region) {
					away = append(away, region)
				}
			}
		})
		if len(away) == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return away
		}
	}
}

// coverWait is how long a region's coordinator is waited for.
const coverWait = 10 * time.Second

// pointersOf reads the pointers of regions; a region without one has the zero Pointer.
func (c *Coordinator) pointersOf(ctx context.Context, config string, regions iter.Seq[string]) (map[string]record.Pointer, error) {
	pointers := map[string]record.Pointer{}
	for region := range regions {
		p, err := c.store.Pointer(ctx, config, region)
		if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
			return nil, err
		}
		pointers[region] = p.Pointer
	}
	return pointers, nil
}

// epochsOf is a view that tells where pointers are, and nothing of agents.
func epochsOf(pointers map[string]record.Pointer) rollout.View {
	v := rollout.View{Now: time.Now(), Regions: map[string]rollout.Region{}}
	for region, p := range pointers {
		v.Regions[region] = rollout.Region{Epoch: p.Epoch}
	}
	return v
}

// replace archives the config's last rollout. If that is under way, a newer version
// supersedes it: its candidate is withdrawn, and the regions' baselines are what they were
// before it.
func (c *Coordinator) replace(ctx context.Context, b *beginning, old rollout.State, version uint64, regions []string, by string) (err error) {
	if !old.Status.Over() {
		if version <= old.Version {
			return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("rollout %d of version %d, started by %s, is under way (%s); version %d is not newer", old.ID, old.Version, old.By, old.Title(), version),
				Hint: "abort it first: banyan rollout abort " + old.Config}
		}
		now, err := c.pointersOf(ctx, old.Config, maps.Keys(old.Regions))
		if err != nil {
			return err
		}
		for region, r := range old.Regions {
			if p, taken := b.pointers[region]; taken && r.Began != 0 && !r.Left {
				p.Baseline = r.Baseline
				b.pointers[region] = p
			}
		}
		request := rollout.Request{What: rollout.Supersede, By: fmt.Sprintf("by %s with version %d", by, version), Regions: regions}
		if old, b.back, err = rollout.Apply(old, request, epochsOf(now)); err != nil {
			return err
		}
	}
	if b.archive, err = archive(old); err != nil {
		return err
	}
	if old.ID <= keptHistory {
		return nil
	}
	stale, err := c.store.Document(ctx, kindHistory, historyName(old.Config, old.ID-keptHistory))
	if err == nil {
		b.archive = append(b.archive, versionstore.DocumentWrite{Kind: kindHistory, Name: stale.Name, IfSeq: stale.Seq})
	} else if errors.Is(err, versionstore.ErrNotFound) {
		err = nil
	}
	return err
}

// postRolloutRequest is what a person asks of a rollout.
func (c *Coordinator) postRolloutRequest(r *http.Request, caller identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	var in api.RolloutRequest
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	what := r.PathValue("request")
	if !slices.Contains([]string{rollout.Pause, rollout.Resume, rollout.Promote, rollout.Abort, rollout.Undo, rollout.Approve}, what) {
		return nil, fmt.Errorf("%w: a rollout can't be asked for %q", record.ErrInvalid, what)
	}
	back := what == rollout.Abort || what == rollout.Undo || what == rollout.Pause
	if err := c.permit(r.Context(), config, c.Policy().Regions(), back); err != nil {
		return nil, err
	}
	s, err := c.askRollout(r.Context(), config, rollout.Request{What: what, By: caller.Name, Message: in.Message, Full: in.Full}, in.IfRollout)
	if err != nil {
		return nil, err
	}
	return c.describe(s), nil
}

// askRollout carries a request out, if the newest rollout is the one meant; 0: whichever.
func (c *Coordinator) askRollout(ctx context.Context, config string, request rollout.Request, id uint64) (rollout.State, error) {
	c.writes.Lock()
	defer c.writes.Unlock()
	s, seq, err := c.rolloutOf(ctx, config)
	if err != nil {
		return s, err
	}
	if id != 0 && s.ID != id {
		return s, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the newest rollout of %s is %d, not %d", config, s.ID, id)}
	}
	c.rollouts.refresh(&s) // with the time spent since the last checkpoint
	pointers, err := c.pointersOf(ctx, config, maps.Keys(s.Regions))
	if err != nil {
		return s, err
	}
	next, moves, err := rollout.Apply(s, request, epochsOf(pointers))
	if err != nil {
		return s, err
	}
	if err := c.rollouts.commit(ctx, next, seq, moves); err != nil {
		return s, err
	}
	c.rollouts.awake()
	return next, nil
}

// refresh replaces a stored state by what is in memory of the same rollout.
func (r *rollouts) refresh(s *rollout.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.active[s.Config]; a != nil && a.state.ID == s.ID {
		*s = a.state
	}
}

// describe adds to a rollout what is seen of the fleet.
func (c *Coordinator) describe(s rollout.State) api.Rollout {
	c.rollouts.refresh(&s)
	out := api.Rollout{State: s, Title: s.Title(), Seen: map[string]rollout.Region{}}
	if s.Status.Over() {
		return out
	}
	for region, r := range s.Regions {
		p, err := c.store.Pointer(context.Background(), s.Config, region)
		if err != nil {
			continue
		}
		c.tracker.with(func(f *rollout.Tracker) { out.Seen[region] = f.Region(p.Pointer, r.Began) })
	}
	return out
}

func (c *Coordinator) getRollout(r *http.Request, _ identity.Identity) (any, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	s, _, err := c.rolloutOf(r.Context(), config)
	if err != nil {
		return nil, err
	}
	return c.describe(s), nil
}

// getRollouts lists the newest rollout of every config, or all of one, newest first.
func (c *Coordinator) getRollouts(r *http.Request, _ identity.Identity) (any, error) {
	config := r.PathValue("config")
	documents, err := c.store.List(r.Context(), kindRollout, config, 0)
	if err != nil {
		return nil, err
	}
	if config != "" {
		if err := record.ValidateConfig(config); err != nil {
			return nil, err
		}
		documents = slices.DeleteFunc(documents, func(d versionstore.Document) bool { return d.Name != config })
		history, err := c.store.List(r.Context(), kindHistory, config+" ", 0)
		if err != nil {
			return nil, err
		}
		slices.Reverse(history)
		documents = append(documents, history...)
	}
	rollouts := []api.Rollout{}
	for _, d := range documents {
		var s rollout.State
		if err := json.Unmarshal(d.Raw, &s); err != nil {
			return nil, fmt.Errorf("rollout of %s: %w", d.Name, err)
		}
		rollouts = append(rollouts, c.describe(s))
	}
	return map[string]any{"rollouts": rollouts}, nil
}

func (c *Coordinator) getQuarantine(*http.Request, identity.Identity) (any, error) {
	agents := []api.Quarantined{}
	c.tracker.with(func(f *rollout.Tracker) { agents = append(agents, f.Quarantined()...) })
	return map[string]any{"agents": agents}, nil
}

// deleteQuarantine releases an agent of this coordinator's own tree.
func (c *Coordinator) deleteQuarantine(r *http.Request, caller identity.Identity) (any, error) {
	name := r.PathValue("agent")
	var found *api.Quarantined
	c.tracker.with(func(f *rollout.Tracker) {
		all := f.Quarantined()
		if i := slices.IndexFunc(all, func(q api.Quarantined) bool { return q.Name == name }); i >= 0 {
			found = &all[i]
		}
	})
	switch {
	case found == nil:
		return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("agent %q is not in quarantine here", name)}
	case found.Region != c.region:
		return nil, &api.Error{Code: api.CodeRejected, Message: fmt.Sprintf("agent %s is of region %s, and this coordinator of %s", name, found.Region, c.region),
			Hint: "ask the coordinator of that region, with --coordinator"}
	}
	c.log.Info("released by hand", "agent", name, "by", caller.Name)
	c.driver.Input(r.Context(), step.Input{Kind: step.InRelease, Name: name})
	return nil, nil
}

func (c *Coordinator) getDrift(*http.Request, identity.Identity) (any, error) {
	return map[string]any{"drifts": c.tracker.drifts()}, nil
}
