package simulator

import (
	"fmt"
	"slices"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// referee holds a world against the invariants of the design, as it runs and when
// it has come to rest. Numbers in what it says are those of docs/architecture.md.
type referee struct {
	w          *World
	committed  map[epochKey]*record.Pointer
	last       map[effectKey]uint64 // epoch applied last, through restarts
	violations []string
}

type effectKey struct {
	host   int32
	config string
}

// maxViolations is how many violations a referee tells of.
const maxViolations = 20

func newReferee(w *World) *referee {
	r := &referee{w: w, committed: map[epochKey]*record.Pointer{}, last: map[effectKey]uint64{}}
	w.watch.commits = append(w.watch.commits, r.commits)
	w.watch.applied = append(w.watch.applied, r.applied)
	return r
}

func (r *referee) violate(format string, args ...any) {
	if len(r.violations) < maxViolations {
		r.violations = append(r.violations, fmt.Sprintf("at %.3fs: ", time.Duration(r.w.now).Seconds())+fmt.Sprintf(format, args...))
	}
}

func (r *referee) commits(a *wire.Announcement) {
	p := &a.Pointer
	key := epochKey{ackKey{p.Config, p.Region}, p.Epoch}
	if r.committed[key] != nil {
		r.violate("invariant 4: epoch %d of %s in %s was won twice", p.Epoch, p.Config, p.Region)
	}
	if p.Epoch > 1 && r.committed[epochKey{key.ackKey, p.Epoch - 1}] == nil {
		r.violate("invariant 4: epoch %d of %s in %s follows no epoch", p.Epoch, p.Config, p.Region)
	}
	r.committed[key] = p
}

func (r *referee) applied(a Applied) {
	h := &r.w.hosts[a.Host]
	p := r.committed[epochKey{ackKey{a.Config, h.ident.Region}, a.Epoch}]
	on := effectKey{a.Host, a.Config}
	switch {
	case p == nil:
		r.violate("invariant 1: %s applied %s epoch %d, which nobody committed", h.ident.Name, a.Config, a.Epoch)
		return
	case a.Version != p.VersionFor(h.ident.Name, nil):
		r.violate("invariant 1: %s applied version %d of %s under epoch %d, which gives it %d", h.ident.Name, a.Version, a.Config, a.Epoch, p.VersionFor(h.ident.Name, nil))
	case a.Epoch <= r.last[on]:
		r.violate("invariant 2: %s applied %s epoch %d after %d", h.ident.Name, a.Config, a.Epoch, r.last[on])
	}
	if _, held := h.disk.held[versionKey(a.Config, a.Version)]; !held && a.Version != 0 {
		r.violate("invariant 3: %s applied %s version %d without its body", h.ident.Name, a.Config, a.Version)
	}
	r.last[on] = a.Epoch
}

// atRest checks what must hold once faults have ended and time has passed.
func (r *referee) atRest() {
	w := r.w
	newest := map[string]uint64{} // revision by region
	for _, a := range w.store.pointers {
		newest[a.Pointer.Region] = max(newest[a.Pointer.Region], a.Revision)
		if r.committed[epochKey{ackKey{a.Pointer.Config, a.Pointer.Region}, a.Pointer.Epoch}] == nil {
			r.violate("invariant 5: the store lost %s epoch %d in %s", a.Pointer.Config, a.Pointer.Epoch, a.Pointer.Region)
		}
	}
	for i := range w.agents() {
		r.agentAtRest(i, newest)
	}
	for _, a := range w.store.pointers {
		r.acksAtRest(a)
	}
}

func (r *referee) agentAtRest(i int32, newest map[string]uint64) {
	w := r.w
	h := &w.hosts[i]
	if h.down || !h.node.Attached() {
		r.violate("invariant 7: %s is down or has no parent", h.ident.Name)
		return
	}
	for at, hops := i, 0; !w.isRoot(at); hops++ {
		parent, ok := w.parentOf(at)
		if !ok || hops > len(w.hosts) {
			r.violate("the tree: no path leads from %s to a coordinator", h.ident.Name)
			break
		}
		at = parent
	}
	if n := h.node.Children(); n > wire.MaxChildren {
		r.violate("invariant 8: %s has %d children", h.ident.Name, n)
	}
	for _, a := range w.store.pointers {
		p := &a.Pointer
		if p.Region != h.ident.Region {
			continue
		}
		if d, ok := h.disk.applied[p.Config]; !ok || d.announcement.Pointer.Epoch != p.Epoch {
			r.violate("invariant 7: %s has %s at epoch %d, the store is at %d", h.ident.Name, p.Config, r.last[effectKey{i, p.Config}], p.Epoch)
		}
	}
	if h.relays && len(h.disk.held) > 0 {
		r.violate("subscriptions: %s holds %d bodies, and subscribes to nothing", h.ident.Name, len(h.disk.held))
	}
	if used := h.node.CacheUsed(); used > w.cfg.CacheLimit {
		r.violate("subscriptions: %s keeps %d bytes for others, its limit is %d", h.ident.Name, used, w.cfg.CacheLimit)
	}
	if got := h.node.Watermark(); got != newest[h.ident.Region] {
		r.violate("invariant 7: %s is at revision %d, the store at %d", h.ident.Name, got, newest[h.ident.Region])
	}
	if age := w.now - step.Time(h.node.Head().TimeMicros*1000); w.cfg.Heads > 0 && time.Duration(age) > 4*w.cfg.Heads+time.Second {
		r.violate("invariant 6: the newest head of %s is %s old", h.ident.Name, time.Duration(age).Round(time.Millisecond))
	}
}

// acksAtRest checks that every agent's acknowledgement of the newest epoch came.
func (r *referee) acksAtRest(a *wire.Announcement) {
	w := r.w
	p := &a.Pointer
	want := w.audienceOf(p.Region)
	got := uint64(0)
	if e := w.Acked(p.Config, p.Region); e != nil && e.Epoch == p.Epoch {
		got = e.Applied.GetCardinality()
	}
	if got != uint64(want) {
		r.violate("acknowledgements: %d of %d agents of %s acknowledged %s epoch %d", got, want, p.Region, p.Config, p.Epoch)
	}
}

// parentOf is the host that an agent hangs on.
func (w *World) parentOf(i int32) (int32, bool) {
	who, ok := w.hosts[i].node.Parent()
	if !ok {
		return 0, false
	}
	for _, id := range slices.Backward(w.hosts[i].links) {
		if l := &w.links[id]; l.alive && w.hosts[l.remote].ident == who {
			return l.remote, true
		}
	}
	return 0, false
}
