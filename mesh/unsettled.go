package mesh

import (
	"container/heap"

	"banyan/record"
)

// unsettled holds the pointers that are not applied yet. It knows the earliest of their revisions
// without a look at all of them: an agent asks for it with every pointer that it applies.
type unsettled struct {
	revisions map[record.PointerKey]uint64
	// earliest has an entry for each pointer, and may have entries that do not agree with
	// revisions: those of pointers that were applied, or replaced.
	earliest revisionQueue
}

type revisionEntry struct {
	revision uint64
	key      record.PointerKey
}

func newUnsettled() unsettled { return unsettled{revisions: map[record.PointerKey]uint64{}} }

// add notes that the pointer of key, which came with a revision, is not applied yet.
func (u *unsettled) add(key record.PointerKey, revision uint64) {
	held, known := u.revisions[key]
	if known && held == revision {
		return
	}
	u.revisions[key] = revision
	if len(u.earliest) > 2*len(u.revisions)+64 {
		u.rebuild()
		return
	}
	heap.Push(&u.earliest, revisionEntry{revision, key})
}

// moved notes that the pointer of key has another revision, if the pointer is not applied yet.
func (u *unsettled) moved(key record.PointerKey, revision uint64) {
	if _, known := u.revisions[key]; known {
		u.add(key, revision)
	}
}

func (u *unsettled) remove(key record.PointerKey) { delete(u.revisions, key) }

// first returns the earliest revision. ok is false if every pointer is applied.
func (u *unsettled) first() (revision uint64, ok bool) {
	for len(u.earliest) > 0 {
		e := u.earliest[0]
		if held, known := u.revisions[e.key]; known && held == e.revision {
			return e.revision, true
		}
		heap.Pop(&u.earliest)
	}
	return 0, false
}

// rebuild drops the entries that do not agree with revisions.
func (u *unsettled) rebuild() {
	u.earliest = u.earliest[:0]
	for key, revision := range u.revisions {
		u.earliest = append(u.earliest, revisionEntry{revision, key})
	}
	heap.Init(&u.earliest)
}

// revisionQueue is a heap of pointers, the earliest revision first.
type revisionQueue []revisionEntry

// Len, Less, Swap, Push and Pop implement heap.Interface.

func (q revisionQueue) Len() int           { return len(q) }
func (q revisionQueue) Less(i, j int) bool { return q[i].revision < q[j].revision }
func (q revisionQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *revisionQueue) Push(x any)        { *q = append(*q, x.(revisionEntry)) }

func (q *revisionQueue) Pop() any {
	old := *q
	last := len(old) - 1
	e := old[last]
	old[last] = revisionEntry{}
	*q = old[:last]
	return e
}
