package hostile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/simulator/world"
)

// referee checks a world against the invariants of docs/architecture.md: every commit and
// every effect when it happens, and the whole fleet at rest. The numbers in violations are
// those of the invariants.
type referee struct {
	w *world.World
	// committed holds the committed pointers, by digest.
	committed map[record.Digest]*record.Pointer
	// newest holds the position that was committed last in each history of the store.
	newest map[historyKey]record.Position
	// last holds the position that each host applied last. It outlives restarts and disks, and ends when
	// the host forgets a deletion.
	last  map[effectKey]record.Position
	truth truth
	// downSince holds the agents that were down at the last look, with the first look since their last
	// start.
	downSince map[int32]downtime
	// forgotten is the number of times that an agent forgot a deletion.
	forgotten  int
	violations []string
}

// historyKey names a config in a region, in one history of the store.
type historyKey struct {
	history uint32
	pointer record.PointerKey
}

// effectKey names a config on a host.
type effectKey struct {
	host   int32
	config string
}

// downtime is a time for which an agent is down, after its last start.
type downtime struct {
	since step.Time
	boots uint32
}

// maxViolations is the number of violations that a referee keeps.
const maxViolations = 20

// newReferee returns a referee that watches w from now on.
func newReferee(w *world.World) *referee {
	r := &referee{
		w:         w,
		committed: map[record.Digest]*record.Pointer{},
		newest:    map[historyKey]record.Position{},
		last:      map[effectKey]record.Position{},
		truth:     newTruth(w),
		downSince: map[int32]downtime{},
	}
	w.Watch(world.Watcher{Committed: r.commits, Applied: r.applied, Forgot: r.forgot, Leader: r.truth.hears})
	return r
}

func (r *referee) violate(format string, args ...any) {
	if len(r.violations) == maxViolations {
		return
	}
	at := fmt.Sprintf("at %.3fs: ", time.Duration(r.w.Now()).Seconds())
	r.violations = append(r.violations, at+fmt.Sprintf(format, args...))
}

// commits checks a committed pointer: its position follows the position before, in the history
// of the store that the leader writes.
func (r *referee) commits(leader int32, a *wire.Announcement) {
	p := &a.Pointer
	key := historyKey{r.w.HistoryOf(leader), p.Key()}
	last, known := r.newest[key]
	switch {
	case known && p.Position() <= last:
		r.violate("invariant 4: %s of %s in %s was won twice", p.Position(), p.Config, p.Region)
	case known && p.Epoch != last.Epoch()+1, !known && key.history == 0 && p.Epoch != 1:
		r.violate("invariant 4: %s of %s in %s follows no epoch", p.Position(), p.Config, p.Region)
	}
	r.newest[key] = p.Position()
	r.committed[a.Digest] = p
	r.truth.commits(leader, a)
}

// applied checks an effect: the pointer was committed, gives the host that version, and is
// newer than the pointer before; and the body of the version is on the host's disk.
func (r *referee) applied(a world.Applied) {
	h := r.w.Host(a.Host)
	p := r.committed[a.Pointer]
	if p == nil {
		r.violate("invariant 1: %s applied %s %s, which nobody committed", h.Name(), a.Config, a.Position)
		return
	}
	on := effectKey{a.Host, a.Config}
	newer := a.Position > r.last[on] || a.Again && a.Position == r.last[on]
	if want := p.VersionFor(h.Name(), nil); a.Key().Ref() != want {
		r.violate("invariant 1: %s applied version %d of %s under %s, which names version %d",
			h.Name(), a.Version, a.Config, a.Position, want.Version)
	} else if !newer {
		r.violate("invariant 2: %s applied %s %s after %s", h.Name(), a.Config, a.Position, r.last[on])
	}
	if a.Version != 0 && !h.Holds(a.Key()) {
		r.violate("invariant 3: %s applied %s version %d without its body", h.Name(), a.Config, a.Version)
	}
	r.last[on] = a.Position
	r.truth.applied(a)
}

// forgot notes that a host has forgotten the deletion of a config. From then on a lying relay can make the host
// show a version from before the deletion, for a while; atRest checks that no host shows it in the end.
func (r *referee) forgot(host int32, config string) {
	r.forgotten++
	delete(r.last, effectKey{host, config})
}

// mayForget reports whether hosts need not have the pointer p, which they have forgotten or never heard of.
func (r *referee) mayForget(p *record.Pointer) bool {
	return p.Deleted() && r.w.Config().DeletionMemory > 0
}

