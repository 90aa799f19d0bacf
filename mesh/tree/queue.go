package tree

import "container/list"

// queue holds places in the order of their last push. A place is in a queue at most once, so that a
// queue has at most as many entries as the planner has places.
type queue struct {
	order   list.List
	entries map[*place]*list.Element
}

// push puts a place at the end of the queue.
func (q *queue) push(c *place) {
	if e := q.entries[c]; e != nil {
		q.order.MoveToBack(e)
		return
	}
	if q.entries == nil {
		q.entries = map[*place]*list.Element{}
	}
	q.entries[c] = q.order.PushBack(c)
}

// remove takes a place out of the queue, if the place is in the queue.
func (q *queue) remove(c *place) {
	if e := q.entries[c]; e != nil {
		q.order.Remove(e)
		delete(q.entries, c)
	}
}

// first returns the place that was pushed first; nil if the queue is empty.
func (q *queue) first() *place {
	if e := q.order.Front(); e != nil {
		return e.Value.(*place)
	}
	return nil
}
