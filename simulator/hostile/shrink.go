package hostile

import "slices"

// Shrink returns the history without the faults and updates that its failure does not need.
// It leaves out one fault or update after another, the last first, and puts each back if
// the history then breaks no invariant. The result fails if h fails.
func (h *History) Shrink() *History {
	return h.shrink(func(smaller *History) bool {
		out, err := smaller.Run(false)
		return err == nil && len(out.Violations) > 0
	})
}

// shrink returns the history without the faults and updates without which it still fails.
func (h *History) shrink(fails func(*History) bool) *History {
	best := *h
	best.Keep = numbers(h.Keep, len(h.Faults))
	best.KeepUpdates = numbers(h.KeepUpdates, len(h.Updates))
	for _, list := range []*[]int{&best.Keep, &best.KeepUpdates} {
		for i := len(*list) - 1; i >= 0; i-- {
			whole := *list
			*list = slices.Delete(slices.Clone(whole), i, i+1)
			if !fails(&best) {
				*list = whole
			}
		}
	}
	return &best
}

// keeps reports whether the fault or update number i happens; nil keeps all.
func keeps(kept []int, i int) bool { return kept == nil || slices.Contains(kept, i) }

// numbers returns a copy of kept, or 0 to n-1 if kept is nil.
func numbers(kept []int, n int) []int {
	if kept != nil {
		return slices.Clone(kept)
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
