package simulator

import "banyan/mesh"

// event is an input on its way to a node.
type event struct {
	at   mesh.Time
	seq  uint64 // order of creation: breaks ties, so that one seed has one history
	node int32
	in   mesh.Input
}

// eventQueue is a binary heap of events by (at, seq), without interfaces: at
// millions of events the boxing of container/heap is most of the cost.
type eventQueue struct{ heap []event }

func (q *eventQueue) len() int { return len(q.heap) }

func (q *eventQueue) push(e event) {
	q.heap = append(q.heap, e)
	i := len(q.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !less(&q.heap[i], &q.heap[parent]) {
			break
		}
		q.heap[i], q.heap[parent] = q.heap[parent], q.heap[i]
		i = parent
	}
}

func (q *eventQueue) pop() event {
	top := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && less(&q.heap[child+1], &q.heap[child]) {
			child++
		}
		if !less(&q.heap[child], &q.heap[i]) {
			break
		}
		q.heap[i], q.heap[child] = q.heap[child], q.heap[i]
		i = child
	}
	return top
}

func less(a, b *event) bool {
	if a.at != b.at {
		return a.at < b.at
	}
	return a.seq < b.seq
}
