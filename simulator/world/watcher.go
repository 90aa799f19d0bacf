package world

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// Watcher is a set of functions that the world calls at the moment of an event.
// A nil function is skipped.
type Watcher struct {
	// Verified is called when an agent has checked the signature of a pointer.
	// Applied.Version is 0.
	Verified func(Applied)
	// Applied is called when a version is durably applied at a subscribing agent.
	Applied func(Applied)
	// Committed is called when the leader's store has committed a pointer, before
	// the leader announces the pointer.
	Committed func(leader int32, a *wire.Announcement)
	// Forgot is called when an agent forgets the deletion of a config.
	Forgot func(host int32, config string)
	// Leader is called with the acknowledgements, censuses and drifts that a leader's node
	// reports.
	Leader func(leader int32, o *step.Output)
	// Accepts stands for the check command of a host: it reports whether the host
	// accepts a version. A version that any watcher refuses is not applied.
	Accepts func(host int32, v record.VersionKey) bool
}

// Applied is one effect on a simulated agent: the version is on the agent's disk.
type Applied struct {
	Host    int32
	At      step.Time
	Config  string
	Epoch   uint64
	Version uint64
	Digest  record.Digest // of the version's manifest
	// Position and Pointer name the pointer: its position and its digest.
	Position record.Position
	Pointer  record.Digest
	// Again reports that the pointer was applied before, and its file was damaged since.
	Again bool
}

// Key returns the key of the version.
func (a *Applied) Key() record.VersionKey {
	return record.VersionKey{Config: a.Config, Version: a.Version, Digest: a.Digest}
}

// Watch adds a watcher. Watchers are called in the order in which they were added.
// The returned function removes the watcher.
func (w *World) Watch(x Watcher) (stop func()) {
	w.watchers = append(w.watchers, &x)
	return func() {
		w.watchers = slices.DeleteFunc(w.watchers, func(y *Watcher) bool { return y == &x })
	}
}

func (w *World) notifyVerified(a Applied) {
	for _, x := range w.watchers {
		if x.Verified != nil {
			x.Verified(a)
		}
	}
}

func (w *World) notifyApplied(a Applied) {
	for _, x := range w.watchers {
		if x.Applied != nil {
			x.Applied(a)
		}
	}
}

func (w *World) notifyForgot(i int32, config string) {
	for _, x := range w.watchers {
		if x.Forgot != nil {
			x.Forgot(i, config)
		}
	}
}

func (w *World) notifyCommitted(leader int32, a *wire.Announcement) {
	for _, x := range w.watchers {
		if x.Committed != nil {
			x.Committed(leader, a)
		}
	}
}

func (w *World) notifyLeader(leader int32, o *step.Output) {
	for _, x := range w.watchers {
		if x.Leader != nil {
			x.Leader(leader, o)
		}
	}
}

// accepts reports whether every watcher accepts version v at host i. The watcher that
// was added last is asked first.
func (w *World) accepts(i int32, v record.VersionKey) bool {
	for _, x := range slices.Backward(w.watchers) {
		if x.Accepts != nil && !x.Accepts(i, v) {
			return false
		}
	}
	return true
}
