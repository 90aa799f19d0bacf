package rollout

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/mesh/wire"
	"banyan/record"
)

const (
	// maxReasons is the maximum number of reasons of failures in a Region.
	maxReasons = 3
	// maxReplaced is the number of pointers before the newest of a config and region whose
	// acknowledgements say that a version ran.
	maxReplaced = 4
)

// Tracker collects what a leader hears of the fleet: for each config and region the
// acknowledgements of the newest pointer, and for each coordinator its newest census. It is not
// safe for concurrent use.
type Tracker struct {
	acks   map[record.PointerKey]*wire.AckEntry
	moved  map[record.PointerKey][]record.Pointer // the newest pointer, and those that it replaced
	late   map[record.PointerKey][]record.Ref     // versions that LateRan returns
	ahead  map[record.PointerKey]*ahead
	census map[string]counted   // by coordinator
	roots  map[string][]string  // the coordinators in census, by region, sorted
	placed map[string]headcount // by coordinator
	heard  map[string]time.Time // of the newest census, by region
}

// ahead holds the agents of a region that run a pointer which is not the leader's and not an older
// one: the leader's store was restored from a backup, or another leader writes to a copy.
type ahead struct {
	position record.Position // the newest position of such a pointer
	agents   *roaring.Bitmap
}

// counted is the newest census of a coordinator.
type counted struct {
	*wire.Census
	region  string
	at      time.Time
	present *roaring.Bitmap // attached agents
}

// headcount is the newest number of agents in the tree of a coordinator.
type headcount struct {
	region string
	agents int
}

// NewTracker returns a tracker that has heard nothing.
func NewTracker() *Tracker {
	return &Tracker{
		acks:   map[record.PointerKey]*wire.AckEntry{},
		moved:  map[record.PointerKey][]record.Pointer{},
		late:   map[record.PointerKey][]record.Ref{},
		ahead:  map[record.PointerKey]*ahead{},
		census: map[string]counted{},
		roots:  map[string][]string{},
		placed: map[string]headcount{},
		heard:  map[string]time.Time{},
	}
}

// Moved starts to count acknowledgements for p, unless p is counted already.
func (t *Tracker) Moved(p record.Pointer) {
	key := p.Key()
	digest := p.Digest()
	if e := t.acks[key]; e != nil && e.Pointer == digest {
		return
	}
	t.acks[key] = wire.NewAckEntry(key, p.Position(), digest)
	before := t.moved[key]
	t.moved[key] = append([]record.Pointer{p}, before[:min(len(before), maxReplaced)]...)
	if a := t.ahead[key]; a != nil && a.position < p.Position() {
		delete(t.ahead, key)
	}
}

// Acked adds acknowledgements of the pointer that Moved was last called with. Acknowledgements of
// other pointers do not count: those pointers were replaced, or belong to a lost history of the
// store. What they say of the versions of a pointer that was just replaced is kept for LateRan. An
// agent that runs a newer pointer of a lost history stops counting for the leader's pointer.
func (t *Tracker) Acked(entry *wire.AckEntry) {
	key := entry.Key()
	e := t.acks[key]
	switch {
	case e == nil:
		return
	case e.Pointer == entry.Pointer:
		e.Merge(entry)
	case entry.Position < e.Position:
		t.ackedLate(key, entry)
		return
	default:
		t.passed(key, entry)
	}
	if a := t.ahead[key]; a != nil {
		e.Applied.AndNot(a.agents)
		e.Running.AndNot(a.agents)
		e.Failed.AndNot(a.agents)
	}
}

// ackedLate notes the versions that hosts have run by a pointer that was replaced.
func (t *Tracker) ackedLate(key record.PointerKey, entry *wire.AckEntry) {
	for _, p := range t.moved[key] {
		if p.Position() != entry.Position || p.Digest() != entry.Pointer {
			continue
		}
		for _, v := range ranBy(p, entry) {
			if !slices.Contains(t.late[key], v) && len(t.late[key]) < 2*maxReplaced {
				t.late[key] = append(t.late[key], v)
			}
		}
	}
}

// LateRan returns, once, the versions of pointers that were replaced that hosts have acknowledged to
// have run since. The acknowledgement of a host may arrive after the pointer has moved on.
func (t *Tracker) LateRan(key record.PointerKey) []record.Ref {
	late := t.late[key]
	delete(t.late, key)
	return late
}

// passed notes the agents that have applied a pointer which the leader does not have.
func (t *Tracker) passed(key record.PointerKey, entry *wire.AckEntry) {
	a := t.ahead[key]
	if a == nil {
		a = &ahead{agents: roaring.New()}
		t.ahead[key] = a
	}
	a.position = max(a.position, entry.Position)
	a.agents.Or(entry.Applied)
}

