package world

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"banyan/mesh/step"
)

// The heap against a dumb twin, a sorted slice: events come out by time, and events of one
// time in the order in which they were pushed.
func TestEventsComeOutByTimeAndThenByOrderOfCreation(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var q eventQueue
		var twin []event
		created := uint64(0)
		for range 300 {
			if r.IntN(3) > 0 || len(twin) == 0 {
				e := event{at: step.Time(r.IntN(20)), ref: uint32(created)}
				created++
				q.push(e)
				e.seq = created
				twin = append(twin, e)
				continue
			}
			slices.SortFunc(twin, func(a, b event) int {
				return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq))
			})
			if got, want := q.pop(), twin[0]; got != want {
				t.Fatalf("got event %+v, want %+v", got, want)
			}
			twin = twin[1:]
		}
		if q.len() != len(twin) {
			t.Fatalf("the queue has %d events, want %d", q.len(), len(twin))
		}
	}
}

func TestASlabGivesBackValuesAndUsesNumbersAgain(t *testing.T) {
	var s slab[string]
	a, b := s.put("a"), s.put("b")
	if got := s.take(a); got != "a" {
		t.Errorf("got %q, want a", got)
	}
	if c := s.put("c"); c != a {
		t.Errorf("c has number %d, want the free number %d", c, a)
	}
	if s.take(b) != "b" || s.take(a) != "c" || len(s.values) != 2 {
		t.Errorf("the slab holds %v", s.values)
	}
}

// Calls for one time run in the order in which they were requested, also if a call requests
// another call for the present.
func TestCallsOfOneTimeRunInOrder(t *testing.T) {
	w := newWorld(t, Config{Agents: []int{1}})
	var got []int
	w.At(5, func() { got = append(got, 3) })
	w.At(2, func() {
		got = append(got, 1)
		w.At(2, func() { got = append(got, 2) })
		w.At(1, func() { got = append(got, 22) }) // in the past: now
	})
	w.At(5, func() { got = append(got, 4) })
	w.Run(10)
	if want := []int{1, 2, 22, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if w.Now() != 10 {
		t.Errorf("the time is %d, want 10", w.Now())
	}
}
