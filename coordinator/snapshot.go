package coordinator

import (
	"context"
	"maps"
	"slices"
	"time"

	"banyan/record"
	"banyan/rollout"
)

// snapshot is the state of the fleet that a rollout judged at its last step. The next step reads only
// what has changed since.
type snapshot struct {
	pointers map[string]record.Pointer // by region; nil if nothing was read yet
	moves    uint64                    // ledger.Moves of the config when the pointers were read
	regions  map[string]rollout.Region
	stale    map[string]struct{} // regions that have changed since
	at       time.Duration       // when all regions were counted
}

// reset has the next step read everything.
func (s *snapshot) reset() { *s = snapshot{} }

// markStale has the next step count a region again.
func (s *snapshot) markStale(region string) {
	if s.stale == nil {
		s.stale = map[string]struct{}{}
	}
	s.stale[region] = struct{}{}
}

// turns returns the configs whose rollouts take a step now: those with news, and in each rollout.Tick
// at most quietSteps others, in turn. The time spent in a part is measured at a step, so the end of
// a bake is noticed with that delay.
func (r *rollouts) turns(h heard) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.markDue(h)
	var due, quiet []string
	for _, config := range slices.Sorted(maps.Keys(r.active)) {
		if r.active[config].due {
			due = append(due, config)
		} else {
			quiet = append(quiet, config)
		}
	}
	now := r.clock()
	if now-r.swept < rollout.Tick || len(quiet) == 0 {
		return due
	}
	r.swept = now
	next, found := slices.BinarySearch(quiet, r.last)
	if found {
		next++
	}
	quiet = slices.Concat(quiet[next:], quiet[:next])
	quiet = quiet[:min(quietSteps, len(quiet))]
	r.last = quiet[len(quiet)-1]
	return append(due, quiet...)
}

// markDue marks the rollouts that the news concerns as due, and what it concerns as stale. The caller holds mu.
func (r *rollouts) markDue(h heard) {
	for key := range h.pointers {
		if a := r.active[key.Config]; a != nil {
			a.snapshot.markStale(key.Region)
			a.due = true
		}
	}
	for _, a := range r.active {
		if h.all {
			a.snapshot.reset()
			a.due = true
		}
		for region := range h.regions {
			if a.driver.State().Regions[region] != nil {
				a.snapshot.markStale(region)
				a.due = true
			}
		}
	}
	for config := range h.configs {
		if a := r.active[config]; a != nil {
			a.due = true
		}
	}
}

// again has a rollout read everything in its next step.
func (r *rollouts) again(a *active) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.snapshot.reset()
	a.due = true
}

// view returns the view of the fleet for a rollout, and keeps it as the rollout's snapshot. The caller must be
// in an update of the ledger, so that nobody else replaces the snapshot meanwhile.
func (r *rollouts) view(ctx context.Context, a *active) (rollout.View, error) {
	r.mu.Lock()
	s := a.driver.State()
	gates := a.gates
	last := a.snapshot
	a.snapshot.stale = nil
	a.due = false
	r.mu.Unlock()
	v := rollout.View{Now: time.Now(), Uptime: r.clock(), Answers: gates.answers()}
	fresh, err := r.update(ctx, s, last)
	if err != nil {
		return v, err
	}
	r.mu.Lock()
	a.snapshot = fresh
	r.mu.Unlock()
	v.Regions = fresh.regions
	v.Places = func(region string) []uint32 { return r.places(s, region, fresh.pointers[region]) }
	over, err := r.holds.on(ctx, s.Config, slices.Collect(maps.Keys(s.Regions)))
	if len(over) > 0 {
		v.Frozen = over[0].String()
	}
	return v, err
}

// update returns the snapshot last, brought up to date: the hosts of the stale regions are counted again, or
// those of all regions if pointers have moved or the last count of all regions is older than viewAge.
func (r *rollouts) update(ctx context.Context, s rollout.State, last snapshot) (snapshot, error) {
	moves := r.ledger.Moves(s.Config)
	read := last.pointers == nil || last.moves != moves
	if read {
		pointers, err := r.ledger.PointersOf(ctx, s.Config, maps.Keys(s.Regions))
		if err != nil {
			return snapshot{}, err
		}
		last.pointers = pointers
		last.moves = moves
	}
	if read || r.clock()-last.at >= viewAge {
		last.regions = r.countHosts(s, last.pointers)
		last.stale = nil
		last.at = r.clock()
		return last, nil
	}
	stale := map[string]record.Pointer{}
	for region := range last.stale {
		if p, known := last.pointers[region]; known {
			stale[region] = p
		}
	}
	maps.Copy(last.regions, r.countHosts(s, stale))
	last.stale = nil
	return last, nil
}

// countHosts counts the hosts of regions of a rollout. pointers has the pointer of each of these regions.
func (r *rollouts) countHosts(s rollout.State, pointers map[string]record.Pointer) map[string]rollout.Region {
	counts := map[string]rollout.Region{}
	r.tracker.with(func(f *rollout.Tracker) {
		for region, p := range pointers {
			counts[region] = f.Region(p, s.Regions[region].First(p))
		}
	})
	for region, out := range counts {
		out.Hosts = max(r.inventory.subscribers(region, s.Config), out.Placed)
		out.Unheard = out.Hosts - out.Placed
		counts[region] = out
	}
	return counts
}
