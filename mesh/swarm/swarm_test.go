package swarm

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bits-and-blooms/bitset"
	"pgregory.net/rapid"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// A flock is a parent, which has a form, and the members of one circle, which fetch the form
// from the parent and from each other. Messages and shards take one millisecond.
type flock struct {
	t       rapid.TB
	key     record.FormKey
	info    step.FormInfo
	members []*member // members[0] is the parent
	queue   []arrival
	now     step.Time
}

// member is one node of a flock. It implements Overlay.
type member struct {
	flock  *flock
	index  int
	name   string
	swarm  *Swarm
	held   *bitset.BitSet // shards on disk
	got    map[int]int    // how often each shard arrived
	dead   bool
	liar   bool // sends poison
	ready  bool
	failed []step.Failure
}

// arrival is something that happens to a member at a time.
type arrival struct {
	at step.Time
	to *member
	do func(m *member) step.Outputs
}

const millisecond = step.Time(time.Millisecond)

// newFlock returns a flock of size members under one parent, in which every member is linked
// to every other. Each shard has 100 bytes.
func newFlock(t rapid.TB, size int, geometry record.Geometry, stripes int) *flock {
	f := &flock{
		t:    t,
		key:  record.FormKey{VersionKey: record.VersionKey{Config: "web/flags", Version: 2}},
		info: step.FormInfo{Size: int64(stripes) * int64(geometry.Data) * 100, Geometry: geometry},
	}
	for i := range size + 1 {
		m := &member{
			flock: f,
			index: i,
			name:  fmt.Sprintf("host-%02d", i),
			held:  bitset.New(uint(f.info.Shards())),
			got:   map[int]int{},
		}
		cfg := Config{Self: m.identity(), CacheLimit: DefaultCacheLimit}
		if i == 0 {
			cfg.HoldsAll = true
			cfg.Leads = true
			m.held = m.held.Complement()
		}
		m.swarm = New(cfg, m)
		f.members = append(f.members, m)
	}
	for _, m := range f.members {
		for _, other := range f.members {
			if m != other {
				m.swarm.OnLinked(other.link(), other.identity())
			}
		}
	}
	return f
}

// link returns the link to m, which is the same from every other member.
func (m *member) link() step.PeerID { return step.PeerID(m.index + 1) }

func (m *member) identity() wire.Identity {
	role := wire.RoleAgent
	if m.index == 0 {
		role = wire.RoleCoordinator
	}
	return wire.Identity{Role: role, Region: "eu", Name: m.name}
}

func (m *member) location() wire.Location { return wire.Location{Name: m.name, Addr: m.name + ":1"} }

func (m *member) Peer(peer step.PeerID) (wire.Identity, bool) {
	if peer == 0 {
		return wire.Identity{}, false
	}
	return m.flock.members[peer-1].identity(), true
}

func (m *member) Attached() bool                 { return m.index > 0 }
func (m *member) Parent() step.PeerID            { return 1 }
func (m *member) Backup() step.PeerID            { return 0 }
func (m *member) Source() step.PeerID            { return 1 }
func (m *member) CoordinatorAddr() string        { return "host-00:1" }
func (m *member) PathDelay() step.Time           { return 0 }
func (m *member) IsBelow(step.PeerID) bool       { return m.index == 0 }
func (m *member) InTree(peer step.PeerID) bool   { return peer == 1 }
func (m *member) IsNamed(record.VersionKey) bool { return true }
func (m *member) SourceWorks()                   {}

func (m *member) BodyReady(_ step.Time, _ record.VersionKey, out step.Outputs) step.Outputs {
	m.ready = true
	return out
}

func (m *member) BodyFailed(_ step.Time, _ record.VersionKey, why step.Failure, out step.Outputs) step.Outputs {
	m.failed = append(m.failed, why)
	return out
}

func (m *member) FetchLost(step.Time, record.VersionKey) bool { return false }

