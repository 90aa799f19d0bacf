package hostile

import (
	"fmt"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/simulator/world"
)

// referee holds a world against the invariants of the design, as it runs and when
// it has come to rest. Numbers in what it says are those of docs/architecture.md.
type referee struct {
	w          *world.World
	committed  map[epochKey]*record.Pointer
	last       map[effectKey]uint64 // epoch applied last, through restarts
	violations []string
}

// epochKey names one epoch of a config in a region.
type epochKey struct {
	pointer record.PointerKey
	epoch   uint64
}

type effectKey struct {
	host   int32
	config string
}

// maxViolations is how many violations a referee tells of.
const maxViolations = 20

func newReferee(w *world.World) *referee {
	r := &referee{w: w, committed: map[epochKey]*record.Pointer{}, last: map[effectKey]uint64{}}
	w.Watch(world.Watcher{Committed: r.commits, Applied: r.applied})
	return r
}

func (r *referee) violate(format string, args ...any) {
	if len(r.violations) < maxViolations {
		r.violations = append(r.violations, fmt.Sprintf("at %.3fs: ", time.Duration(r.w.Now()).Seconds())+fmt.Sprintf(format, args...))
	}
}

func (r *referee) commits(a *wire.Announcement) {
	p := &a.Pointer
	key := epochKey{record.PointerKey{Config: p.Config, Region: p.Region}, p.Epoch}
	if r.committed[key] != nil {
		r.violate("invariant 4: epoch %d of %s in %s was won twice", p.Epoch, p.Config, p.Region)
	}
	if p.Epoch > 1 && r.committed[epochKey{key.pointer, p.Epoch - 1}] == nil {
		r.violate("invariant 4: epoch %d of %s in %s follows no epoch", p.Epoch, p.Config, p.Region)
	}
	r.committed[key] = p
}

func (r *referee) applied(a world.Applied) {
	h := r.w.Host(a.Host)
	p := r.committed[epochKey{record.PointerKey{Config: a.Config, Region: h.Region()}, a.Epoch}]
	on := effectKey{a.Host, a.Config}
	switch {
	case p == nil:
		r.violate("invariant 1: %s applied %s epoch %d, which nobody committed", h.Name(), a.Config, a.Epoch)
		return
	case a.Version != p.VersionFor(h.Name(), nil):
		r.violate("invariant 1: %s applied version %d of %s under epoch %d, which gives it %d", h.Name(), a.Version, a.Config, a.Epoch, p.VersionFor(h.Name(), nil))
	case a.Epoch <= r.last[on]:
		r.violate("invariant 2: %s applied %s epoch %d after %d", h.Name(), a.Config, a.Epoch, r.last[on])
	}
	if !h.Holds(record.VersionKey{Config: a.Config, Version: a.Version}) && a.Version != 0 {
		r.violate("invariant 3: %s applied %s version %d without its body", h.Name(), a.Config, a.Version)
	}
	r.last[on] = a.Epoch
}

// atRest checks what must hold once faults have ended and time has passed.
func (r *referee) atRest() {
	w := r.w
	newest := map[string]uint64{} // revision by region
	for _, a := range w.Pointers() {
		newest[a.Pointer.Region] = max(newest[a.Pointer.Region], a.Revision)
		if r.committed[epochKey{record.PointerKey{Config: a.Pointer.Config, Region: a.Pointer.Region}, a.Pointer.Epoch}] == nil {
			r.violate("invariant 5: the store lost %s epoch %d in %s", a.Pointer.Config, a.Pointer.Epoch, a.Pointer.Region)
		}
	}
	for i := range w.Agents() {
		r.agentAtRest(i, newest)
	}
	for _, a := range w.Pointers() {
		r.acksAtRest(a)
	}
}

func (r *referee) agentAtRest(i int32, newest map[string]uint64) {
	w := r.w
	h := w.Host(i)
	if h.Down() || !h.Node().Attached() {
		r.violate("invariant 7: %s is down or has no parent", h.Name())
		return
	}
	for at, hops := i, 0; !w.IsCoordinator(at); hops++ {
		parent, ok := w.Parent(at)
		if !ok || hops > w.Hosts() {
			r.violate("the tree: no path leads from %s to a coordinator", h.Name())
			break
		}
		at = parent
	}
	if n := h.Node().Children(); n > wire.MaxChildren {
		r.violate("invariant 8: %s has %d children", h.Name(), n)
	}
	for _, a := range w.Pointers() {
		p := &a.Pointer
		if p.Region != h.Region() {
			continue
		}
		if epoch, ok := h.AppliedEpoch(p.Config); !ok || epoch != p.Epoch {
			r.violate("invariant 7: %s has %s at epoch %d, the store is at %d", h.Name(), p.Config, r.last[effectKey{i, p.Config}], p.Epoch)
		}
	}
	if h.RelayOnly() && h.Bodies() > 0 {
		r.violate("subscriptions: %s holds %d bodies, and subscribes to nothing", h.Name(), h.Bodies())
	}
	if used := h.Node().CacheUsed(); used > w.Config().CacheLimit {
		r.violate("subscriptions: %s keeps %d bytes for others, its limit is %d", h.Name(), used, w.Config().CacheLimit)
	}
	if got := h.Node().Watermark(); got != newest[h.Region()] {
		r.violate("invariant 7: %s is at revision %d, the store at %d", h.Name(), got, newest[h.Region()])
	}
	if age := w.Now() - step.Time(h.Node().Head().TimeMicros*1000); w.Config().Heads > 0 && time.Duration(age) > 4*w.Config().Heads+time.Second {
		r.violate("invariant 6: the newest head of %s is %s old", h.Name(), time.Duration(age).Round(time.Millisecond))
	}
}

// acksAtRest checks that every agent's acknowledgement of the newest epoch came.
func (r *referee) acksAtRest(a *wire.Announcement) {
	w := r.w
	p := &a.Pointer
	want := w.Audience(p.Region)
	got := uint64(0)
	if e := w.Acked(p.Config, p.Region); e != nil && e.Epoch == p.Epoch {
		got = e.Applied.GetCardinality()
	}
	if got != uint64(want) {
		r.violate("acknowledgements: %d of %d agents of %s acknowledged %s epoch %d", got, want, p.Region, p.Config, p.Epoch)
	}
}
