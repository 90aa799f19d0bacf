package tree

import (
	"fmt"
)

// indices are the agent indices that a planner gives out. The coordinator reserves them in its
// store block by block, so that no two agents of a region ever have one index, whichever
// coordinator placed them and however often the coordinator started.
type indices struct {
	next, end uint32 // the block in use
	waiting   []block
	left      int // number of indices to give out
}

type block struct{ first, end uint32 }

// Reserved gives the planner n further agent indices, from first on, to give out.
func (p *Planner) Reserved(first uint32, n int) {
	p.indices.waiting = append(p.indices.waiting, block{first, first + uint32(n)})
	p.indices.left += n
}

// NeedsIndices reports whether the indices to give out are about to run out.
func (p *Planner) NeedsIndices() bool { return p.indices.left < fewIndices }

// take returns an index that no agent has. The error wraps ErrBusy.
func (x *indices) take() (uint32, error) {
	x.advance()
	if x.next == x.end {
		return 0, fmt.Errorf("%w: the next agent indices are being reserved", ErrBusy)
	}
	x.next++
	x.left--
	return x.next - 1, nil
}

// advance goes on to the next block if the block in use is used up.
func (x *indices) advance() {
	if x.next == x.end && len(x.waiting) > 0 {
		x.next = x.waiting[0].first
		x.end = x.waiting[0].end
		x.waiting = x.waiting[1:]
	}
}

// given reports whether an index was given out: by this planner, by an earlier incarnation of
// its coordinator, or by another cell.
func (x *indices) given(index uint32) bool {
	x.advance()
	if cellOf(index) != cellOf(x.next) {
		return true
	}
	for _, b := range x.waiting {
		if index >= b.first {
			return false
		}
	}
	return index < x.next
}

// skip notes that an agent has an index that was not given out. Such an index was given out
// by an earlier incarnation whose reservation is lost.
func (x *indices) skip(index uint32) {
	x.advance()
	if index >= x.next && index < x.end {
		x.left -= int(index + 1 - x.next)
		x.next = index + 1
	}
}
