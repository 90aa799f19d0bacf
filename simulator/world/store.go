package world

import (
	"fmt"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// store is the leader's: the pointers it has committed. It survives the leader.
type store struct {
	revision uint64
	epochs   map[record.PointerKey]uint64 // of each config and region
	newest   map[record.PointerKey]uint64 // highest version named so far
	pointers []*wire.Announcement
	place    map[record.PointerKey]int // in pointers
	sizes    map[record.VersionKey]int64
}

func newStore() store {
	return store{epochs: map[record.PointerKey]uint64{}, newest: map[record.PointerKey]uint64{}, place: map[record.PointerKey]int{}, sizes: map[record.VersionKey]int64{}}
}

// Change is a move of a config's pointers.
type Change struct {
	Config    string
	Version   uint64 // what hosts run: the baseline
	Candidate uint64 // what those in the wave run; 0 for none
	Wave      record.Wave
	Regions   []string // default all
}

// Publish moves every region's pointer of config to a version: it is committed by
// a quorum, then announced. It returns the epoch.
func (w *World) Publish(config string, version uint64) uint64 {
	return w.Move(Change{Config: config, Version: version})
}

// Move moves a config's pointers and returns the new epoch of the last region
// named. The leader commits them in the order in which they were asked for; one
// that is down, or loses its disk's quorum before the commit, moves nothing.
func (w *World) Move(c Change) (epoch uint64) {
	if len(c.Regions) == 0 {
		c.Regions = w.cfg.Network.Matrix.Regions
	}
	began, boots := w.now, w.hosts[0].boots
	for _, region := range c.Regions {
		epoch = w.store.epochs[record.PointerKey{Config: c.Config, Region: region}] + 1
	}
	w.At(w.now.Add(w.cfg.Commit()), func() {
		if h := &w.hosts[0]; h.down || h.boots != boots {
			return // its writer was told nothing: it may not count on it
		}
		for _, region := range c.Regions {
			w.commit(c, region, int64(began)/1000)
		}
	})
	return epoch
}

// Preload makes version 1 of a config what everyone runs, before anyone has started:
// it is in the store, and on every disk.
func (w *World) Preload(config string) {
	v := record.VersionKey{Config: config, Version: 1}
	newest := make([]*wire.Announcement, w.Regions())
	for i, region := range w.cfg.Network.Matrix.Regions {
		newest[i] = w.record(Change{Config: config, Version: 1}, region, 0)
		w.store.newest[record.PointerKey{Config: config, Region: region}] = 1
	}
	for i := range w.hosts {
		h := &w.hosts[i]
		if w.IsLeader(int32(i)) {
			continue
		}
		a := newest[h.region]
		h.disk.applied = map[string]onDisk{config: {a, 1}}
		h.disk.held = map[record.VersionKey]struct{}{v: {}}
		h.disk.watermark = a.Revision
	}
}

// commit is the compare-and-swap: the next epoch, and the announcement of it.
func (w *World) commit(c Change, region string, micros int64) {
	w.announce(w.record(c, region, micros))
}

// CommitPointer commits a pointer as it is; its epoch must be the next.
func (w *World) CommitPointer(p record.Pointer) {
	key := record.PointerKey{Config: p.Config, Region: p.Region}
	if p.Epoch != w.store.epochs[key]+1 {
		panic(fmt.Sprintf("epoch %d of %s in %s after %d", p.Epoch, p.Config, p.Region, w.store.epochs[key]))
	}
	p.TimeMicros = int64(w.now) / 1000
	w.announce(w.keep(p))
}

func (w *World) announce(a *wire.Announcement) {
	p := &a.Pointer
	w.notifyCommitted(a)
	w.step(0, step.Input{Kind: step.InPublish, Announcement: a, Push: w.pushFor(record.PointerKey{Config: p.Config, Region: p.Region}, max(p.Baseline, p.Candidate))})
}

// record puts the next epoch of a pointer into the store.
func (w *World) record(c Change, region string, micros int64) *wire.Announcement {
	return w.keep(record.Pointer{Config: c.Config, Region: region, Epoch: w.store.epochs[record.PointerKey{Config: c.Config, Region: region}] + 1, Baseline: c.Version,
		Candidate: c.Candidate, Wave: c.Wave, Phase: record.PhaseActive, TimeMicros: micros})
}

// keep stores a pointer as its config's newest.
func (w *World) keep(p record.Pointer) *wire.Announcement {
	key := record.PointerKey{Config: p.Config, Region: p.Region}
	w.store.epochs[key] = p.Epoch
	w.store.revision++
	a := &wire.Announcement{Revision: w.store.revision, Raw: w.signer.pointer(p), Pointer: p}
	if at, ok := w.store.place[key]; ok {
		w.store.pointers[at] = a
	} else {
		w.store.place[key] = len(w.store.pointers)
		w.store.pointers = append(w.store.pointers, a)
	}
	return a
}

// pushFor is the version to push behind a pointer that names it first, if it is small.
func (w *World) pushFor(key record.PointerKey, version uint64) *wire.Push {
	if version <= w.store.newest[key] {
		return nil
	}
	w.store.newest[key] = version
	if w.bodySize(record.VersionKey{Config: key.Config, Version: version}) > w.cfg.PushLimit {
		return nil
	}
	return &wire.Push{Config: key.Config, Version: version, Manifest: simulatedManifest}
}

// Current is the newest committed pointer of a config in a region; nil for none.
func (w *World) Current(config, region string) *wire.Announcement {
	if at, ok := w.store.place[record.PointerKey{Config: config, Region: region}]; ok {
		return w.store.pointers[at]
	}
	return nil
}

// Pointers returns the newest committed pointer of every config and region, in the order
// in which the store first saw them. The caller must not change the slice.
func (w *World) Pointers() []*wire.Announcement { return w.store.pointers }

// NewestVersion returns the highest version of config that a pointer of the region has
// named; 0 for none.
func (w *World) NewestVersion(config, region string) uint64 {
	return w.store.newest[record.PointerKey{Config: config, Region: region}]
}

// SetBodySize sets the size of the body of version v; the default is Config.BodyBytes.
func (w *World) SetBodySize(v record.VersionKey, bytes int64) { w.store.sizes[v] = bytes }

// Census makes the coordinator i count its agents now.
func (w *World) Census(i int32) { w.step(i, step.Input{Kind: step.InCensus}) }

// beat lets the leader sign and send a head for every region, and arranges the next.
func (w *World) beat() {
	w.At(w.now.Add(w.cfg.Heads), w.beat)
	if w.hosts[0].down {
		return
	}
	for _, region := range w.cfg.Network.Matrix.Regions {
		h := record.Head{Region: region, Revision: w.hosts[0].node.Revision(region),
			TimeMicros: int64(w.now)/1000 + 1, State: w.hosts[0].node.State(region)}
		w.step(0, step.Input{Kind: step.InPublishHead, Head: h, HeadRaw: &wire.SignedHead{Raw: w.signer.head(h)}})
	}
}
