package world

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"banyan/mesh/wire"
	"banyan/record"
)

// store is the store of a leader: the committed pointers, and which versions exist. The store
// survives a crash of the leader. A backup is a copy of a store.
type store struct {
	signer *signer
	// stopped is true after a host has shown a record of another history: nothing is written, and
	// no heads are signed, until the next term.
	stopped  bool
	term     uint64
	revision uint64
	heads    uint64 // number of the last head
	// history numbers the copies of the store. Versions that are made in different histories
	// differ, even if they have the same number.
	history uint32
	// made holds the history in which each version was made. The keys have no digest.
	made map[record.VersionKey]uint32
	// last holds the newest version of each config.
	last map[string]uint64
	// epochs holds the newest committed epoch.
	epochs map[record.PointerKey]uint64
	// newest holds the highest version that a pointer has named.
	newest map[record.PointerKey]uint64
	// pointers holds the newest pointer of every key, in the order of the first commits.
	pointers []*wire.Announcement
	// place holds the index of each key in pointers.
	place map[record.PointerKey]int
}

// contradicts reports whether a head that a host has shown is of another history. The store has the
// deletions too, which the leader's node may have forgotten.
func (s *store) contradicts(h record.Head) bool {
	var revision uint64
	var state record.State
	for _, a := range s.pointers {
		if a.Pointer.Region == h.Region {
			revision = max(revision, a.Revision)
			state.AddPointer(&a.Pointer, a.Digest)
		}
	}
	return h.Revision > revision || h.Revision == revision && h.State != state
}

// nextHead returns the number of the next head.
func (s *store) nextHead() uint64 {
	s.heads++
	return s.heads
}

func newStore(s *signer) *store {
	return &store{
		signer: s,
		term:   1,
		made:   map[record.VersionKey]uint32{},
		last:   map[string]uint64{},
		epochs: map[record.PointerKey]uint64{},
		newest: map[record.PointerKey]uint64{},
		place:  map[record.PointerKey]int{},
	}
}

// backup returns a copy of the store.
func (s *store) backup() *store {
	c := *s
	c.made = maps.Clone(s.made)
	c.last = maps.Clone(s.last)
	c.epochs = maps.Clone(s.epochs)
	c.newest = maps.Clone(s.newest)
	c.pointers = slices.Clone(s.pointers)
	c.place = maps.Clone(s.place)
	return &c
}

// Key returns the key of a version that is made in the first history of a store: the digest
// stands for the content. The key of version 0 names no version.
func Key(config string, version uint64) record.VersionKey { return keyIn(0, config, version) }

// keyIn returns the key of a version that is made in a history.
func keyIn(history uint32, config string, version uint64) record.VersionKey {
	v := record.VersionKey{Config: config, Version: version}
	if version == 0 {
		return v
	}
	binary.BigEndian.PutUint64(v.Digest[:], version)
	binary.BigEndian.PutUint64(v.Digest[8:], xxhash.Sum64String(config))
	binary.BigEndian.PutUint32(v.Digest[16:], history)
	return v
}

// version returns the key of a version. It makes the version if the store has none with the
// number.
func (s *store) version(config string, version uint64) record.VersionKey {
	number := record.VersionKey{Config: config, Version: version}
	history, ok := s.made[number]
	if !ok && version != 0 {
		history = s.history
		s.made[number] = history
		s.last[config] = max(s.last[config], version)
	}
	return keyIn(history, config, version)
}

// next returns the next pointer of a config in a region, as c wants it.
func (s *store) next(c Change, region string, micros int64) record.Pointer {
	p := record.Pointer{
		Config:     c.Config,
		Region:     region,
		Baseline:   s.version(c.Config, c.Version).Ref(),
		Candidate:  s.version(c.Config, c.Candidate).Ref(),
		Wave:       c.Wave,
		Phase:      record.PhaseActive,
		TimeMicros: micros,
	}
	if c.Deleted {
		p.Phase = record.PhaseDeleted
	}
	p.Epoch = s.epochs[p.Key()] + 1
	return p
}

// commit stores p as the newest pointer of its key. It panics if the epoch of p is not the
// next one: the simulated controller is the only writer.
func (s *store) commit(p record.Pointer) *wire.Announcement {
	key := p.Key()
	if p.Epoch != s.epochs[key]+1 {
		panic(fmt.Sprintf("epoch %d of %s in %s after %d", p.Epoch, p.Config, p.Region, s.epochs[key]))
	}
	s.epochs[key] = p.Epoch
	p.Term = s.term
	s.revision++
	a := wire.NewAnnouncement(s.revision, s.signer.pointer(p), p)
	if at, ok := s.place[key]; ok {
		s.pointers[at] = a
		return a
	}
	s.place[key] = len(s.pointers)
	s.pointers = append(s.pointers, a)
	return a
}

// termRevisions is the number of revisions of a term, as in package versionstore.
const termRevisions = 1 << 40

// raise begins a term, and commits every pointer anew in the term. It returns the pointers.
func (s *store) raise(term uint64, micros int64) []*wire.Announcement {
	s.term = term
	s.stopped = false
	s.revision = max(s.revision, (term-1)*termRevisions)
	for _, a := range slices.Clone(s.pointers) {
		p := a.Pointer
		p.Epoch++
		p.TimeMicros = micros
		s.commit(p)
	}
	return slices.Clone(s.pointers)
}

// name notes that a pointer names version, and reports whether no pointer of the key has
// named a version as high before.
func (s *store) name(key record.PointerKey, version uint64) (first bool) {
	if version <= s.newest[key] {
		return false
	}
	s.newest[key] = version
	return true
}

// current returns the newest pointer of a key; nil if the store has none.
func (s *store) current(key record.PointerKey) *wire.Announcement {
	at, ok := s.place[key]
	if !ok {
		return nil
	}
	return s.pointers[at]
}
