package swarm

import (
	"fmt"
	"testing"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// loner is an agent with a parent and without a circle. It implements Overlay.
type loner struct {
	*member
	swarm   *Swarm
	pointed map[string]uint64 // the version that the pointer of a config names
	ready   map[record.VersionKey]bool
	failed  map[record.VersionKey]int // fetches that failed, by version
	asked   []record.VersionKey       // the versions that the parent was asked for, in order
}

func newLoner(t *testing.T) *loner {
	geometry := record.Geometry{Data: 2, Parity: 1, ShardBytes: 100}
	l := &loner{
		member:  newFlock(t, 1, geometry, 2).members[1],
		pointed: map[string]uint64{},
		ready:   map[record.VersionKey]bool{},
		failed:  map[record.VersionKey]int{},
	}
	l.swarm = New(Config{Self: l.identity(), CacheLimit: DefaultCacheLimit}, l)
	l.swarm.OnLinked(1, l.flock.members[0].identity())
	return l
}

func (l *loner) IsNamed(v record.VersionKey) bool { return l.pointed[v.Config] == v.Version }

func (l *loner) BodyReady(_ step.Time, v record.VersionKey, out step.Outputs) step.Outputs {
	l.ready[v] = true
	return out
}

func (l *loner) BodyFailed(_ step.Time, v record.VersionKey, _ step.Failure, out step.Outputs) step.Outputs {
	l.failed[v]++
	return out
}

// move has the pointer of a config name a version, which the agent then fetches.
func (l *loner) move(now step.Time, config string, version uint64) {
	l.pointed[config] = version
	l.note(l.swarm.Abandon(now, config, nil))
	l.note(l.swarm.Fetch(now, record.VersionKey{Config: config, Version: version}, nil))
}

// note notes the requests among outputs.
func (l *loner) note(out step.Outputs) {
	for _, o := range out {
		if o.Op == step.OpFetch {
			l.asked = append(l.asked, o.Body.Version)
		}
	}
}

// index has the parent answer a request with the index of a large form.
func (l *loner) index(now step.Time, v record.VersionKey) {
	index := step.Index{Info: l.flock.info}
	l.note(l.swarm.OnIndexed(now, step.Body{Version: v}, index, nil))
}

// send has the parent send all shards of a form, and the host assemble them.
func (l *loner) send(now step.Time, v record.VersionKey) {
	for n := range l.flock.info.Shards() {
		shard := step.Shard{Key: record.FormKey{VersionKey: v}, Number: n}
		l.note(l.swarm.OnShard(now, 1, shard, step.Failure{}, nil))
	}
	l.note(l.swarm.OnAssembled(now, step.Body{Version: v, Forms: 1}, step.Failure{}, nil))
}

// A new agent that needs thousands of large bodies has a bounded number of exchanges at a time, and gets
// every body.
func TestTruthExchangesAreAmongTheBodiesOnTheirWay(t *testing.T) {
	const configs = 16_000
	l := newLoner(t)
	for i := range configs {
		l.move(0, fmt.Sprint("large-", i), 1)
	}
	most := 0
	for next := 0; next < len(l.asked); next++ {
		l.index(0, l.asked[next])
		most = max(most, len(l.swarm.ordered))
		if next+1 == len(l.asked) { // nothing more was asked for
			for len(l.swarm.ordered) > 0 {
				l.send(0, l.swarm.ordered[0].key.VersionKey)
			}
		}
	}
	if most > maxFlying {
		t.Errorf("%d exchanges at a time, the limit is %d", most, maxFlying)
	}
	if len(l.ready) != configs || len(l.asked) != configs {
		t.Errorf("%d of %d bodies are here after %d requests", len(l.ready), configs, len(l.asked))
	}
	if flying := l.swarm.bodies.fetches.flying; flying != 0 {
		t.Errorf("%d slots are taken at the end", flying)
	}
}

// Exchanges of which nobody sends shards do not keep other bodies from being fetched.
func TestTruthStuckExchangesMakeWay(t *testing.T) {
	l := newLoner(t)
	for i := range maxFlying {
		l.move(0, fmt.Sprint("stuck-", i), 1)
		l.index(0, l.asked[i])
	}
	last := record.VersionKey{Config: "last", Version: 1}
	l.move(0, last.Config, last.Version)
	now := step.Time(0)
	for now <= 2*maxStall && l.asked[len(l.asked)-1] != last {
		now = l.swarm.Deadline()
		l.note(l.swarm.Tick(now, nil))
	}
	if got := l.asked[len(l.asked)-1]; got != last {
		t.Fatalf("%v is asked for after %v, want %v", got, now, last)
	}
	if len(l.failed) != 1 {
		t.Errorf("%d exchanges ended for the one fetch that waited, want 1", len(l.failed))
	}
}

// While all slots are taken, a config moves on: the version that waits is not fetched any more, unless a
// peer waits for it. What is on its way is left alone.
func TestTruthASupersededVersionIsNotFetched(t *testing.T) {
	l := newLoner(t)
	l.move(0, "moving", 1) // on its way
	for i := range maxFlying - 1 {
		l.move(0, fmt.Sprint("slow-", i), 1)
	}
	slow := len(l.asked)
	for version := uint64(2); version <= 1000; version++ {
		l.move(0, "moving", version)
	}
	if waiting := len(l.swarm.bodies.fetches.byBody) - slow; waiting != 1 {
		t.Errorf("%d fetches wait for one config, want 1", waiting)
	}
	l.note(l.swarm.OnFetched(0, step.Body{Version: l.asked[0], Forms: 1}, step.Failure{}, nil))
	if !l.ready[record.VersionKey{Config: "moving", Version: 1}] {
		t.Error("the version that was on its way was dropped")
	}
	l.note(l.swarm.OnFetched(0, step.Body{Version: l.asked[1], Forms: 1}, step.Failure{}, nil))
	want := record.VersionKey{Config: "moving", Version: 1000}
	if rest := l.asked[slow:]; len(rest) != 1 || rest[0] != want {
		t.Errorf("asked for %v, want %v alone", rest, want)
	}
}

// A version that a peer waits for stays in the queue after its pointer has moved on.
func TestTruthASupersededVersionIsFetchedForAPeerThatWaits(t *testing.T) {
	l := newLoner(t)
	for i := range maxFlying {
		l.move(0, fmt.Sprint("slow-", i), 1)
	}
	l.move(0, "moving", 1)
	child := waiting{request: 7, peer: 1, version: record.VersionKey{Config: "moving", Version: 1}, choice: wire.AnyForm}
	l.swarm.bodies.await(child, nil)
	l.move(0, "moving", 2)
	if !l.swarm.IsFetching(child.version) {
		t.Error("the version that a peer waits for is not fetched")
	}
}
