package swarm

import (
	"testing"

	"banyan/mesh/step"
)

// climb lets shards leave at a rate that grows with the width, as where it is lost
// packets that hold each of them up.
func climb(w *width, now step.Time) step.Time {
	for range 1000 {
		now += step.Time(100e6) / step.Time(w.get())
		w.left(now)
	}
	return now
}

func TestWidthClimbsAsLongAsThatHelpsAndBeginsAnew(t *testing.T) {
	var w width
	if w.get() != minWidth || w.patience() != firstStuck {
		t.Errorf("begins with %d, patience %v", w.get(), w.patience())
	}
	now := climb(&w, 1)
	if w.get() != maxWidth {
		t.Errorf("climbed to %d where each step helps", w.get())
	}
	if p := w.patience(); p < 3*step.Time(100e6) || p > 5*step.Time(100e6) {
		t.Errorf("a shard takes 100 ms, patience is %v", p)
	}
	w.reset()
	if w.get() != minWidth || w.patience() == firstStuck {
		t.Errorf("begins anew with %d, patience %v", w.get(), w.patience())
	}
	for range 1000 {
		now += step.Time(10e6) // the link is the limit: width changes nothing
		w.left(now)
	}
	if w.get() > minWidth*3/2 {
		t.Errorf("is %d wide where that does not help", w.get())
	}
}
