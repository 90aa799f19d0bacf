package record

import (
	"crypto/sha256"
	"encoding/binary"
)

// State is a hash of a set of pointers that does not depend on their order: the sum of their
// digests, taken as four big-endian 64-bit words that each wrap around. The zero
// value is the state of the empty set. A head carries the state of its region, so that a host
// notices a missing pointer. Pointers of deleted configs are not in the set: a host that never had
// such a config, or that has forgotten the deletion, lacks nothing.
//
// Source: additive set hashing (Bellare and Micciancio, EUROCRYPT 1997). An attacker who
// chooses the elements can make two sums collide. The elements here cannot be chosen, because
// an activation key signs each of them.
type State [sha256.Size]byte

// Add adds a pointer to the set, by its digest.
func (s *State) Add(pointer Digest) { s.combine(pointer, func(a, b uint64) uint64 { return a + b }) }

// Remove removes a pointer from the set, by its digest.
func (s *State) Remove(pointer Digest) { s.combine(pointer, func(a, b uint64) uint64 { return a - b }) }

// AddPointer adds a pointer, unless its config is deleted.
func (s *State) AddPointer(p *Pointer, digest Digest) {
	if !p.Deleted() {
		s.Add(digest)
	}
}

// RemovePointer undoes AddPointer.
func (s *State) RemovePointer(p *Pointer, digest Digest) {
	if !p.Deleted() {
		s.Remove(digest)
	}
}

func (s *State) combine(h Digest, op func(a, b uint64) uint64) {
	for i := 0; i < len(s); i += 8 {
		binary.BigEndian.PutUint64(s[i:], op(binary.BigEndian.Uint64(s[i:]), binary.BigEndian.Uint64(h[i:])))
	}
}

// MarshalText encodes the state in hexadecimal.
func (s State) MarshalText() ([]byte, error) { return Digest(s).MarshalText() }
