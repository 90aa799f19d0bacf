package swarm

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// waiting is a request of a peer for a body that has not arrived yet. The request waits,
// so that the peer need not ask again and again.
type waiting struct {
	request uint64
	peer    step.PeerID
	version record.VersionKey
	choice  wire.FormChoice
}

// waitingRoom holds at most maxWaiting requests.
type waitingRoom struct {
	byVersion map[record.VersionKey][]waiting // in the order of arrival
	byRequest map[uint64]record.VersionKey
}

func newWaitingRoom() waitingRoom {
	return waitingRoom{
		byVersion: map[record.VersionKey][]waiting{},
		byRequest: map[uint64]record.VersionKey{},
	}
}

// add lets a request wait. It returns false if too many requests wait already.
func (r *waitingRoom) add(w waiting) bool {
	if len(r.byRequest) >= maxWaiting {
		return false
	}
	r.byVersion[w.version] = append(r.byVersion[w.version], w)
	r.byRequest[w.request] = w.version
	return true
}

// take removes and returns the requests that wait for v with one of the given choices, in the
// order of arrival. Without choices, it takes every request for v.
func (r *waitingRoom) take(v record.VersionKey, choices ...wire.FormChoice) []waiting {
	return r.remove(v, func(w waiting) bool { return len(choices) == 0 || slices.Contains(choices, w.choice) })
}

// has reports whether a request waits for v.
func (r *waitingRoom) has(v record.VersionKey) bool { return len(r.byVersion[v]) > 0 }

// cancel removes a request.
func (r *waitingRoom) cancel(request uint64) {
	v, waits := r.byRequest[request]
	if waits {
		r.remove(v, func(w waiting) bool { return w.request == request })
	}
}

// cancelPeer removes the requests of a peer.
func (r *waitingRoom) cancelPeer(peer step.PeerID) {
	for v := range r.byVersion {
		r.remove(v, func(w waiting) bool { return w.peer == peer })
	}
}

// remove removes and returns the requests for v that matches selects.
func (r *waitingRoom) remove(v record.VersionKey, matches func(waiting) bool) []waiting {
	var removed, rest []waiting
	for _, w := range r.byVersion[v] {
		if matches(w) {
			removed = append(removed, w)
			delete(r.byRequest, w.request)
		} else {
			rest = append(rest, w)
		}
	}
	if len(rest) > 0 {
		r.byVersion[v] = rest
	} else {
		delete(r.byVersion, v)
	}
	return removed
}
