package world

import (
	"maps"
	"slices"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// This file damages what a host shows, as people and broken disks do, and does what an agent
// does about the damage: it looks at its files once in a while, and verifies a version before
// it applies the version.

// DriftWatch is the time between two looks of an agent at the files that it shows.
const DriftWatch = 10 * time.Second

// edit changes every file that host i shows.
func (w *World) edit(i int32) {
	h := &w.hosts[i]
	for config, d := range h.disk.applied {
		if d.version.Version != 0 && !h.relays {
			h.spoil(config)
		}
	}
	w.lookSoon(i)
}

// wipe deletes every body on the disk of host i. The pointers stay.
func (w *World) wipe(i int32) {
	w.edit(i)
	w.hosts[i].disk.held = nil
}

// spoil notes that the file of config is not the applied version.
func (h *Host) spoil(config string) {
	if h.disk.spoiled == nil {
		h.disk.spoiled = map[string]bool{}
	}
	h.disk.spoiled[config] = true
}

// Shows returns the version of config that readers on the host see. ok is false if there is
// none, or if the file was changed by somebody else.
func (h *Host) Shows(config string) (v record.Ref, ok bool) {
	d, ok := h.disk.applied[config]
	return d.version, ok && !h.disk.spoiled[config]
}

// repairs reports whether the agent restores a file that was changed. Other agents only
// report the change.
func (h *Host) repairs() bool { return len(h.ident.Name)%2 == 0 }

// lookSoon makes host i look at its files, until all of them are right.
func (w *World) lookSoon(i int32) {
	w.At(w.now.Add(DriftWatch), func() {
		if h := &w.hosts[i]; len(h.disk.spoiled) > 0 {
			w.look(i)
			w.lookSoon(i)
		}
	})
}

// look makes host i look at its files. It reports and repairs what is wrong.
func (w *World) look(i int32) {
	for _, config := range slices.Sorted(maps.Keys(w.hosts[i].disk.spoiled)) {
		h := &w.hosts[i]
		if h.down {
			return
		}
		v := h.disk.applied[config].version.Of(config)
		w.step(i, step.Input{Kind: step.InDrift, Body: step.Body{Version: v}, Drift: wire.DriftSeen})
		if !h.repairs() {
			continue
		}
		if !h.Holds(v) {
			w.step(i, step.Input{Kind: step.InEvicted, Body: step.Body{Version: v}})
		}
		w.step(i, step.Input{Kind: step.InReapply, Body: step.Body{Version: v}})
	}
}

// lacks reports whether a version that the node of host i believes to be on disk is missing,
// and tells the node.
func (w *World) lacks(i int32, v record.VersionKey) bool {
	h := &w.hosts[i]
	if v.Version == 0 || w.IsCoordinator(i) || h.relays || h.Holds(v) {
		return false
	}
	w.step(i, step.Input{Kind: step.InEvicted, Body: step.Body{Version: v}})
	return true
}

// clone starts a host with the identity and the disk of agent i, as a golden image does. It
// does nothing if all of Config.Clones are in use.
func (w *World) clone(i int32) (clone int32, ok bool) {
	for c := len(w.hosts) - w.cfg.Clones; c < len(w.hosts); c++ {
		h := &w.hosts[c]
		if h.boots > 0 {
			continue
		}
		like := &w.hosts[i]
		h.ident = like.ident
		h.region = like.region
		h.zone = like.zone
		h.relays = like.relays
		h.disk = like.disk
		h.disk.applied = maps.Clone(like.disk.applied)
		h.disk.held = maps.Clone(like.disk.held)
		h.disk.spoiled = maps.Clone(like.disk.spoiled)
		h.disk.partial = nil
		h.like = i
		w.Start(int32(c))
		return int32(c), true
	}
	return 0, false
}

// own notes the index of an agent.
func (w *World) own(i int32) {
	h := &w.hosts[i]
	index, ok := h.node.Index()
	if !ok || w.IsCoordinator(i) || index+1 == h.owns {
		return
	}
	h.owns = index + 1
	key := indexKey{h.region, index}
	if !slices.Contains(w.owners[key], i) {
		w.owners[key] = append(w.owners[key], i)
	}
	if h.like > 0 && !slices.Contains(w.owners[key], h.like) {
		w.owners[key] = append(w.owners[key], h.like) // the clone has what that agent applied on its disk
	}
}

// indexKey is an agent's index in a region.
type indexKey struct {
	region int16
	index  uint32
}

// Owners returns the agents that have an index in a region: one, or a clone and the agent that it is
// like. If no agent has the index now, Owners returns all agents that had it.
func (w *World) Owners(region string, index uint32) []int32 {
	had := w.owners[indexKey{int16(w.cfg.Network.Matrix.Index(region)), index}]
	var have []int32
	for _, i := range had {
		h := &w.hosts[i]
		if h.down || h.owns != index+1 {
			continue
		}
		have = append(have, i)
		if h.like > 0 { // the clone has what that agent applied on its disk
			have = append(have, h.like)
		}
	}
	if len(have) == 0 {
		return had
	}
	return have
}
