package tree

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Rendezvous orders a region's coordinators for one agent. Each agent has an order of its
// own, and the first places are shared evenly. When a coordinator is added or lost, only
// the agents that go to that coordinator, or come from it, change their first place. The
// weight of a coordinator is the xxHash64 of the agent's name, a zero byte and the
// coordinator's address; the highest weight comes first.
//
// Source: highest random weight (Thaler and Ravishankar, IEEE/ACM ToN 1998).
func Rendezvous(agent string, coordinators []string) []string {
	weight := func(c string) uint64 {
		var d xxhash.Digest
		d.Reset()
		d.WriteString(agent)
		d.Write([]byte{0})
		d.WriteString(c)
		return d.Sum64()
	}
	order := slices.Clone(coordinators)
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(weight(b), weight(a)) })
	return order
}

// CellBits is the number of low bits of an agent index that count agents within a cell.
// The other bits are the number of the cell, so that the coordinators of one region give
// out different indices.
const CellBits = 27

// MaxCells is the number of coordinators that a region can have.
const MaxCells = 1 << (32 - CellBits)