// atRest checks the fleet after the quiet phase.
func (r *referee) atRest() {
	w := r.w
	want := map[string]*target{}
	for _, region := range w.Config().Network.Matrix.Regions {
		want[region] = newTarget(w.Config())
	}
	for _, a := range w.Pointers() {
		p := &a.Pointer
		want[p.Region].add(a)
		if r.committed[a.Digest] == nil {
			r.violate("invariant 5: the store has %s %s in %s, which was not committed",
				p.Config, p.Position(), p.Region)
		}
	}
	for i := range w.Agents() {
		r.judge(observe(w, i), want[w.Host(i).Region()])
	}
	for _, a := range w.Pointers() {
		if !r.mayForget(&a.Pointer) { // hosts that came later have nothing to acknowledge
			r.judgeAcks(a)
		}
	}
	for i := range int32(w.Regions()) {
		r.judgePicture(i)
	}
}

// judgePicture compares the planner's picture of a coordinator's tree with the tree.
func (r *referee) judgePicture(coordinator int32) {
	w := r.w
	parents := map[string]string{}
	indices := map[string]uint32{}
	for i := range w.Agents() {
		if w.Host(i).Down() {
			continue
		}
		parent, ok := w.Parent(i)
		if w.Host(i).Region() == w.Host(coordinator).Region() && ok && rooted(w, i) {
			parents[w.Host(i).Name()] = w.Host(parent).Name()
			indices[w.Host(i).Name()], _ = w.Host(i).Node().Index()
		}
	}
	root := w.Host(coordinator).Name()
	for _, a := range w.Host(coordinator).Node().Planner().Agents() {
		parent := cmp.Or(a.Parent, root)
		switch {
		case len(a.Clones) > 0: // nobody knows which instance is meant
		case !a.Attached:
			continue
		case a.Index != indices[a.Name]:
			r.violate("the tree: the planner of %s knows %s by index %d, and it has %d", root, a.Name, a.Index, indices[a.Name])
		case parents[a.Name] != parent:
			r.violate("the tree: the planner of %s has %s under %q, and it is under %q", root, a.Name, parent, parents[a.Name])
		}
		delete(parents, a.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(parents)) {
		r.violate("the tree: the planner of %s does not know %s, which is under %q", root, name, parents[name])
	}
}

// ghostTime is the time, beyond the idle time-out of links, after which a planner must have
// noticed that a host is gone, whatever died with it.
const ghostTime = step.Time(75 * time.Second)

// judgeGhosts checks that no planner counts hosts that have been down for a long time.
func (r *referee) judgeGhosts() {
	w := r.w
	for i := range w.Agents() {
		boots := w.Host(i).Boots()
		if !w.Host(i).Down() {
			delete(r.downSince, i)
		} else if d, known := r.downSince[i]; !known || d.boots != boots {
			r.downSince[i] = downtime{w.Now(), boots}
		}
	}
	for c := range int32(w.Regions()) {
		if w.Host(c).Down() {
			continue
		}
		attached := map[string]bool{}
		for _, a := range w.Host(c).Node().Planner().Agents() {
			attached[a.Name] = a.Attached
		}
		for i := range w.Agents() {
			d, down := r.downSince[i]
			gone := down && w.Now()-d.since > ghostTime.Add(w.Config().Idle)
			if gone && w.Host(i).Region() == w.Host(c).Region() && attached[w.Host(i).Name()] {
				r.violate("the tree: the planner of %s counts %s, which has been down for %s",
					w.Host(c).Name(), w.Host(i).Name(), time.Duration(w.Now()-d.since))
			}
		}
	}
}

// target is the state that every agent of a region must have at rest.
type target struct {
	pointers   []*record.Pointer
	revision   uint64
	cacheLimit int64
	// headAge is the largest age of an agent's newest head; 0 means no heads are sent.
	headAge time.Duration
}

// newTarget returns the target of a region without pointers. A head may be lost a few times
// in a row before it is late: four intervals and a second.
func newTarget(cfg *world.Config) *target {
	t := &target{cacheLimit: cfg.CacheLimit}
	if cfg.Heads > 0 {
		t.headAge = 4*cfg.Heads + time.Second
	}
	return t
}

func (t *target) add(a *wire.Announcement) {
	t.pointers = append(t.pointers, &a.Pointer)
	t.revision = max(t.revision, a.Revision)
}

// agentState is the state of an agent at rest.
type agentState struct {
	name string
	// attached is true if the agent is up and has a parent.
	attached bool
	// rooted is true if the path over the parents leads to a coordinator.
	rooted    bool
	children  int
	pointers  map[string]record.Digest // applied pointers, by config
	relayOnly bool
	lies      bool
	bodies    int
	cacheUsed int64
	revision  uint64
	headAge   time.Duration
}

// observe returns the state of agent i.
func observe(w *world.World, i int32) agentState {
	h := w.Host(i)
	s := agentState{
		name:      h.Name(),
		attached:  !h.Down() && h.Node().Attached(),
		pointers:  map[string]record.Digest{},
		relayOnly: h.RelayOnly(),
		lies:      h.Lies(),
		bodies:    h.Bodies(),
	}
	if !s.attached {
		return s
	}
	for _, a := range w.Pointers() {
		if pointer, ok := h.AppliedPointer(a.Pointer.Config); ok {
			s.pointers[a.Pointer.Config] = pointer
		}
	}
	s.rooted = rooted(w, i)
	s.children = h.Node().Children()
	s.cacheUsed = h.Node().CacheUsed()
	s.revision = h.Node().Watermark()
	s.headAge = time.Duration(w.Now()) - time.Duration(h.Node().Head().TimeMicros)*time.Microsecond
	return s
}

// rooted reports whether the path over the parents of agent i leads to a coordinator. A path
// of more hops than the fleet has hosts is a circle.
func rooted(w *world.World, i int32) bool {
	for range w.Hosts() {
		parent, ok := w.Parent(i)
		if !ok {
			return false
		}
		if w.IsCoordinator(parent) {
			return true
		}
		i = parent
	}
	return false
}

// judge compares the state of an agent with the target of its region.
func (r *referee) judge(s agentState, want *target) {
	if !s.attached {
		r.violate("invariant 7: %s is down or has no parent", s.name)
		return
	}
	if !s.rooted {
		r.violate("the tree: no path leads from %s to a coordinator", s.name)
	}
	if s.children > wire.MaxChildren {
		r.violate("invariant 8: %s has %d children", s.name, s.children)
	}
	for _, p := range want.pointers {
		applied, remembers := s.pointers[p.Config]
		switch {
		case applied == p.Digest():
		case !remembers && r.mayForget(p): // the host shows nothing, as it should
		case s.lies && r.mayForget(p): // it withholds its own evidence from the leader
			return
		case p.Deleted():
			r.violate("invariant 7: %s still has %s, which was deleted at %s", s.name, p.Config, p.Position())
		default:
			r.violate("invariant 7: %s has %s not at %s, which is the store's", s.name, p.Config, p.Position())
		}
	}
	if s.relayOnly && s.bodies > 0 {
		r.violate("subscriptions: %s holds %d bodies, and subscribes to nothing", s.name, s.bodies)
	}
	if s.cacheUsed > want.cacheLimit {
		r.violate("subscriptions: the cache of %s holds %d bytes, its limit is %d",
			s.name, s.cacheUsed, want.cacheLimit)
	}
	if s.revision != want.revision {
		r.violate("invariant 7: %s is at revision %d, the store at %d", s.name, s.revision, want.revision)
	}
	if want.headAge > 0 && s.headAge > want.headAge {
		r.violate("invariant 6: the newest head of %s is %s old", s.name, s.headAge.Round(time.Millisecond))
	}
}

// attached returns the indices of the agents that the planner of a region has in its tree.
func (r *referee) attached(region string) *roaring.Bitmap {
	indices := roaring.New()
	coordinator := int32(r.w.Config().Network.Matrix.Index(region))
	for _, a := range r.w.Host(coordinator).Node().Planner().Agents() {
		if a.Attached {
			indices.Add(a.Index)
		}
	}
	return indices
}

// judgeAcks checks that every subscribing agent has acknowledged the newest epoch of a pointer. As
// in a status, only attached agents count: an agent may have acknowledged the pointer under an
// earlier index.
func (r *referee) judgeAcks(a *wire.Announcement) {
	p := &a.Pointer
	got := 0
	if e := r.w.Acked(p.Config, p.Region); e != nil && e.Pointer == a.Digest {
		got = int(e.Applied.AndCardinality(r.attached(p.Region)))
	}
	if want := r.w.Audience(p.Region); got != want {
		r.violate("acknowledgements: %d of %d agents of %s acknowledged %s %s",
			got, want, p.Region, p.Config, p.Position())
	}
}