// Present returns the indices of the agents that are attached in a region, by the newest
// census of each coordinator. What other agents acknowledged is old news.
func (t *Tracker) Present(region string) *roaring.Bitmap {
	present := roaring.New()
	for _, name := range t.roots[region] {
		present.Or(t.census[name].present)
	}
	return present
}

// LastHeard returns the time of the newest census of a region; the zero time if there was none.
func (t *Tracker) LastHeard(region string) time.Time { return t.heard[region] }

// Silent returns the agents that are attached in p's region and have not acknowledged p.
func (t *Tracker) Silent(p record.Pointer) *roaring.Bitmap {
	silent := t.Present(p.Region)
	if e := t.Acks(p); e != nil {
		silent.AndNot(e.Applied)
	}
	return silent
}

// Reasons returns why agents have not applied p, by the names of the agents that have said so.
func (t *Tracker) Reasons(p record.Pointer) map[string]string {
	reasons := map[string]string{}
	if e := t.Acks(p); e != nil {
		for _, f := range e.Failures {
			reasons[f.Name] = f.Reason
		}
	}
	return reasons
}

// Acks returns the acknowledgements of a pointer, or nil.
func (t *Tracker) Acks(p record.Pointer) *wire.AckEntry {
	e := t.acks[p.Key()]
	if e == nil || e.Pointer != p.Digest() {
		return nil
	}
	return e
}

// Ran returns the versions that p names and that at least one host has acknowledged to run. While a
// candidate is staged, an acknowledgement says nothing about the baseline.
func (t *Tracker) Ran(p record.Pointer) []record.Ref {
	e := t.Acks(p)
	if e == nil {
		return nil
	}
	return ranBy(p, e)
}

// ranBy returns the versions that p names and that acknowledgements of p say to run.
func ranBy(p record.Pointer, e *wire.AckEntry) (ran []record.Ref) {
	if p.Phase == record.PhaseStage {
		return nil
	}
	if !p.Baseline.IsZero() && e.Applied.GetCardinality() > e.Running.GetCardinality() {
		ran = append(ran, p.Baseline)
	}
	if !e.Running.IsEmpty() {
		ran = append(ran, p.Candidate)
	}
	return ran
}

// Counted takes the newest census of a coordinator, and returns what differs from the one before.
func (t *Tracker) Counted(coordinator, region string, c *wire.Census, at time.Time) Recount {
	t.heard[region] = at
	present, err := c.PresentAgents()
	if err != nil {
		present = roaring.New() // the decoder refuses such a census
	}
	before, known := t.census[coordinator]
	if known && before.region != region {
		t.forget(coordinator)
		known = false
	}
	if !known {
		i, _ := slices.BinarySearch(t.roots[region], coordinator)
		t.roots[region] = slices.Insert(t.roots[region], i, coordinator)
	}
	t.census[coordinator] = counted{Census: c, region: region, at: at, present: present}
	t.placed[coordinator] = headcount{region, int(c.Agents)}
	if !known {
		return Recount{Agents: true}
	}
	return compare(before.Census, c)
}

// forget forgets the census of a coordinator.
func (t *Tracker) forget(coordinator string) {
	region := t.census[coordinator].region
	t.roots[region] = slices.DeleteFunc(t.roots[region], func(name string) bool { return name == coordinator })
	delete(t.census, coordinator)
	delete(t.placed, coordinator)
}

// Placed sets the number of agents that Sizes returns for a coordinator until its next
// census. Region ignores the number: all counts of a Region must come from one census.
func (t *Tracker) Placed(coordinator, region string, n int) {
	t.placed[coordinator] = headcount{region, n}
}

// Sizes returns the sizes of the regions that a census or Placed named.
func (t *Tracker) Sizes() map[string]Size {
	sizes := map[string]Size{}
	for _, name := range slices.Sorted(maps.Keys(t.placed)) {
		placed := t.placed[name]
		s := sizes[placed.region]
		s.Agents += placed.agents
		c, ok := t.census[name]
		if ok {
			s.Audiences = append(s.Audiences, c.Audiences...)
		}
		sizes[placed.region] = s
	}
	return sizes
}

// Expire forgets the coordinators that sent no census since before. Their agents have moved
// to other coordinators by then, or nothing is known of them. Expire returns the regions of the
// coordinators.
func (t *Tracker) Expire(before time.Time) (regions []string) {
	for name, c := range t.census {
		if c.at.Before(before) {
			regions = append(regions, c.region)
			t.forget(name)
		}
	}
	return regions
}

// Covers reports whether a coordinator of region sent a census.
func (t *Tracker) Covers(region string) bool {
	return len(t.roots[region]) > 0
}

