package mesh

import (
	"cmp"
	"container/heap"
	"slices"

	"banyan/mesh/step"
	"banyan/record"
)

// retries holds the configs that are to be settled again later.
type retries struct {
	jitter jitter
	queue  retryQueue
	added  uint64    // number of retries that were ever added
	wakeAt step.Time // when the first retry is due
}

type retryEntry struct {
	at     step.Time
	number uint64 // orders the entries by the time at which they were added
	key    record.PointerKey
}

func (r *retries) add(at step.Time, key record.PointerKey) {
	r.added++
	heap.Push(&r.queue, retryEntry{at, r.added, key})
	r.wakeAt = r.queue[0].at
}

// after adds a retry after a delay that doubles with each failed attempt.
func (r *retries) after(now step.Time, key record.PointerKey, attempt int) {
	delay := min(minRetry<<min(attempt-1, 16), maxRetry)
	r.add(now+r.jitter.around(delay), key)
}

// due removes and returns the configs whose retry is due, in the order in which they were added.
func (r *retries) due(now step.Time) []record.PointerKey {
	var entries []retryEntry
	for len(r.queue) > 0 && r.queue[0].at <= now {
		entries = append(entries, heap.Pop(&r.queue).(retryEntry))
	}
	r.wakeAt = step.Never
	if len(r.queue) > 0 {
		r.wakeAt = r.queue[0].at
	}
	slices.SortFunc(entries, func(a, b retryEntry) int { return cmp.Compare(a.number, b.number) })
	keys := make([]record.PointerKey, len(entries))
	for i, e := range entries {
		keys[i] = e.key
	}
	return keys
}

// retryQueue is a heap of retries, the earliest first.
type retryQueue []retryEntry

// Len, Less, Swap, Push and Pop implement heap.Interface.

func (q retryQueue) Len() int           { return len(q) }
func (q retryQueue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q retryQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *retryQueue) Push(x any)        { *q = append(*q, x.(retryEntry)) }

func (q *retryQueue) Pop() any {
	old := *q
	last := len(old) - 1
	e := old[last]
	*q = old[:last]
	return e
}
