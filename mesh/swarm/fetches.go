package swarm

import (
	"cmp"
	"container/heap"
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// fetch is a wanted body, or the index of a wanted form.
type fetch struct {
	version record.VersionKey
	choice  wire.FormChoice
	// number orders the fetches by their begin.
	number uint64
	// request is the request of a peer for which the fetch is, if the fetch is for other
	// nodes; 0 for no particular request.
	request uint64
	// asked is the number of nodes that were asked and have not answered. With 0, the
	// fetch waits for a slot, for a parent, for a retry, or for the shards of an exchange.
	asked int
	// tries is the number of further nodes that were asked.
	tries int
	// above: the fetch asks the nodes above that may have the form: backup and coordinator.
	above bool
	// last: the coordinator was asked, so there is nobody else to ask.
	last bool
	// slow: the asked nodes were given more time before the coordinator is asked.
	slow bool
	// slot: the fetch counts in fetches.flying.
	slot bool
	// queued: the fetch is in fetches.queue.
	queued bool
	// askAt is when to ask a further node if none has answered; step.Never for not at all.
	askAt step.Time
	// alarm is the position in fetches.alarms; -1 if askAt is step.Never.
	alarm int
}

type fetchKey struct {
	version record.VersionKey
	choice  wire.FormChoice
}

// fetches holds the fetches of a node. A fetch for the node itself has one of maxFlying slots from the
// request until the body is here. Without a free slot it waits in a queue. So a node that comes back after
// a long time asks its parent for no more bodies than the parent sends at a time, and its patience with
// the parent begins when a request is sent.
type fetches struct {
	byBody   map[fetchKey]*fetch
	byConfig map[string][]*fetch // the same fetches
	begun    uint64              // number of fetches that were ever begun
	flying   int                 // number of fetches with a slot
	// queue has the fetches that wait for a slot, in order, and entries that next passes over: of
	// fetches that wait no more.
	queue  []*fetch
	alarms alarms
}

func newFetches() fetches {
	return fetches{byBody: map[fetchKey]*fetch{}, byConfig: map[string][]*fetch{}}
}

// find returns the fetch of v with the given choice; nil if absent.
func (a *fetches) find(v record.VersionKey, choice wire.FormChoice) *fetch {
	return a.byBody[fetchKey{v, choice}]
}

// begin returns the fetch of v with the given choice. A missing fetch is created.
func (a *fetches) begin(v record.VersionKey, choice wire.FormChoice) *fetch {
	key := fetchKey{v, choice}
	f := a.byBody[key]
	if f == nil {
		a.begun++
		f = &fetch{version: v, choice: choice, number: a.begun, askAt: step.Never, alarm: -1}
		a.byBody[key] = f
		a.byConfig[v.Config] = append(a.byConfig[v.Config], f)
	}
	return f
}

// forget ends the fetch of v with the given choice, if there is one.
func (a *fetches) forget(v record.VersionKey, choice wire.FormChoice) {
	f := a.find(v, choice)
	if f == nil {
		return
	}
	a.release(f)
	a.wakeAt(f, step.Never)
	f.queued = false
	delete(a.byBody, fetchKey{v, choice})
	a.byConfig[v.Config] = slices.DeleteFunc(a.byConfig[v.Config], func(g *fetch) bool { return g == f })
	if len(a.byConfig[v.Config]) == 0 {
		delete(a.byConfig, v.Config)
	}
}

// queuedOf returns the fetches of config that wait for a slot.
func (a *fetches) queuedOf(config string) (list []*fetch) {
	for _, f := range a.byConfig[config] {
		if f.queued {
			list = append(list, f)
		}
	}
	return list
}

// waits reports whether a fetch waits for a slot.
func (a *fetches) waits() bool {
	return slices.ContainsFunc(a.queue, func(f *fetch) bool { return f.queued })
}

// all returns the fetches in the order of their begin.
func (a *fetches) all() []*fetch {
	list := make([]*fetch, 0, len(a.byBody))
	for _, f := range a.byBody {
		list = append(list, f)
	}
	slices.SortFunc(list, byNumber)
	return list
}

func byNumber(x, y *fetch) int { return cmp.Compare(x.number, y.number) }

// take gives a fetch a slot. It returns false if no slot is free; the fetch is in the queue then.
func (a *fetches) take(f *fetch) bool {
	switch {
	case f.slot:
		return true
	case a.flying >= maxFlying:
		a.enqueue(f)
		return false
	}
	f.queued = false
	f.slot = true
	a.flying++
	return true
}

// enqueue puts a fetch at the end of the queue, unless the fetch waits already. The queue is at most
// about twice as long as there are fetches.
func (a *fetches) enqueue(f *fetch) {
	if f.queued {
		return
	}
	if len(a.queue) > 2*len(a.byBody)+maxFlying {
		a.queue = slices.DeleteFunc(a.queue, func(w *fetch) bool { return !w.queued })
	}
	f.queued = true
	a.queue = append(a.queue, f)
}

// release frees the slot of f. It does nothing if f is nil or has no slot.
func (a *fetches) release(f *fetch) {
	if f != nil && f.slot {
		f.slot = false
		a.flying--
	}
}

// next removes and returns the first fetch of the queue; nil if no fetch waits, or no slot is free.
func (a *fetches) next() *fetch {
	for a.flying < maxFlying && len(a.queue) > 0 {
		f := a.queue[0]
		a.queue[0] = nil
		a.queue = a.queue[1:]
		if f.queued {
			f.queued = false
			return f
		}
	}
	return nil
}

// wakeAt sets the time at which a further node is asked for f.
func (a *fetches) wakeAt(f *fetch, at step.Time) {
	f.askAt = at
	switch {
	case f.alarm >= 0 && at == step.Never:
		heap.Remove(&a.alarms, f.alarm)
	case f.alarm >= 0:
		heap.Fix(&a.alarms, f.alarm)
	case at != step.Never:
		heap.Push(&a.alarms, f)
	}
}

// deadline returns the earliest askAt.
func (a *fetches) deadline() step.Time {
	if len(a.alarms) == 0 {
		return step.Never
	}
	return a.alarms[0].askAt
}

// due returns the fetches whose askAt is not after now, in the order of their begin.
func (a *fetches) due(now step.Time) []*fetch {
	list := a.alarms.upTo(now, 0, nil)
	slices.SortFunc(list, byNumber)
	return list
}

// alarms is a heap of fetches, ordered by askAt.
type alarms []*fetch

// upTo appends the fetches at or below position i whose askAt is not after now.
func (h alarms) upTo(now step.Time, i int, list []*fetch) []*fetch {
	if i >= len(h) || h[i].askAt > now {
		return list
	}
	list = h.upTo(now, 2*i+1, append(list, h[i]))
	return h.upTo(now, 2*i+2, list)
}

// Len, Less, Swap, Push and Pop implement heap.Interface.

func (h alarms) Len() int           { return len(h) }
func (h alarms) Less(i, j int) bool { return h[i].askAt < h[j].askAt }

func (h alarms) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].alarm = i
	h[j].alarm = j
}

func (h *alarms) Push(x any) {
	f := x.(*fetch)
	f.alarm = len(*h)
	*h = append(*h, f)
}

func (h *alarms) Pop() any {
	old := *h
	last := len(old) - 1
	f := old[last]
	old[last] = nil
	*h = old[:last]
	f.alarm = -1
	return f
}
