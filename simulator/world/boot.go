package world

import (
	"maps"
	"slices"
	"time"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// What follows starts hosts, with what is on their disks, and crashes them.

// Boot starts every host: coordinators at once, agents spread over cfg.Join.
func (w *World) Boot() {
	for i := range w.hosts {
		at := w.now
		if !w.IsCoordinator(int32(i)) {
			at = at.Add(time.Duration(w.rand.Int64N(int64(w.cfg.Join)) + int64(time.Second)))
		}
		w.At(at, func() { w.Start(int32(i)) })
	}
}

// BeginHeads lets the leader send heads from now on, if cfg.Heads says so.
func (w *World) BeginHeads() {
	if w.cfg.Heads > 0 {
		w.At(w.now.Add(w.cfg.Heads), w.beat)
	}
}

// Start starts a host that is down, with what is on its disk.
func (w *World) Start(i int32) {
	h := &w.hosts[i]
	if !h.down {
		return
	}
	h.down = false
	h.boots++
	h.wakeAt, h.cpuFree, h.upFree, h.downFree = step.Never, w.now, w.now, w.now
	region := int(h.region)
	cfg := mesh.Config{Self: h.ident, Description: wire.Description{Addr: address(i), Relay: true}, Verifier: w.signer, Index: h.disk.index, Arrangement: w.cfg.Arrangement,
		Seed: w.cfg.Seed<<24 ^ uint64(i)<<8 ^ uint64(h.boots)}
	switch {
	case w.IsCoordinator(i):
		const block = mesh.DefaultMaxAgents
		cfg.Planner = mesh.NewPlanner(mesh.PlannerConfig{Fanout: w.cfg.Fanout, MaxAgents: max(w.cfg.Agents[region]+1, block), FirstIndex: h.disk.index})
		h.disk.index += uint32(max(w.cfg.Agents[region]+1, block))
		cfg.HoldsAll = w.IsLeader(i)
		if !w.IsLeader(i) {
			cfg.Seeds = []string{address(0)}
		}
	default:
		cfg.Seeds = []string{address(int32(region))}
		cfg.Labels = w.zones[h.zone]
		if h.relays {
			cfg.Subscriptions, cfg.CacheLimit = wire.SubscribeNothing, w.cfg.CacheLimit
			h.disk.partial = nil // a cache begins empty
		}
	}
	h.node = mesh.NewNode(cfg)
	w.observe(i, true, false)
	w.restore(i)
	w.input(w.now, i, step.Input{Kind: step.InStart})
	if w.trace != nil {
		w.trace("%s starts", h.ident.Name)
	}
}

// restore gives a node what its host's disk holds; to the leader, what its store holds.
func (w *World) restore(i int32) {
	h := &w.hosts[i]
	if w.IsLeader(i) {
		for _, a := range w.store.pointers {
			h.node.Step(w.now, step.Input{Kind: step.InPublish, Announcement: a}, nil)
		}
		return
	}
	for _, config := range slices.Sorted(maps.Keys(h.disk.applied)) {
		d := h.disk.applied[config]
		h.node.Step(w.now, step.Input{Kind: step.InRestore, Announcement: d.announcement, Version: d.version}, nil)
	}
	for v := range h.disk.held {
		h.node.Step(w.now, step.Input{Kind: step.InHold, Want: v, Forms: 1}, nil)
	}
	h.node.Step(w.now, step.Input{Kind: step.InResume, Revision: h.disk.watermark}, nil)
}

// Crash stops a host at once, with kill -9: what is on its disk stays. It told
// nobody; its peers find out after the idle timeout.
func (w *World) Crash(i int32) {
	h := &w.hosts[i]
	if h.down {
		return
	}
	h.down = true
	h.node = nil
	w.observe(i, false, false)
	if w.trace != nil {
		w.trace("%s crashes", h.ident.Name)
	}
	for _, id := range h.links {
		if l := &w.links[id]; l.alive {
			l.alive = false
			w.expire(l.other)
		}
	}
	h.links = nil
}

// LoseDisk empties the disk of host i, as if the machine had been replaced. The host must
// be down.
func (w *World) LoseDisk(i int32) { w.hosts[i].disk = disk{} }
