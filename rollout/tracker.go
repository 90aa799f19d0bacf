package rollout

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/mesh"
	"banyan/mesh/wire"
	"banyan/record"
)

// Tracker is what a leader knows of who has applied what: of each pointer the
// acknowledgements of its newest epoch, and of each coordinator its newest census. It is
// not safe for concurrent use.
type Tracker struct {
	acks   map[record.PointerKey]*wire.AckEntry
	census map[string]counted // by coordinator
	placed map[string]under   // likewise
}

// under is how many agents are under a coordinator of a region.
type under struct {
	region string
	agents int
}

// counted is a coordinator's census.
type counted struct {
	region string
	*wire.Census
	at time.Time
}

// NewTracker makes a tracker that knows nothing.
func NewTracker() *Tracker {
	return &Tracker{acks: map[record.PointerKey]*wire.AckEntry{}, census: map[string]counted{}, placed: map[string]under{}}
}

// Moved starts to count for a pointer's new epoch.
func (t *Tracker) Moved(p record.Pointer) { t.at(p.Key(), p.Epoch) }

// at returns the entry of an epoch, or nil if a newer one is counted.
func (t *Tracker) at(k record.PointerKey, epoch uint64) *wire.AckEntry {
	e := t.acks[k]
	if e == nil || e.Epoch < epoch {
		e = wire.NewAckEntry(k, epoch)
		t.acks[k] = e
	}
	if e.Epoch > epoch {
		return nil
	}
	return e
}

// Acked adds acknowledgements; those of older epochs are of no use.
func (t *Tracker) Acked(entry *wire.AckEntry) {
	k := entry.Key()
	if len(t.acks) >= mesh.MaxConfigs && t.acks[k] == nil {
		return
	}
	if e := t.at(k, entry.Epoch); e != nil {
		e.Merge(entry)
	}
}

// Acks returns what was acknowledged of a pointer's epoch; nil if nothing was.
func (t *Tracker) Acks(config, region string, epoch uint64) *wire.AckEntry {
	if e := t.acks[record.PointerKey{Config: config, Region: region}]; e != nil && e.Epoch == epoch {
		return e
	}
	return nil
}

// Counted takes a coordinator's newest census.
func (t *Tracker) Counted(coordinator, region string, c *wire.Census, at time.Time) {
	t.census[coordinator] = counted{region, c, at}
	t.placed[coordinator] = under{region, int(c.Agents)}
}

// Placed corrects the number of agents that Sizes tells of, until the coordinator's next
// census. A rollout's arithmetic is of one census, whose counts belong together.
func (t *Tracker) Placed(coordinator, region string, n int) { t.placed[coordinator] = under{region, n} }

// Expire forgets coordinators that were not heard of since a time: their agents are with
// others by then, or nothing is known of them.
func (t *Tracker) Expire(before time.Time) {
	for name, c := range t.census {
		if c.at.Before(before) {
			delete(t.census, name)
			delete(t.placed, name)
		}
	}
}

// Covers tells whether any coordinator of a region was heard of.
func (t *Tracker) Covers(region string) bool {
	for _, c := range t.census {
		if c.region == region {
			return true
		}
	}
	return false
}

// Labels counts the agents that carry each label, as "key=value".
func (t *Tracker) Labels() map[string]int {
	labels := map[string]int{}
	for _, c := range t.census {
		for label, n := range c.Labels {
			labels[label] += int(n)
		}
	}
	return labels
}

// Quarantined is an agent in quarantine, and where.
type Quarantined struct {
	wire.Quarantined
	Region string    `json:"region"`
	Since  time.Time `json:"since"`
}

// Quarantined lists the agents in quarantine, by name.
func (t *Tracker) Quarantined() []Quarantined {
	var all []Quarantined
	for _, c := range t.census {
		for _, q := range c.Census.Quarantined {
			all = append(all, Quarantined{q, c.region, c.at.Add(-time.Duration(q.Millis) * time.Millisecond)})
		}
	}
	slices.SortFunc(all, func(a, b Quarantined) int {
		return strings.Compare(a.Name+"\x00"+a.Config, b.Name+"\x00"+b.Config)
	})
	return all
}

// Region tells what is seen of a pointer, for a rollout whose first epoch in that region
// was began; 0 if it has none yet.
func (t *Tracker) Region(p record.Pointer, began uint64) Region {
	r := Region{Epoch: p.Epoch}
	excused := t.excused(p.Config, p.Region, began)
	r.Agents, r.InWave, r.Known = t.size(p, excused)
	for _, c := range t.census {
		if c.region == p.Region {
			r.Placed += c.Subscribers(p.Config)
		}
	}
	e := t.Acks(p.Config, p.Region, p.Epoch)
	if e == nil {
		return r
	}
	r.Applied = int(roaring.AndNot(e.Applied, excused).GetCardinality())
	r.Running = int(roaring.AndNot(e.Running, excused).GetCardinality())
	r.Failed = int(roaring.AndNot(e.Failed, excused).GetCardinality())
	if e.Latency.Count() > 0 {
		r.Skew = time.Duration(e.Latency.Quantile(1)-e.Latency.Quantile(0)) * time.Microsecond
	}
	for _, f := range e.Failures {
		if !excused.Contains(f.Agent) && len(r.Reasons) < 3 {
			r.Reasons = append(r.Reasons, f.Name+": "+f.Reason)
		}
	}
	return r
}

// excused is the subscribers in quarantine since before a rollout began.
func (t *Tracker) excused(config, region string, began uint64) *roaring.Bitmap {
	excused := roaring.New()
	for _, c := range t.census {
		for _, q := range c.Census.Quarantined {
			if c.region == region && c.Excused(q, config, began) {
				excused.Add(q.Index)
			}
		}
	}
	return excused
}

// size is how many agents of a region count, and are in the wave; known is whether every
// coordinator of the region has told for that very epoch.
func (t *Tracker) size(p record.Pointer, excused *roaring.Bitmap) (agents, inWave int, known bool) {
	for _, name := range slices.Sorted(maps.Keys(t.census)) {
		c := t.census[name]
		if c.region != p.Region {
			continue
		}
		known = true
		if p.Candidate == 0 {
			agents += c.Subscribers(p.Config)
			continue
		}
		i := slices.IndexFunc(c.Waves, func(w wire.WaveSize) bool { return w.Config == p.Config && w.Epoch == p.Epoch })
		if i < 0 {
			return 0, 0, false
		}
		agents, inWave = agents+int(c.Waves[i].Agents), inWave+int(c.Waves[i].InWave)
	}
	if p.Candidate == 0 {
		agents = max(agents-int(excused.GetCardinality()), 0)
	}
	return agents, inWave, known
}
