package world

import (
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// Change is a move of a config's pointers.
type Change struct {
	Config string
	// Version is the baseline: the version that hosts outside of the wave run.
	Version uint64
	// Candidate is the version that the hosts in the wave run; 0 for none.
	Candidate uint64
	Wave      record.Wave
	// Deleted deletes the config; Version and Candidate are 0 then.
	Deleted bool
	// Regions are the regions whose pointers move; default all.
	Regions []string
	// Leader is the coordinator whose store the change is written to: usually 0. Another
	// coordinator leads during a FaultRival.
	Leader int32
}

// Publish moves the pointer of config to a version in every region and returns the epoch.
func (w *World) Publish(config string, version uint64) uint64 {
	return w.Move(Change{Config: config, Version: version})
}

// Move moves the pointers of a config and returns the new epoch of the last region of
// c.Regions. The leader commits changes in the order of the calls: a quorum writes the
// change, and then the leader announces the pointers. A leader that is down, or that
// crashes before the commit, moves nothing.
func (w *World) Move(c Change) (epoch uint64) {
	if len(c.Regions) == 0 {
		c.Regions = w.cfg.Network.Matrix.Regions
	}
	began := w.clock(c.Leader)
	leader := &w.hosts[c.Leader]
	boots := leader.boots
	for _, region := range c.Regions {
		epoch = leader.store.epochs[record.PointerKey{Config: c.Config, Region: region}] + 1
	}
	w.At(w.now.Add(w.cfg.Commit()), func() {
		if leader.down || leader.boots != boots || leader.store.stopped {
			return // the publisher got no answer, or a refusal, and must not count on the change
		}
		for _, region := range c.Regions {
			w.announce(c.Leader, leader.store.commit(leader.store.next(c, region, began)))
		}
	})
	return epoch
}

// CommitPointer commits and announces a pointer. The epoch of p must be the next epoch of
// its config and region.
func (w *World) CommitPointer(p record.Pointer) {
	p.TimeMicros = w.clock(0)
	w.announce(0, w.store().commit(p))
}

// announce makes a leader's node announce a committed pointer.
func (w *World) announce(leader int32, a *wire.Announcement) {
	w.notifyCommitted(leader, a)
	if w.hosts[leader].down {
		return // the node announces the pointer when it starts
	}
	w.step(leader, step.Input{
		Kind:    step.InPublish,
		Pointer: step.Pointer{Announcement: a, Push: w.pushFor(leader, &a.Pointer), Batchable: true},
	})
}

// pushFor returns the version that is pushed behind pointer p: the highest version of p, if
// no earlier pointer has named a version as high and the body is small. Otherwise pushFor
// returns nil.
func (w *World) pushFor(leader int32, p *record.Pointer) *wire.Push {
	v := p.Baseline.Of(p.Config)
	if p.Candidate.Version > v.Version {
		v = p.Candidate.Of(p.Config)
	}
	first := w.hosts[leader].store.name(p.Key(), v.Version)
	if !first || w.bodySize(v) > w.cfg.PushLimit {
		return nil
	}
	return &wire.Push{Config: v.Config, Version: v.Version, Digest: v.Digest, Manifest: simulatedManifest}
}

// Preload makes version 1 of a config the version that every host runs, before any host
// has started: the pointer is in the store, and the version is on every disk.
func (w *World) Preload(config string) {
	s := w.store()
	v := s.version(config, 1)
	byRegion := make([]*wire.Announcement, w.Regions())
	for i, region := range w.cfg.Network.Matrix.Regions {
		byRegion[i] = s.commit(s.next(Change{Config: config, Version: 1}, region, 0))
		s.name(byRegion[i].Pointer.Key(), 1)
	}
	for i := range w.hosts {
		h := &w.hosts[i]
		if w.IsLeader(int32(i)) {
			continue
		}
		a := byRegion[h.region]
		h.disk.applied = map[string]onDisk{config: {a, v.Ref()}}
		h.disk.held = map[record.VersionKey]struct{}{v: {}}
		h.disk.watermark = a.Revision
	}
}

// Current returns the newest committed pointer of a config in a region; nil for none.
func (w *World) Current(config, region string) *wire.Announcement {
	return w.store().current(record.PointerKey{Config: config, Region: region})
}

// Pointers returns the newest committed pointer of every config and region, in the order
// of the first commits. The caller must not change the slice.
func (w *World) Pointers() []*wire.Announcement { return w.store().pointers }

// PointersOf returns the pointers in the store of a leader, as Pointers does.
func (w *World) PointersOf(leader int32) []*wire.Announcement { return w.hosts[leader].store.pointers }

// HistoryOf returns the number of the history that the store of a leader writes.
func (w *World) HistoryOf(leader int32) uint32 { return w.hosts[leader].store.history }

// NewestVersion returns the highest version of config that a pointer of the region has
// named; 0 for none.
func (w *World) NewestVersion(config, region string) uint64 {
	return w.store().newest[record.PointerKey{Config: config, Region: region}]
}

// StoppedWriting reports whether a leader has stopped writing: a host has shown a record of another
// history of the store.
func (w *World) StoppedWriting(leader int32) bool { return w.hosts[leader].store.stopped }

// Histories returns the number of histories that stores have written.
func (w *World) Histories() int { return int(w.histories) + 1 }

// LastVersion returns the newest version of config in the store of a leader; 0 for none.
func (w *World) LastVersion(leader int32, config string) uint64 {
	return w.hosts[leader].store.last[config]
}

// Version returns the key of a version in the store of a leader. It makes the version if
// the store has none with the number.
func (w *World) Version(leader int32, config string, version uint64) record.VersionKey {
	return w.hosts[leader].store.version(config, version)
}

// SetBodySize sets the size of the body of version v. The default is Config.BodyBytes.
func (w *World) SetBodySize(v record.VersionKey, bytes int64) { w.sizes[v] = bytes }

// bodySize returns the size of the body of version v.
func (w *World) bodySize(v record.VersionKey) int64 {
	if size, ok := w.sizes[v]; ok {
		return size
	}
	return w.cfg.BodyBytes
}

// Census makes coordinator i count its agents now.
func (w *World) Census(i int32) { w.step(i, step.Input{Kind: step.InCensus}) }

// beat makes every leader sign and send a head for every region, and schedules the next
// beat.
func (w *World) beat() {
	w.At(w.now.Add(w.cfg.Heads), w.beat)
	for i := range w.Leaders() {
		if h := &w.hosts[i]; !h.down && !h.store.stopped {
			w.signHeads(i)
		}
	}
}

// signHeads makes a leader sign and send a head for every region.
func (w *World) signHeads(i int32) {
	leader := &w.hosts[i]
	for _, region := range w.cfg.Network.Matrix.Regions {
		h := record.Head{
			Region:     region,
			Revision:   leader.node.Revision(region),
			TimeMicros: w.clock(i) + 1,
			State:      leader.node.State(region),
			Term:       leader.store.term,
			Number:     leader.store.nextHead(),
		}
		signed := &wire.SignedHead{Raw: w.signer.head(h)}
		w.step(i, step.Input{Kind: step.InPublishHead, Head: step.Head{Head: h, Signed: signed}})
	}
}
