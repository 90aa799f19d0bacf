package record

import (
	"crypto/sha256"
	"encoding/binary"
)

// State is a hash of a set of signed pointers, whatever their order: the sum of
// their SHA-256 hashes, taken as four big-endian 64-bit words that each wrap
// around. A head carries the state of its region, so that a host knows whether
// what it was sent is all there is. Its zero value is the state of no pointer.
//
// Source: additive set hashing (Bellare and Micciancio, EUROCRYPT 1997). Sums of
// freely chosen elements can be made to collide; these elements can't be chosen,
// since an activation key has signed them.
type State [sha256.Size]byte

// Add puts a signed pointer into the set.
func (s *State) Add(raw []byte) { s.combine(raw, func(a, b uint64) uint64 { return a + b }) }

// Remove takes a signed pointer out of the set again.
func (s *State) Remove(raw []byte) { s.combine(raw, func(a, b uint64) uint64 { return a - b }) }

func (s *State) combine(raw []byte, op func(a, b uint64) uint64) {
	h := sha256.Sum256(raw)
	for i := 0; i < len(s); i += 8 {
		binary.BigEndian.PutUint64(s[i:], op(binary.BigEndian.Uint64(s[i:]), binary.BigEndian.Uint64(h[i:])))
	}
}

// MarshalText gives JSON the hexadecimal form.
func (s State) MarshalText() ([]byte, error) { return Digest(s).MarshalText() }
