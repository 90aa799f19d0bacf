package mesh

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// returning is an agent that attaches to a parent, and has a backup. The parent sends one body in a
// millisecond, in the order of the requests; the backup sends nothing.
type returning struct {
	t       *testing.T
	node    *Node
	now     step.Time
	queue   []record.VersionKey // requests that the parent has yet to answer
	longest int                 // the longest queue
	asked   map[record.VersionKey]int
	applied int
}

const (
	toParent step.PeerID = iota + 1
	toBackup
)

func newReturning(t *testing.T) *returning {
	r := &returning{t: t, asked: map[record.VersionKey]int{}}
	r.node = NewNode(Config{
		Self:        wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: "new"},
		Description: wire.Description{Addr: "new:1"},
		Seeds:       []string{"coordinator:1"},
		Verifier:    plainVerifier{},
	})
	coordinator := wire.Identity{Role: wire.RoleCoordinator, Region: "eu", Name: "coordinator"}
	r.step(step.Input{Kind: step.InStart})
	r.step(step.Input{
		Kind: step.InConnected,
		Peer: toParent,
		Link: step.Link{Addr: "coordinator:1", Identity: coordinator},
	})
	r.receive(&wire.Placement{Backups: []wire.Location{{Name: "backup", Addr: "backup:1"}}})
	r.receive(&wire.Attached{})
	r.pass(time.Second) // for the link to the backup
	if r.node.up.standby.peer != toBackup {
		t.Fatal("the agent has no backup")
	}
	return r
}

func (r *returning) receive(m wire.Message) {
	r.step(step.Input{Kind: step.InReceived, Peer: toParent, Message: m})
}

func (r *returning) step(in step.Input) {
	for _, o := range r.node.Step(r.now, in, nil) {
		switch o.Op {
		case step.OpConnect:
			backup := wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: "backup"}
			if o.Addr == "backup:1" {
				r.step(step.Input{
					Kind: step.InConnected,
					Peer: toBackup,
					Link: step.Link{Addr: o.Addr, Identity: backup},
				})
			}
		case step.OpFetch:
			r.asked[o.Body.Version]++
			if o.Peer == toParent {
				r.queue = append(r.queue, o.Body.Version)
			}
			r.longest = max(r.longest, len(r.queue))
		case step.OpActivate:
			r.applied++
			r.step(step.Input{Kind: step.InActivated, Pointer: o.Pointer})
		}
	}
}

// pass lets time pass. The parent answers one request in a millisecond.
func (r *returning) pass(d time.Duration) {
	for range d / time.Millisecond {
		r.now += step.Time(time.Millisecond)
		for r.node.Deadline() <= r.now {
			r.step(step.Input{Kind: step.InTick})
		}
		if len(r.queue) == 0 {
			continue
		}
		v := r.queue[0]
		r.queue = r.queue[1:]
		r.step(step.Input{Kind: step.InFetched, Body: step.Body{Version: v, Forms: 1}})
	}
}

// An agent that returns after a long time asks its parent for no more bodies than the parent sends
// at a time. It asks nobody else for a body that the parent has not had the time to send.
func TestTruthACatchUpAsksForEachBodyOnce(t *testing.T) {
	const configs = 2000
	r := newReturning(t)
	for i := range configs {
		raw := fmt.Appendf(nil, "pointer config/%04d eu 1 1", i)
		r.receive(&wire.Announcement{Revision: uint64(i + 1), Raw: raw})
	}
	r.pass(3 * time.Second)
	if r.applied != configs {
		t.Errorf("%d of %d configs are applied", r.applied, configs)
	}
	if r.longest > 64 {
		t.Errorf("%d requests wait at the parent; a link takes 64", r.longest)
	}
	for v, times := range r.asked {
		if times > 1 {
			t.Fatalf("%s was asked for %d times", v.Config, times)
		}
	}
}

// A fetch that fails makes room for the next one.
func TestAFetchThatFailsGivesItsSlotAway(t *testing.T) {
	const configs = 100
	r := newReturning(t)
	for i := range configs {
		raw := fmt.Appendf(nil, "pointer config/%04d eu 1 1", i)
		r.receive(&wire.Announcement{Revision: uint64(i + 1), Raw: raw})
	}
	for len(r.queue) > 0 {
		v := r.queue[0]
		r.queue = r.queue[1:]
		full := step.Failure{Reason: "store: disk", Fault: step.FaultHost}
		r.step(step.Input{Kind: step.InFetched, Body: step.Body{Version: v}, Failure: full})
	}
	if len(r.asked) != configs {
		t.Errorf("%d of %d bodies were asked for", len(r.asked), configs)
	}
}

// The earliest revision is that of a look at every pointer.
func TestUnsettledKnowsTheEarliestRevision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := newUnsettled()
		twin := map[record.PointerKey]uint64{}
		most := 0
		for range rapid.IntRange(0, 500).Draw(t, "changes") {
			key := record.PointerKey{Config: fmt.Sprint(rapid.IntRange(0, 20).Draw(t, "config"))}
			revision := rapid.Uint64Range(1, 50).Draw(t, "revision")
			_, held := twin[key]
			switch rapid.SampledFrom([]string{"add", "moved", "remove"}).Draw(t, "change") {
			case "add":
				u.add(key, revision)
				twin[key] = revision
			case "moved":
				u.moved(key, revision)
				if held {
					twin[key] = revision
				}
			case "remove":
				u.remove(key)
				delete(twin, key)
			}
			want := uint64(0)
			for _, r := range twin {
				if want == 0 || r < want {
					want = r
				}
			}
			got, ok := u.first()
			if got != want || ok != (len(twin) > 0) {
				t.Fatalf("first is %d, %v; the pointers are %v", got, ok, twin)
			}
			most = max(most, len(twin))
			if len(u.earliest) > 2*most+65 {
				t.Fatalf("%d entries for %d pointers", len(u.earliest), most)
			}
		}
	})
}
