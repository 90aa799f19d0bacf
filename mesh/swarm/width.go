package swarm

import "banyan/mesh/step"

// width decides how many shards a node sends at a time. Few are best where the link is
// the limit, because a shard that must go on to another circle then waits behind fewer
// others. Where the peers, or lost packets, delay each shard, only more shards fill the
// link. So the width grows as long as growth makes shards leave faster, and growth is
// tried again now and then.
type width struct {
	limit   int
	sent    int       // shards sent in the present window
	began   step.Time // when the present window began
	starved bool      // there was nothing to send for a part of the present window
	rate    float64   // shards per nanosecond
	rising  bool      // the latest window was wider than the one before
	rest    int       // windows until the next try
}

func (w *width) get() int { return max(w.limit, minWidth) }

// reset starts with the smallest width again, and keeps the known rate.
func (w *width) reset() { *w = width{rate: w.rate} }

// patience returns how long a peer may accept nothing: several times the usual time of a
// shard at the present width.
func (w *width) patience() step.Time {
	if w.rate == 0 {
		return firstStuck
	}
	usual := step.Time(float64(w.get()) / w.rate)
	return min(max(stuckAfter*usual, minStuck), firstStuck)
}

// left notes that a shard has left, and sets the next width at the end of a window.
func (w *width) left(now step.Time) {
	w.limit = w.get()
	w.sent++
	if w.sent < 2*w.limit {
		return
	}
	rate := float64(w.sent) / float64(max(now-w.began, 1))
	measured := w.began != 0 && !w.starved
	w.sent = 0
	w.began = now
	w.starved = false
	switch {
	case !measured:
	case w.rising && rate < worthwhile*w.rate: // growth did not help
		w.limit = max(w.limit*2/3, minWidth)
		w.rising = false
		w.rest = restWindows
	case w.rest > 0:
		w.rest--
		w.rate = rate
	default:
		w.rate = rate
		w.rising = w.limit < maxWidth
		w.limit = min(w.limit+w.limit/2, maxWidth)
	}
}