func (m *member) PeerIsAhead(_ step.Time, _ step.PeerID, out step.Outputs) step.Outputs { return out }

func (f *flock) later(to *member, do func(m *member) step.Outputs) {
	f.queue = append(f.queue, arrival{f.now + millisecond, to, do})
}

// carryOut does what m wants done. Nothing reaches a dead member, or leaves one.
func (f *flock) carryOut(m *member, out step.Outputs) {
	for _, o := range out {
		if m.dead {
			return
		}
		switch o.Op {
		case step.OpSend:
			f.send(m, o)
		case step.OpSendShard:
			f.sendShard(m, o)
		case step.OpConnect:
			f.connect(m, o.Addr)
		case step.OpFetch:
			f.later(m, func(m *member) step.Outputs {
				index := step.Index{Form: f.key.Form, Info: f.info, Held: m.held.Clone()}
				return m.swarm.OnIndexed(f.now, step.Body{Version: f.key.VersionKey}, index, nil)
			})
		case step.OpAssemble:
			f.later(m, func(m *member) step.Outputs {
				return m.swarm.OnAssembled(f.now, step.Body{Version: f.key.VersionKey, Forms: 1}, step.Failure{}, nil)
			})
		}
	}
}

// connect answers a dial: the link to the member at addr is the link that exists already.
func (f *flock) connect(m *member, addr string) {
	at := slices.IndexFunc(f.members, func(o *member) bool { return o.location().Addr == addr })
	if at < 0 {
		f.t.Fatalf("%s dials %s, where nobody is", m.name, addr)
	}
	to := f.members[at]
	f.later(m, func(m *member) step.Outputs {
		if to.dead {
			return m.swarm.OnDialFailed(f.now, addr, nil)
		}
		out, ok := m.swarm.OnDialed(f.now, addr, to.link(), to.identity(), nil)
		if !ok {
			f.t.Fatalf("%s has no use for the link to %s, which it dialed", m.name, addr)
		}
		return out
	})
}

func (f *flock) send(m *member, o step.Output) {
	to := f.members[o.Peer-1]
	f.later(to, func(to *member) step.Outputs {
		switch message := o.Message.(type) {
		case *wire.Want:
			return to.swarm.OnWant(f.now, m.link(), message, nil)
		case *wire.Decline:
			return to.swarm.OnDecline(f.now, m.link(), message, nil)
		}
		f.t.Fatalf("%s sends %T", m.name, o.Message)
		return nil
	})
}

// sendShard delivers a shard. A shard to a dead member never leaves.
func (f *flock) sendShard(m *member, o step.Output) {
	if !m.held.Test(uint(o.Shard.Number)) && !m.ready {
		f.t.Fatalf("%s sends shard %d, which it does not have", m.name, o.Shard.Number)
	}
	to := f.members[o.Peer-1]
	if to.dead {
		return
	}
	f.later(to, func(to *member) step.Outputs {
		shard := step.Shard{Key: o.Shard.Key, Number: o.Shard.Number}
		why := step.Failure{}
		if m.liar {
			why.Reason = step.ReasonPoison
		} else {
			to.held.Set(uint(shard.Number))
			to.got[shard.Number]++
		}
		return to.swarm.OnShard(f.now, m.link(), shard, why, nil)
	})
	f.later(m, func(m *member) step.Outputs {
		return m.swarm.OnSent(f.now, to.link(), o.Shard.Key, nil)
	})
}

// run lets time pass until every live member has the body, or until the limit.
func (f *flock) run(limit step.Time) {
	for f.now < limit && slices.ContainsFunc(f.members[1:], func(m *member) bool { return !m.dead && !m.ready }) {
		next := step.Never
		for _, a := range f.queue {
			next = min(next, a.at)
		}
		for _, m := range f.members {
			if !m.dead {
				next = min(next, m.swarm.Deadline())
			}
		}
		if next == step.Never {
			return
		}
		f.now = max(f.now, next)
		due := f.queue
		f.queue = nil
		for _, a := range due {
			switch {
			case a.to.dead:
			case a.at > f.now:
				f.queue = append(f.queue, a)
			default:
				f.carryOut(a.to, a.do(a.to))
			}
		}
		for _, m := range f.members {
			if !m.dead && m.swarm.Deadline() <= f.now {
				f.carryOut(m, m.swarm.Tick(f.now, nil))
			}
		}
	}
}

