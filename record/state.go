package record

import (
	"crypto/sha256"
	"encoding/binary"
)

// State is a hash of a set of signed pointers that does not depend on their order: the sum of
// their SHA-256 hashes, taken as four big-endian 64-bit words that each wrap around. The zero
// value is the state of the empty set. A head carries the state of its region, so that a host
// notices a missing pointer.
//
// Source: additive set hashing (Bellare and Micciancio, EUROCRYPT 1997). An attacker who
// chooses the elements can make two sums collide. The elements here cannot be chosen, because
// an activation key signs each of them.
type State [sha256.Size]byte

// Add adds a signed pointer to the set.
func (s *State) Add(raw []byte) { s.combine(raw, func(a, b uint64) uint64 { return a + b }) }

// Remove removes a signed pointer from the set.
func (s *State) Remove(raw []byte) { s.combine(raw, func(a, b uint64) uint64 { return a - b }) }

func (s *State) combine(raw []byte, op func(a, b uint64) uint64) {
	h := sha256.Sum256(raw)
	for i := 0; i < len(s); i += 8 {
		binary.BigEndian.PutUint64(s[i:], op(binary.BigEndian.Uint64(s[i:]), binary.BigEndian.Uint64(h[i:])))
	}
}

// MarshalText encodes the state in hexadecimal.
func (s State) MarshalText() ([]byte, error) { return Digest(s).MarshalText() }
