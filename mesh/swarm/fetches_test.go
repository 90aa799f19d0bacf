package swarm

import (
	"testing"

	"banyan/mesh/wire"
	"banyan/record"
)

// All slots are taken for long, while one config moves from version to version.
func TestTruthTheQueueOfFetchesIsBounded(t *testing.T) {
	a := newFetches()
	for i := range uint64(maxFlying) {
		a.take(a.begin(record.VersionKey{Config: "slow", Version: i}, wire.AnyForm))
	}
	first := a.begin(record.VersionKey{Config: "first", Version: 1}, wire.AnyForm)
	a.take(first)
	var last *fetch
	for i := range uint64(10_000) {
		v := record.VersionKey{Config: "restless", Version: i}
		last = a.begin(v, wire.AnyForm)
		a.take(last)
		if i < 9_999 {
			a.forget(v, wire.AnyForm)
		}
	}
	if limit := 2*len(a.byBody) + maxFlying + 1; len(a.queue) > limit {
		t.Errorf("%d entries of %d fetches, the limit is %d", len(a.queue), len(a.byBody), limit)
	}
	for i := range uint64(2) {
		a.forget(record.VersionKey{Config: "slow", Version: i}, wire.AnyForm)
	}
	if f := a.next(); f != first {
		t.Errorf("the first in the queue is %+v", f)
	}
	if f := a.next(); f != last {
		t.Errorf("the next in the queue is %+v", f)
	}
}
