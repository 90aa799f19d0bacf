package mesh

import "banyan/mesh/step"

// width is how many shards a node sends at once. Few are best where the link is the
// limit, since what must go on to another circle waits behind less; where it is the
// peers, or lost packets, that hold each of them up, only more of them fill the link.
// So it climbs as long as that makes shards leave faster, and tries again now and then.
type width struct {
	limit   int
	sent    int       // in the present window
	began   step.Time // of the window
	starved bool      // there was nothing more to send in it
	rate    float64
	rising  bool // the last window was wider than the one before
	rest    int  // windows until the next try
}

const (
	minWidth = 4
	maxWidth = 24
	// worthwhile is by how much shards must leave faster for a wider window to stay.
	worthwhile = 1.1
	// A peer that takes nothing for stuckAfter times the usual is stuck.
	stuckAfter = 4
	minStuck   = step.Time(50e6)
	firstStuck = step.Time(5e9) // before it is known what is usual, and at the most
	// restWindows is how long a node is content with a width that could not be bettered.
	restWindows = 8
)

func (w *width) get() int { return max(w.limit, minWidth) }

// reset begins anew, but for the rate that is known.
func (w *width) reset() { *w = width{rate: w.rate} }

// patience is how long a peer may take nothing: several times what a shard usually
// takes when so many are on their way.
func (w *width) patience() step.Time {
	if w.rate == 0 {
		return firstStuck
	}
	return min(max(stuckAfter*step.Time(float64(w.get())/w.rate), minStuck), firstStuck)
}

// left notes that a shard has left, and at the end of a window draws its conclusions.
func (w *width) left(now step.Time) {
	w.limit = w.get()
	if w.sent++; w.sent < 2*w.limit {
		return
	}
	rate := float64(w.sent) / float64(max(now-w.began, 1))
	measured := w.began != 0 && !w.starved
	w.sent, w.began, w.starved = 0, now, false
	switch {
	case !measured:
	case w.rising && rate < worthwhile*w.rate: // no use
		w.limit, w.rising, w.rest = max(w.limit*2/3, minWidth), false, restWindows
	case w.rest > 0:
		w.rest--
		w.rate = rate
	default:
		w.rate, w.rising = rate, w.limit < maxWidth
		w.limit = min(w.limit+w.limit/2, maxWidth)
	}
}
