package tree

import (
	"cmp"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// Candidate is a pointer with a candidate, whose wave a census counts.
type Candidate struct {
	Pointer *record.Pointer
	// Since is the epoch that brought the candidate.
	Since record.Position
}

// TakeCensus counts the agents under a root: all, by label, by subscriptions, and for
// each candidate those in the wave. At most wire.MaxWaves candidates are counted, in
// the given order.
func TakeCensus(now step.Time, p *Planner, q *Quarantine, candidates []Candidate) *wire.Census {
	p.expire(now)
	p.settleClones(now)
	c := &wire.Census{
		Agents:    uint32(p.Placed()),
		Labels:    p.countLabels(),
		Audiences: p.countAudiences(),
	}
	if err := c.SetPresent(p.countable(now)); err != nil {
		panic(err) // writing to memory does not fail
	}
	for _, key := range q.sorted() {
		entry := q.cases[key].Quarantined
		entry.Index = key.agent.index
		c.SetAudience(&entry, key.agent.Subscriptions)
		entry.Millis = uint64((now - q.cases[key].since) / 1e6)
		c.Quarantined = append(c.Quarantined, entry)
	}
	c.Waves = p.countWaves(q, candidates[:min(len(candidates), wire.MaxWaves)])
	return c
}

// countable returns the indices of the attached agents whose acknowledgements count: those without
// clones. The acknowledgement of a cloned agent does not say which instance runs the version.
func (p *Planner) countable(now step.Time) *roaring.Bitmap {
	var cloned []uint32
	for _, c := range p.doubles {
		if c.cloned(now) {
			cloned = append(cloned, c.index)
		}
	}
	if len(cloned) == 0 {
		return p.tally.present
	}
	present := p.tally.present.Clone()
	for _, index := range cloned {
		present.Remove(index)
	}
	return present
}

// countWaves counts the agents that each pointer with a candidate concerns. A pointer that was not
// counted before costs a look at every agent; after that the tally follows.
func (p *Planner) countWaves(q *Quarantine, candidates []Candidate) []wire.WaveSize {
	for _, w := range p.tally.waves {
		w.asked = false
	}
	var sizes []wire.WaveSize
	for _, candidate := range candidates {
		w := p.wave(candidate.Pointer)
		w.asked = true
		excused := wave{pointer: candidate.Pointer}
		q.countExcused(candidate, &excused)
		sizes = append(sizes, wire.WaveSize{
			Config:   candidate.Pointer.Config,
			Position: candidate.Pointer.Position(),
			Agents:   uint32(w.agents - excused.agents),
			InWave:   uint32(w.inWave - excused.inWave),
		})
	}
	for key, w := range p.tally.waves {
		if !w.asked {
			delete(p.tally.waves, key)
		}
	}
	return sizes
}

// wave returns the counts for a pointer.
func (p *Planner) wave(pointer *record.Pointer) *wave {
	key := waveKey{pointer.Config, pointer.Position()}
	w := p.tally.waves[key]
	if w == nil {
		w = &wave{pointer: pointer}
		for _, c := range p.places {
			if c.attached() {
				w.count(c, 1)
			}
		}
		p.tally.waves[key] = w
	}
	return w
}

// countLabels counts attached agents by label, "key=value". It returns the
// wire.MaxCensusLabels most frequent labels.
func (p *Planner) countLabels() map[string]uint32 {
	counts := make(map[string]uint32, len(p.tally.labels))
	for l, n := range p.tally.labels {
		counts[l.key+"="+l.value] = n
	}
	return mostFrequent(counts, wire.MaxCensusLabels)
}

// countAudiences counts attached agents by subscriptions. Agents that subscribe to
// everything are left out. So are all but the wire.MaxAudiences most frequent
// subscriptions, whose agents then count as subscribers of everything: a rollout waits
// in vain for some agents rather than for too few.
func (p *Planner) countAudiences() []wire.Audience {
	counts := make(map[string]uint32, len(p.tally.audiences))
	for s, n := range p.tally.audiences {
		counts[string(s)] = n
	}
	var all []wire.Audience
	for s, n := range mostFrequent(counts, wire.MaxAudiences) {
		all = append(all, wire.Audience{Subscriptions: wire.Subscriptions(s), Agents: n})
	}
	slices.SortFunc(all, func(a, b wire.Audience) int { return cmp.Compare(a.Subscriptions, b.Subscriptions) })
	return all
}

// mostFrequent removes all but the limit highest counts. Of equal counts, those with
// the lowest names stay.
func mostFrequent(counts map[string]uint32, limit int) map[string]uint32 {
	if len(counts) <= limit {
		return counts
	}
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, name := range names[limit:] {
		delete(counts, name)
	}
	return counts
}
