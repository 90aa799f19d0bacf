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
	p.settleClones(now)
	c := &wire.Census{
		Agents:    uint32(p.Placed()),
		Labels:    p.countLabels(),
		Audiences: p.countAudiences(),
	}
	present := roaring.New()
	for index, a := range p.places {
		if a.attached() && !a.cloned(now) { // nobody knows for which instance a clone speaks
			present.Add(index)
		}
	}
	if err := c.SetPresent(present); err != nil {
		panic(err) // writing to memory does not fail
	}
	for _, key := range q.sorted() {
		entry := q.cases[key].Quarantined
		c.SetAudience(&entry, p.places[key.index].Subscriptions)
		entry.Millis = uint64((now - q.cases[key].since) / 1e6)
		c.Quarantined = append(c.Quarantined, entry)
	}
	for _, candidate := range candidates[:min(len(candidates), wire.MaxWaves)] {
		c.Waves = append(c.Waves, waveSize(p, q, candidate))
	}
	return c
}

// waveSize counts the agents that a pointer with a candidate concerns.
func waveSize(p *Planner, q *Quarantine, candidate Candidate) wire.WaveSize {
	pointer := candidate.Pointer
	size := wire.WaveSize{Config: pointer.Config, Position: pointer.Position()}
	for _, a := range p.places {
		subscribed := a.attached() && a.Subscriptions.Include(pointer.Config)
		if !subscribed || q.excuses(a.index, pointer.Config, candidate.Since) {
			continue
		}
		size.Agents++
		if pointer.Wave.Covers(pointer.Config, a.name, a.Labels) {
			size.InWave++
		}
	}
	return size
}

// countLabels counts attached agents by label, "key=value". It returns the
// wire.MaxCensusLabels most frequent labels.
func (p *Planner) countLabels() map[string]uint32 {
	counts := map[string]uint32{}
	for _, a := range p.places {
		if !a.attached() {
			continue
		}
		for key, value := range a.Labels {
			counts[key+"="+value]++
		}
	}
	return mostFrequent(counts, wire.MaxCensusLabels)
}

// countAudiences counts attached agents by subscriptions. Agents that subscribe to
// everything are left out. So are all but the wire.MaxAudiences most frequent
// subscriptions, whose agents then count as subscribers of everything: a rollout waits
// in vain for some agents rather than for too few.
func (p *Planner) countAudiences() []wire.Audience {
	counts := map[string]uint32{}
	for _, a := range p.places {
		if a.attached() && a.Subscriptions != "" {
			counts[string(a.Subscriptions)]++
		}
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
