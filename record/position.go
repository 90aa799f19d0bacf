package record

import "fmt"

// Bounds of a Position.
const (
	// MaxEpoch is the largest epoch.
	MaxEpoch = 1<<epochBits - 1
	// MaxTerm is the largest term.
	MaxTerm = 1<<13 - 1

	epochBits = 40
)

// Position orders the pointers of a key: first by term, then by epoch. The epoch counts the
// changes of the pointer in one history of the store. The term counts the histories: a person who
// decides which history goes on, after a restore or beside another leader, begins the next term. So
// a pointer of a history that was lost never passes for a pointer of the history
// that replaced it, although both count the same epochs.
//
// The term is in the upper bits and the epoch in the lower 40, so that positions compare as
// numbers. A position has at most 53 bits, which every JSON parser reads exactly.
type Position uint64

// At returns the position of an epoch in a term.
func At(term, epoch uint64) Position { return Position(term<<epochBits | epoch) }

// Term returns the term of the position.
func (p Position) Term() uint64 { return uint64(p) >> epochBits }

// Epoch returns the epoch of the position.
func (p Position) Epoch() uint64 { return uint64(p) & MaxEpoch }

// String describes the position. The first term is not mentioned.
func (p Position) String() string {
	if p.Term() <= 1 {
		return fmt.Sprintf("epoch %d", p.Epoch())
	}
	return fmt.Sprintf("term %d epoch %d", p.Term(), p.Epoch())
}
