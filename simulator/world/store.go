package world

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"banyan/mesh/wire"
	"banyan/record"
)

// store is the leader's store: the committed pointers. The store survives a crash of the
// leader.
type store struct {
	signer   *signer
	revision uint64
	// epochs holds the newest committed epoch.
	epochs map[record.PointerKey]uint64
	// newest holds the highest version that a pointer has named.
	newest map[record.PointerKey]uint64
	// pointers holds the newest pointer of every key, in the order of the first commits.
	pointers []*wire.Announcement
	// place holds the index of each key in pointers.
	place map[record.PointerKey]int
}

func newStore(s *signer) store {
	return store{
		signer: s,
		epochs: map[record.PointerKey]uint64{},
		newest: map[record.PointerKey]uint64{},
		place:  map[record.PointerKey]int{},
	}
}

// Key returns the key of a simulated version: the digest stands for the content. The key of
// version 0 names no version.
func Key(config string, version uint64) record.VersionKey {
	v := record.VersionKey{Config: config, Version: version}
	if version == 0 {
		return v
	}
	binary.BigEndian.PutUint64(v.Digest[:], version)
	binary.BigEndian.PutUint64(v.Digest[8:], xxhash.Sum64String(config))
	return v
}

// next returns the next pointer of a config in a region, as c wants it.
func (s *store) next(c Change, region string, micros int64) record.Pointer {
	p := record.Pointer{
		Config:     c.Config,
		Region:     region,
		Baseline:   Key(c.Config, c.Version).Ref(),
		Candidate:  Key(c.Config, c.Candidate).Ref(),
		Wave:       c.Wave,
		Phase:      record.PhaseActive,
		TimeMicros: micros,
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
	p.Term = 1
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
