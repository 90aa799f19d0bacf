package coordinator

import (
	"context"
	"maps"
	"slices"
	"time"

	"banyan/record"
	"banyan/rollout"
)

// sight is what a rollout saw at its last step, so that the next step looks only at what is new.
type sight struct {
	pointers map[string]record.Pointer // by region; nil if nothing was seen yet
	moves    uint64                    // of the config's pointers, when they were read
	regions  map[string]rollout.Region
	stale    map[string]struct{} // regions with news
	at       time.Duration       // when all regions were seen
}

// forget has the next step look at everything.
func (s *sight) forget() { *s = sight{} }

// outdate has the next step look at a region again.
func (s *sight) outdate(region string) {
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
	r.tell(h)
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

// tell passes news to the rollouts. The caller holds mu.
func (r *rollouts) tell(h heard) {
	for key := range h.pointers {
		if a := r.active[key.Config]; a != nil {
			a.sight.outdate(key.Region)
			a.due = true
		}
	}
	for _, a := range r.active {
		if h.all {
			a.sight.forget()
			a.due = true
		}
		for region := range h.regions {
			if a.driver.State().Regions[region] != nil {
				a.sight.outdate(region)
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

// again has a rollout look at everything in its next step.
func (r *rollouts) again(a *active) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.sight.forget()
	a.due = true
}

// view returns the view of the fleet for a rollout. The caller must be in an update.
func (r *rollouts) view(ctx context.Context, a *active) (rollout.View, error) {
	r.mu.Lock()
	s := a.driver.State()
	gates := a.gates
	seen := a.sight
	a.sight.stale = nil
	a.due = false
	r.mu.Unlock()
	v := rollout.View{Now: time.Now(), Uptime: r.clock(), Answers: gates.answers()}
	seen, err := r.see(ctx, s, seen)
	if err != nil {
		return v, err
	}
	r.mu.Lock()
	a.sight = seen
	r.mu.Unlock()
	v.Regions = seen.regions
	v.Places = func(region string) []uint32 { return r.places(s, region, seen.pointers[region]) }
	over, err := r.holds.on(ctx, s.Config, slices.Collect(maps.Keys(s.Regions)))
	if len(over) > 0 {
		v.Frozen = over[0].String()
	}
	return v, err
}

// see brings a sight up to date: the regions with news, or all of them if pointers have moved or the
// sight is old.
func (r *rollouts) see(ctx context.Context, s rollout.State, seen sight) (sight, error) {
	moves := r.ledger.Moves(s.Config)
	read := seen.pointers == nil || seen.moves != moves
	if read {
		pointers, err := r.ledger.PointersOf(ctx, s.Config, maps.Keys(s.Regions))
		if err != nil {
			return sight{}, err
		}
		seen.pointers = pointers
		seen.moves = moves
	}
	if read || r.clock()-seen.at >= viewAge {
		seen.regions = r.seen(s, seen.pointers)
		seen.stale = nil
		seen.at = r.clock()
		return seen, nil
	}
	fresh := map[string]record.Pointer{}
	for region := range seen.stale {
		if p, known := seen.pointers[region]; known {
			fresh[region] = p
		}
	}
	maps.Copy(seen.regions, r.seen(s, fresh))
	seen.stale = nil
	return seen, nil
}

// seen returns the view of a rollout's regions, given their pointers.
func (r *rollouts) seen(s rollout.State, pointers map[string]record.Pointer) map[string]rollout.Region {
	seen := map[string]rollout.Region{}
	r.tracker.with(func(f *rollout.Tracker) {
		for region, p := range pointers {
			seen[region] = f.Region(p, s.Regions[region].First(p))
		}
	})
	for region, out := range seen {
		out.Hosts = max(r.inventory.subscribers(region, s.Config), out.Placed)
		out.Unheard = out.Hosts - out.Placed
		seen[region] = out
	}
	return seen
}
