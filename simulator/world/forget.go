package world

import (
	"maps"
	"slices"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// BeginForgetting makes every host forget deletions that are older than Config.DeletionMemory, from now on.
// Each host looks for them at moments of its own. It does nothing if Config.DeletionMemory is 0.
func (w *World) BeginForgetting() {
	every := w.cfg.DeletionMemory
	if every == 0 {
		return
	}
	for i := range w.hosts {
		first := every * time.Duration(i+1) / time.Duration(len(w.hosts))
		w.At(w.now.Add(first), func() { w.forgetOld(int32(i)) })
	}
}

// forgetOld makes host i forget old deletions, and schedules the next time.
func (w *World) forgetOld(i int32) {
	w.At(w.now.Add(w.cfg.DeletionMemory), func() { w.forgetOld(i) })
	h := &w.hosts[i]
	if h.down {
		return
	}
	for _, key := range w.oldDeletions(i) {
		if !w.IsCoordinator(i) { // the store of a coordinator keeps deletions
			delete(h.disk.applied, key.Config)
			w.notifyForgot(i, key.Config)
		}
		w.step(i, step.Input{Kind: step.InForget, Pointer: step.Pointer{Key: key}})
	}
}

// oldDeletions returns the deletions that host i may forget.
func (w *World) oldDeletions(i int32) (keys []record.PointerKey) {
	h := &w.hosts[i]
	if h.store != nil {
		for _, a := range h.store.pointers {
			if w.isOld(i, &a.Pointer) {
				keys = append(keys, a.Pointer.Key())
			}
		}
		return keys
	}
	for _, config := range slices.Sorted(maps.Keys(h.disk.applied)) {
		if a := h.disk.applied[config].announcement; w.isOld(i, &a.Pointer) {
			keys = append(keys, a.Pointer.Key())
		}
	}
	return keys
}

// isOld reports whether p is of a config that was deleted so long ago, by the clock of host i, that the
// host need not remember it.
func (w *World) isOld(i int32, p *record.Pointer) bool {
	age := time.Duration(w.clock(i)-p.TimeMicros) * time.Microsecond
	return p.Deleted() && w.cfg.DeletionMemory > 0 && age > w.cfg.DeletionMemory
}

// deletionOf returns the deletion, in the store of a leader, of the config of a pointer that a host has shown:
// the pointer is the deletion, or is from before it. It returns nil if there is no such deletion.
func (s *store) deletionOf(shown *wire.Announcement) *wire.Announcement {
	held := s.current(shown.Pointer.Key())
	if held == nil || !held.Pointer.Deleted() {
		return nil
	}
	if shown.Digest == held.Digest || shown.Pointer.Position() < held.Pointer.Position() {
		return held
	}
	return nil
}

// repeatDeletion makes leader i announce a deletion once more to a host that has missed it. The leader's node
// may have forgotten the deletion.
func (w *World) repeatDeletion(i int32, deletion *wire.Announcement) {
	w.input(w.ready, i, step.Input{Kind: step.InPublish, Pointer: step.Pointer{Announcement: deletion}})
}
