package swarm

import (
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// bodies records which bodies are on disk, which are being fetched, and which requests
// of peers wait for a body.
type bodies struct {
	held    map[record.VersionKey]uint8 // a bit for each form whose shards can be served
	fetches fetches
	waiting waitingRoom
}

func newBodies() bodies {
	return bodies{
		held:    map[record.VersionKey]uint8{},
		fetches: newFetches(),
		waiting: newWaitingRoom(),
	}
}

func (b *bodies) has(v record.VersionKey) bool {
	_, ok := b.held[v]
	return ok
}

// forms returns the forms of v whose shards can be served, a bit each.
func (b *bodies) forms(v record.VersionKey) uint8 { return b.held[v] }

func (b *bodies) hold(v record.VersionKey, forms uint8) {
	b.held[v] = forms
	b.fetches.forget(v, wire.AnyForm)
}

func (b *bodies) evict(v record.VersionKey) { delete(b.held, v) }

// await lets a request wait. If too many requests wait already, the request is denied
// and await returns false.
func (b *bodies) await(w waiting, out step.Outputs) (_ step.Outputs, ok bool) {
	if b.waiting.add(w) {
		return out, true
	}
	denial := step.Output{
		Op:     step.OpDeny,
		Body:   step.Body{Request: w.request},
		Reason: "too many requests wait",
	}
	return append(out, denial), false
}

// serve answers the requests that wait for v with one of the given choices. Without choices, it
// answers every request for v.
func (b *bodies) serve(v record.VersionKey, out step.Outputs, choices ...wire.FormChoice) step.Outputs {
	for _, w := range b.waiting.take(v, choices...) {
		out = append(out, step.Output{
			Op:   step.OpServe,
			Body: step.Body{Request: w.request, Version: v, Choice: w.choice},
		})
	}
	return out
}

// deny refuses the requests that serve would answer.
func (b *bodies) deny(
	v record.VersionKey, reason string, out step.Outputs, choices ...wire.FormChoice,
) step.Outputs {
	for _, w := range b.waiting.take(v, choices...) {
		out = append(out, step.Output{
			Op:     step.OpDeny,
			Body:   step.Body{Request: w.request},
			Reason: reason,
		})
	}
	return out
}
