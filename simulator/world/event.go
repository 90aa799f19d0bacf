package world

import (
	"banyan/mesh/step"
	"banyan/mesh/wire"
)

// eventKind says what happens at the time of an event.
type eventKind uint8

const (
	evInput   eventKind = iota // the host's node is stepped with inputs[ref]
	evMessage                  // messages[ref] arrives at the host
	evTick                     // the host's node is stepped with a tick
	evCall                     // the function calls[ref] is called
	evShard                    // shards[ref] arrives at the host
)

// delivery is a message that has reached one end of a link.
type delivery struct {
	peer    step.PeerID
	message wire.Message
}

// event is one entry of the queue. An event is small, because the heap moves events
// around. The payload of an event lies in a slab, at index ref.
type event struct {
	at step.Time
	// seq numbers events in the order of creation. Events of one time happen in the
	// order of seq, so that one seed has one history.
	seq  uint64
	host int32
	ref  uint32
	kind eventKind
}

// eventQueue is a binary heap of events, ordered by (at, seq). It does not use
// container/heap: with millions of events, boxing each event in an interface would be
// most of the cost.
type eventQueue struct {
	heap []event
	seq  uint64
}

func (q *eventQueue) len() int { return len(q.heap) }

func (q *eventQueue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.heap = append(q.heap, e)
	i := len(q.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !less(&e, &q.heap[parent]) {
			break
		}
		q.heap[i] = q.heap[parent]
		i = parent
	}
	q.heap[i] = e
}

func (q *eventQueue) pop() event {
	top := q.heap[0]
	last := len(q.heap) - 1
	moved := q.heap[last]
	q.heap = q.heap[:last]
	i := 0
	for {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && less(&q.heap[child+1], &q.heap[child]) {
			child++
		}
		if !less(&q.heap[child], &moved) {
			break
		}
		q.heap[i] = q.heap[child]
		i = child
	}
	if last > 0 {
		q.heap[i] = moved
	}
	return top
}

func less(a, b *event) bool {
	if a.at != b.at {
		return a.at < b.at
	}
	return a.seq < b.seq
}

// slab holds values by number. The number of a value that was taken is used again.
type slab[T any] struct {
	values []T
	free   []uint32
}

func (s *slab[T]) put(v T) uint32 {
	if n := len(s.free); n > 0 {
		ref := s.free[n-1]
		s.free = s.free[:n-1]
		s.values[ref] = v
		return ref
	}
	s.values = append(s.values, v)
	return uint32(len(s.values) - 1)
}

func (s *slab[T]) take(ref uint32) T {
	v := s.values[ref]
	var zero T
	s.values[ref] = zero
	s.free = append(s.free, ref)
	return v
}
