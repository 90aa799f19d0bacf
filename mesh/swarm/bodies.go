package swarm

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// bodies records which bodies are on disk, which are being fetched, and which requests
// of peers wait for a body.
type bodies struct {
	held    map[record.VersionKey]uint8 // a bit for each form whose shards can be served
	fetches []*fetch                    // in the order in which they began
	waiting []waiting                   // in the order of arrival
}

// fetch is a wanted body, or the index of a wanted form.
type fetch struct {
	version record.VersionKey
	choice  wire.FormChoice
	// request is the request of a peer for which the fetch is, if the fetch is for other
	// nodes; 0 for no particular request.
	request uint64
	// asked is the number of nodes that were asked and have not answered. With 0, the
	// fetch waits for a parent, for a retry, or for an exchange.
	asked int
	// tries is the number of further nodes that were asked.
	tries int
	// above: the fetch asks the nodes above that may have the form: backup and coordinator.
	above bool
	// last: the coordinator was asked, so there is nobody else to ask.
	last bool
	// slow: the asked nodes were given more time before the coordinator is asked.
	slow bool
	// askAt is when to ask a further node if none has answered; step.Never for not at all.
	askAt step.Time
}

// waiting is a request of a peer for a body that has not arrived yet. The request waits,
// so that the peer need not ask again and again.
type waiting struct {
	request uint64
	peer    step.PeerID
	version record.VersionKey
	choice  wire.FormChoice
}

func newBodies() bodies { return bodies{held: map[record.VersionKey]uint8{}} }

func (b *bodies) has(v record.VersionKey) bool {
	_, ok := b.held[v]
	return ok
}

// forms returns the forms of v whose shards can be served, a bit each.
func (b *bodies) forms(v record.VersionKey) uint8 { return b.held[v] }

func (b *bodies) hold(v record.VersionKey, forms uint8) {
	b.held[v] = forms
	b.forget(v, wire.AnyForm)
}

func (b *bodies) evict(v record.VersionKey) { delete(b.held, v) }

// find returns the fetch of v with the given choice; nil if absent.
func (b *bodies) find(v record.VersionKey, choice wire.FormChoice) *fetch {
	for _, f := range b.fetches {
		if f.version == v && f.choice == choice {
			return f
		}
	}
	return nil
}

// begin returns the fetch of v with the given choice. A missing fetch is created.
func (b *bodies) begin(v record.VersionKey, choice wire.FormChoice) *fetch {
	f := b.find(v, choice)
	if f == nil {
		f = &fetch{version: v, choice: choice, askAt: step.Never}
		b.fetches = append(b.fetches, f)
	}
	return f
}

func (b *bodies) forget(v record.VersionKey, choice wire.FormChoice) {
	b.fetches = slices.DeleteFunc(b.fetches, func(f *fetch) bool {
		return f.version == v && f.choice == choice
	})
}

func (b *bodies) cancelPeer(peer step.PeerID) {
	b.waiting = slices.DeleteFunc(b.waiting, func(w waiting) bool { return w.peer == peer })
}

func (b *bodies) cancel(request uint64) {
	b.waiting = slices.DeleteFunc(b.waiting, func(w waiting) bool { return w.request == request })
}

// await lets a request wait. If too many requests wait already, the request is denied
// and await returns false.
func (b *bodies) await(w waiting, out step.Outputs) (_ step.Outputs, ok bool) {
	if len(b.waiting) >= maxWaiting {
		denial := step.Output{
			Op:     step.OpDeny,
			Body:   step.Body{Request: w.request},
			Reason: "too many requests wait",
		}
		return append(out, denial), false
	}
	b.waiting = append(b.waiting, w)
	return out, true
}

// take removes and returns the requests that wait for v with one of the given choices.
// Without choices, it takes every request for v.
func (b *bodies) take(v record.VersionKey, choices ...wire.FormChoice) []waiting {
	var taken []waiting
	b.waiting = slices.DeleteFunc(b.waiting, func(w waiting) bool {
		matches := w.version == v && (len(choices) == 0 || slices.Contains(choices, w.choice))
		if matches {
			taken = append(taken, w)
		}
		return matches
	})
	return taken
}

// serve answers the requests that take would return.
func (b *bodies) serve(v record.VersionKey, out step.Outputs, choices ...wire.FormChoice) step.Outputs {
	for _, w := range b.take(v, choices...) {
		out = append(out, step.Output{
			Op:   step.OpServe,
			Body: step.Body{Request: w.request, Version: v, Choice: w.choice},
		})
	}
	return out
}

// deny refuses the requests that take would return.
func (b *bodies) deny(
	v record.VersionKey, reason string, out step.Outputs, choices ...wire.FormChoice,
) step.Outputs {
	for _, w := range b.take(v, choices...) {
		out = append(out, step.Output{
			Op:     step.OpDeny,
			Body:   step.Body{Request: w.request},
			Reason: reason,
		})
	}
	return out
}
