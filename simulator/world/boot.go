package world

import (
	"bytes"
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"time"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
)

// Boot starts every host: coordinators now, agents at random moments within Config.Join.
func (w *World) Boot() {
	for i := range w.hosts[:len(w.hosts)-w.cfg.Clones] {
		at := w.now
		if !w.IsCoordinator(int32(i)) {
			at = at.Add(time.Duration(w.rand.Int64N(int64(w.cfg.Join)) + int64(time.Second)))
		}
		w.At(at, func() { w.Start(int32(i)) })
	}
}

// BeginHeads makes the leader send a head every Config.Heads from now on. It does nothing
// if Config.Heads is 0.
func (w *World) BeginHeads() {
	if w.cfg.Heads > 0 {
		w.At(w.now.Add(w.cfg.Heads), w.beat)
	}
}

// Start starts host i with the contents of its disk. It does nothing if the host is up.
func (w *World) Start(i int32) {
	h := &w.hosts[i]
	if !h.down {
		return
	}
	h.down = false
	h.boots++
	h.wakeAt = step.Never
	h.cpuFree = w.now
	h.upFree = w.now
	h.downFree = w.now
	h.node = mesh.NewNode(w.nodeConfig(i))
	w.observe(i, true, false)
	w.restore(i)
	w.input(w.now, i, step.Input{Kind: step.InStart})
	if w.trace != nil {
		w.trace("%s starts", h.ident.Name)
	}
}

// nodeConfig returns the configuration of the node that host i starts. The cache of a host that only relays
// is empty after a start.
func (w *World) nodeConfig(i int32) mesh.Config {
	h := &w.hosts[i]
	cfg := mesh.Config{
		Self: h.ident,
		Description: wire.Description{
			Addr:     address(i),
			Relay:    true,
			Instance: uint64(i)<<32 | uint64(h.boots) + 1,
		},
		Verifier:    w.signer,
		Arrangement: w.cfg.Arrangement,
		Seed:        w.cfg.Seed<<24 ^ uint64(i)<<8 ^ uint64(h.boots),
	}
	if !w.IsCoordinator(i) {
		cfg.Seeds = []string{address(int32(h.region))}
		cfg.Labels = w.zones[h.zone]
		if h.relays {
			cfg.Subscriptions = wire.SubscribeNothing
			cfg.CacheLimit = w.cfg.CacheLimit
			h.disk.partial = nil
		}
		return cfg
	}
	h.index = firstIndex(h.boots - 1)
	cfg.Root = &mesh.RootConfig{JoinRate: w.cfg.JoinRate, Planner: tree.PlannerConfig{
		Fanout:     w.cfg.Fanout,
		MaxAgents:  max(w.cfg.Agents[h.region]+1, tree.DefaultMaxAgents),
		FirstIndex: h.index,
		Indices:    tree.IndexBlock,
	}}
	cfg.Root.SignBatch = w.signer.batch
	h.index += tree.IndexBlock
	cfg.HoldsAll = w.IsLeader(i)
	if !w.IsLeader(i) {
		cfg.Seeds = []string{address(0)}
	}
	return cfg
}

// firstIndex returns the first agent index that a coordinator reserves after n earlier starts. A store
// begins with a random block, whatever it remembers. Here, each start has a block that is far from those
// of all other starts, whether the store was restored meanwhile or not: the van der Corput sequence.
func firstIndex(n uint32) uint32 {
	block := bits.Reverse32(n) >> (32 - bits.Len(tree.IndexBlocks-1))
	return block * tree.IndexBlock
}

// restore gives the node of host i the contents of the disk, and the leader's node the
// contents of the store.
func (w *World) restore(i int32) {
	h := &w.hosts[i]
	if w.IsLeader(i) {
		for _, a := range h.store.pointers {
			if w.isOld(i, &a.Pointer) {
				continue
			}
			h.node.Step(w.now, step.Input{Kind: step.InPublish, Pointer: step.Pointer{Announcement: a}}, nil)
		}
		return
	}
	watermark := h.disk.watermark
	for _, config := range slices.Sorted(maps.Keys(h.disk.applied)) {
		d := h.disk.applied[config]
		missing := d.version.Version != 0 && !h.Holds(d.version.Of(config)) && !w.IsCoordinator(i) && !h.relays
		if missing {
			watermark = min(watermark, d.announcement.Revision-1)
		} else {
			delete(h.disk.spoiled, config) // the agent puts every file in place
		}
		h.node.Step(w.now, step.Input{
			Kind:    step.InRestore,
			Pointer: step.Pointer{Announcement: d.announcement, Version: d.version, Unapplied: missing},
		}, nil)
	}
	for _, v := range slices.SortedFunc(maps.Keys(h.disk.held), compareVersions) {
		h.node.Step(w.now, step.Input{Kind: step.InHold, Body: step.Body{Version: v, Forms: 1}}, nil)
	}
	h.node.Step(w.now, step.Input{Kind: step.InResume, Revision: watermark}, nil)
}

func compareVersions(a, b record.VersionKey) int {
	return cmp.Or(
		cmp.Compare(a.Config, b.Config),
		cmp.Compare(a.Version, b.Version),
		bytes.Compare(a.Digest[:], b.Digest[:]),
	)
}

// Crash stops host i at once, as kill -9 does. The disk keeps its contents. The peers of
// the host notice the crash after the idle timeout.
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