// Labels returns the number of agents that carry each label, by "key=value".
func (t *Tracker) Labels() map[string]int {
	labels := map[string]int{}
	for _, c := range t.census {
		for label, n := range c.Labels {
			labels[label] += int(n)
		}
	}
	return labels
}

// RegionLabels returns the number of agents that carry each label, by region and "key=value".
func (t *Tracker) RegionLabels() map[string]map[string]int {
	regions := map[string]map[string]int{}
	for _, c := range t.census {
		if regions[c.region] == nil {
			regions[c.region] = map[string]int{}
		}
		for label, n := range c.Labels {
			regions[c.region][label] += int(n)
		}
	}
	return regions
}

// Quarantined is an agent in quarantine.
type Quarantined struct {
	wire.Quarantined
	Region string
	Since  time.Time
}

// Quarantined returns the agents in quarantine, by name.
func (t *Tracker) Quarantined() []Quarantined {
	var all []Quarantined
	for _, c := range t.census {
		for _, q := range c.Census.Quarantined {
			since := c.at.Add(-time.Duration(q.Millis) * time.Millisecond)
			all = append(all, Quarantined{Quarantined: q, Region: c.region, Since: since})
		}
	}
	slices.SortFunc(all, func(a, b Quarantined) int {
		return strings.Compare(a.Name+"\x00"+a.Config, b.Name+"\x00"+b.Config)
	})
	return all
}

// Region returns what is seen of the agents of p's region, for p's epoch. began is the position of
// the rollout's first pointer in the region (see RegionState.First).
func (t *Tracker) Region(p record.Pointer, began record.Position) Region {
	r := Stored(p)
	e := t.Acks(p)
	excused, back := t.excused(p, began)
	r.Agents, r.InWave, r.Known = t.size(p, excused)
	if r.Known && !p.Candidate.IsZero() {
		r.Agents += int(back.GetCardinality())
		r.InWave += int(back.AndCardinality(e.Running))
	}
	for _, name := range t.roots[p.Region] {
		r.Placed += t.census[name].Subscribers(p.Config)
	}
	if e == nil {
		return r
	}
	counted := roaring.AndNot(t.Present(p.Region), excused)
	r.Applied = int(e.Applied.AndCardinality(counted))
	r.Running = int(e.Running.AndCardinality(counted))
	r.Failed = int(roaring.AndNot(e.Failed, excused).GetCardinality())
	if e.Latency.Count() > 0 {
		r.Skew = time.Duration(e.Latency.Quantile(1)-e.Latency.Quantile(0)) * time.Microsecond
	}
	for _, f := range e.Failures {
		failed := e.Failed.Contains(f.Agent) // else a fault of the host, which is tried again
		if failed && !excused.Contains(f.Agent) && len(r.Reasons) < maxReasons {
			r.Reasons = append(r.Reasons, f.Name+": "+f.Reason)
		}
	}
	return r
}

// Excused returns the agents that Region leaves out of its counts.
func (t *Tracker) Excused(p record.Pointer, began record.Position) *roaring.Bitmap {
	excused, _ := t.excused(p, began)
	return excused
}

// excused returns the agents of p's region that a rollout of p's config counts without: the
// subscribers in quarantine for an epoch of the config before began. Those among them that have
// acknowledged p count again, and are in back.
func (t *Tracker) excused(p record.Pointer, began record.Position) (excused, back *roaring.Bitmap) {
	excused = roaring.New()
	back = roaring.New()
	for _, name := range t.roots[p.Region] {
		c := t.census[name]
		for _, q := range c.Census.Quarantined {
			if c.Excused(q, p.Config, began) {
				excused.Add(q.Index)
			}
		}
	}
	if e := t.Acks(p); e != nil {
		back = roaring.And(excused, e.Applied)
		excused.AndNot(back)
	}
	return excused, back
}

// size returns the number of agents of p's region that count, and the number of agents in the
// wave. known is false unless every coordinator of the region counted for p's epoch. A
// pointer without a candidate has no wave to count, so every census is of its epoch.
func (t *Tracker) size(p record.Pointer, excused *roaring.Bitmap) (agents, inWave int, known bool) {
	for _, name := range t.roots[p.Region] {
		c := t.census[name]
		known = true
		if p.Candidate.IsZero() {
			agents += c.Subscribers(p.Config)
			continue
		}
		i := slices.IndexFunc(c.Waves, func(w wire.WaveSize) bool { return w.Config == p.Config && w.Position == p.Position() })
		if i < 0 {
			return 0, 0, false
		}
		agents += int(c.Waves[i].Agents)
		inWave += int(c.Waves[i].InWave)
	}
	if p.Candidate.IsZero() {
		agents = max(agents-int(excused.GetCardinality()), 0)
	}
	return agents, inWave, known
}
