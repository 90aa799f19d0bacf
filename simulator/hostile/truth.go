package hostile

import (
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
	"banyan/simulator/world"
)

// truth compares what the status of a leader says with what the hosts run. The status is made
// as in production: by a rollout.Tracker, which counts acknowledgements by the digest of the
// pointer, and from the reports of drift.
type truth struct {
	w *world.World
	// leaders holds what each leader has heard since it started.
	leaders map[int32]*status
	// ran holds the pointers that each host has applied.
	ran map[hostPointer]bool
}

// status is what one leader knows.
type status struct {
	boots   uint32
	tracker *rollout.Tracker
	drifted map[driftKey]bool
}

type hostPointer struct {
	host    int32
	pointer record.Digest
}

type driftKey struct{ agent, config string }

func newTruth(w *world.World) truth {
	return truth{w: w, leaders: map[int32]*status{}, ran: map[hostPointer]bool{}}
}

// status returns what a leader knows. A leader that starts knows only its store.
func (t *truth) status(leader int32) *status {
	boots := t.w.Host(leader).Boots()
	s := t.leaders[leader]
	if s != nil && s.boots == boots {
		return s
	}
	s = &status{boots: boots, tracker: rollout.NewTracker(), drifted: map[driftKey]bool{}}
	for _, a := range t.w.PointersOf(leader) {
		s.tracker.Moved(a.Pointer)
	}
	t.leaders[leader] = s
	return s
}

func (t *truth) commits(leader int32, a *wire.Announcement) {
	t.status(leader).tracker.Moved(a.Pointer)
}

func (t *truth) applied(a world.Applied) { t.ran[hostPointer{a.Host, a.Pointer}] = true }

// hears takes what the node of a leader reports.
func (t *truth) hears(leader int32, o *step.Output) {
	s := t.status(leader)
	switch o.Op {
	case step.OpAcked:
		entries := o.Message.(*wire.Ack).Entries
		for i := range entries {
			s.tracker.Acked(&entries[i])
		}
	case step.OpCensus:
		s.tracker.Counted(o.Name, o.Region, o.Message.(*wire.Census), time.Unix(0, int64(t.w.Now())))
	case step.OpDrifted:
		d := o.Message.(*wire.Drift)
		s.drifted[driftKey{d.Name, d.Config}] = d.State == wire.DriftSeen
	}
}

// oldNews is the age at which a leader says of a region when it was last heard of, and counts
// nobody there.
const oldNews = 10 * time.Second

// covers reports whether the coordinator of a region has sent a census of late.
func (s *status) covers(region string, now step.Time) bool {
	s.tracker.Expire(time.Unix(0, int64(now)).Add(-oldNews))
	return s.tracker.Covers(region)
}

// judgeClaims checks every host that a leader counts as applied, or as running a candidate. At
// any moment, the host has applied that pointer. At a quiet moment, the host shows the version
// of that pointer, or the leader says that the file was changed by somebody else, or that the
// region was not heard of, or the host has forgotten a deletion: see referee.forgot. A leader counts
// attached agents only: under the index of an agent that is not attached, nobody is meant.
func (r *referee) judgeClaims(quiet bool) {
	for leader := range r.w.Leaders() {
		if r.w.Host(leader).Down() {
			continue
		}
		if r.w.StoppedWriting(leader) && r.w.Histories() == 1 {
			r.violate("status: %s says that its store is of another history, and there is no other", r.w.Host(leader).Name())
		}
		s := r.truth.status(leader)
		for _, a := range r.w.PointersOf(leader) {
			entry := s.tracker.Acks(a.Pointer)
			if entry == nil {
				continue
			}
			sure := quiet && s.covers(a.Pointer.Region, r.w.Now()) && !r.mayForget(&a.Pointer)
			counted := roaring.And(entry.Applied, s.tracker.Present(a.Pointer.Region))
			for _, index := range counted.ToArray() {
				r.judgeClaim(claim{leader, s, &a.Pointer, a.Digest, index, entry.Running.Contains(index)}, sure)
			}
		}
	}
}

// claim is a leader's statement that an agent has applied a pointer.
type claim struct {
	leader  int32
	status  *status
	pointer *record.Pointer
	digest  record.Digest
	index   uint32
	// running reports whether the leader says that the agent runs the candidate.
	running bool
}

// judgeClaim checks a claim. An index that an agent and its clones share is right if it is right
// for one of them.
func (r *referee) judgeClaim(c claim, sure bool) {
	owners := r.w.Owners(c.pointer.Region, c.index)
	applied := false
	shown := false
	for _, i := range owners {
		h := r.w.Host(i)
		want := c.pointer.VersionFor(h.Name(), nil)
		runs := want == c.pointer.Candidate && want != c.pointer.Baseline
		if !r.truth.ran[hostPointer{i, c.digest}] || runs != c.running {
			continue
		}
		applied = true
		got, ok := h.Shows(c.pointer.Config)
		_, remembers := h.AppliedPointer(c.pointer.Config)
		gone := c.pointer.Deleted() && !remembers
		drifted := c.status.drifted[driftKey{h.Name(), c.pointer.Config}]
		shown = shown || ok && got == want || gone || drifted
	}
	switch {
	case !applied:
		r.violate("status: %s says that agent %d of %s applied %s %s (candidate: %t), which it never did",
			r.w.Host(c.leader).Name(), c.index, c.pointer.Region, c.pointer.Config, c.pointer.Position(), c.running)
	case sure && !shown:
		r.violate("status: %s says that %s runs %s %s, and it shows something else",
			r.w.Host(c.leader).Name(), r.w.Host(owners[0]).Name(), c.pointer.Config, c.pointer.Position())
	}
}
