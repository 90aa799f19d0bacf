package mesh

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Rendezvous orders a region's coordinators for one agent: each agent has its own
// order, all share out evenly, and when a coordinator is added or lost, only those
// move that go to it or come from it. The weight of a coordinator is the xxHash64 of
// the agent's name, a zero byte and the coordinator's address.
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

// CellBits is how many low bits of an agent index count within a cell; the rest
// name the cell, so that coordinators of one region give out different indices.
const CellBits = 27

// MaxCells is how many coordinators a region can have.
const MaxCells = 1 << (32 - CellBits)

func cellOf(index uint32) uint32 { return index >> CellBits }
