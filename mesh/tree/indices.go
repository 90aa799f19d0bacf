package tree

import (
	"fmt"
	"slices"
)

const (
	// IndexBlock is the number of agent indices that a coordinator reserves at a time.
	IndexBlock = 1024
	// IndexBlocks is the number of blocks of agent indices in a cell.
	IndexBlocks = 1 << CellBits / IndexBlock
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

func (b block) contains(index uint32) bool { return b.first <= index && index < b.end }

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

// given reports whether an index was given out: by this planner, by an earlier incarnation of its
// coordinator, or by another cell.
func (x *indices) given(index uint32) bool {
	if x.next <= index && index < x.end {
		return false
	}
	return !slices.ContainsFunc(x.waiting, func(b block) bool { return b.contains(index) })
}

// discard notes that an agent has index. If index was not given out, an earlier incarnation of the coordinator
// reserved the same block, and the reservation was lost. Then nothing more is given out from the block.
func (x *indices) discard(index uint32) {
	if x.next <= index && index < x.end {
		x.left -= int(x.end - x.next)
		x.next = x.end
	}
	x.waiting = slices.DeleteFunc(x.waiting, func(b block) bool {
		if !b.contains(index) {
			return false
		}
		x.left -= int(b.end - b.first)
		return true
	})
}