// begin puts all members into one circle, fed by the parent, and begins the fetch.
func (f *flock) begin() {
	circle := &wire.Circle{Feeders: []wire.Location{f.members[0].location()}}
	for _, m := range f.members[1:] {
		circle.Members = append(circle.Members, m.location())
	}
	for _, m := range f.members[1:] {
		f.carryOut(m, m.swarm.OnCircle(f.now, circle, nil))
		f.carryOut(m, m.swarm.Fetch(f.now, f.key.VersionKey, nil))
	}
}

// Without faults, every member receives each data shard once, and the parent sends each
// shard once in all: the members pass the shards on.
func TestACircleReceivesEachShardOnce(t *testing.T) {
	const size, stripes = 8, 12
	geometry := record.Geometry{Data: 4, Parity: 2, ShardBytes: 100}
	f := newFlock(t, size, geometry, stripes)
	f.begin()
	f.run(10 * step.Time(time.Second))
	for _, m := range f.members[1:] {
		if !m.ready {
			t.Fatalf("%s has no body after 10 s", m.name)
		}
		for shard, n := range m.got {
			if n != 1 {
				t.Errorf("%s received shard %d %d times", m.name, shard, n)
			}
		}
		if want := stripes * int(geometry.Data); len(m.got) != want {
			t.Errorf("%s received %d shards, want the %d data shards", m.name, len(m.got), want)
		}
	}
}

// Whatever members die or send poison, and whatever they have on disk: every other member
// gets the body, and no member reports a failure.
func TestALiveMemberGetsTheBodyWhateverTheOthersDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 12).Draw(t, "size")
		geometry := record.Geometry{
			Data:       uint16(rapid.IntRange(1, 5).Draw(t, "data")),
			Parity:     uint16(rapid.IntRange(0, 3).Draw(t, "parity")),
			ShardBytes: 100,
		}
		f := newFlock(t, size, geometry, rapid.IntRange(1, 20).Draw(t, "stripes"))
		dying := map[*member]step.Time{}
		for _, m := range f.members[1:] {
			switch rapid.IntRange(0, 5).Draw(t, "fate") {
			case 0:
				dying[m] = step.Time(rapid.IntRange(0, 200).Draw(t, "dies")) * millisecond
			case 1:
				m.liar = true
			case 2:
				for range rapid.IntRange(0, 10).Draw(t, "shards on disk") {
					m.held.Set(uint(rapid.IntRange(0, f.info.Shards()-1).Draw(t, "shard")))
				}
			}
		}
		f.begin()
		for _, m := range f.members[1:] {
			if at, dies := dying[m]; dies {
				f.queue = append(f.queue, arrival{at, m, func(m *member) step.Outputs { m.dead = true; return nil }})
			}
		}
		f.run(step.Time(time.Hour))
		for _, m := range f.members[1:] {
			if m.dead {
				continue
			}
			if !m.ready {
				t.Fatalf("%s has no body after an hour: %s", m.name, m.swarm.exchanges[f.key].story())
			}
			if len(m.failed) > 0 {
				t.Errorf("%s reports %+v", m.name, m.failed)
			}
		}
	})
}

// story describes an exchange, for the message of a failing test.
func (x *exchange) story() string {
	if x == nil {
		return "no exchange"
	}
	s := fmt.Sprintf("%d stripes missing, rescue %d", x.missing, x.rescue)
	for _, src := range x.sources {
		s += fmt.Sprintf("; %s owes %d, suspect %v", src.at.Name, src.orders, src.suspect)
	}
	return s
}
