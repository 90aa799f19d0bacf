package mesh

import (
	"fmt"
	"strings"
	"testing"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// ackOf returns the acknowledgement of a pointer by some agents, of which some failed.
func ackOf(config string, applied, failed []uint32) *wire.AckEntry {
	e := wire.NewAckEntry(record.PointerKey{Config: config, Region: "eu"}, 1, record.Digest{1})
	e.Applied.AddMany(applied)
	e.Failed.AddMany(failed)
	for _, i := range failed {
		e.AddFailure(wire.Failure{Agent: i, Name: fmt.Sprint("host-", i), Reason: strings.Repeat("r", wire.MaxReason)})
	}
	for range applied {
		e.Latency.Add(1000)
	}
	return e
}

// deliver takes all pending entries, page by page, over the encoding of messages, and returns what
// a parent has merged, and the largest page.
func deliver(t *testing.T, a *acks) (got map[string]*wire.AckEntry, largest int) {
	t.Helper()
	got = map[string]*wire.AckEntry{}
	for len(a.dirty) > 0 {
		page := 0
		for _, entries := range wire.SplitAcks(a.page()) {
			b, err := wire.AppendMessage(nil, &wire.Ack{Entries: entries})
			if err != nil {
				t.Fatal(err)
			}
			page += len(b)
			m, err := wire.DecodeMessage(b)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range m.(*wire.Ack).Entries {
				if got[e.Config] == nil {
					got[e.Config] = wire.NewAckEntry(e.Key(), e.Position, e.Pointer)
				}
				got[e.Config].Merge(&e)
			}
		}
		largest = max(largest, page)
	}
	return got, largest
}

// Whatever the number of configs, agents and reasons: every acknowledgement arrives, and no page is
// much larger than it may be.
func TestEveryAcknowledgementArrives(t *testing.T) {
	scattered := make([]uint32, 625)
	for i := range scattered {
		scattered[i] = uint32(i) * 1_000_003
	}
	failed := make([]uint32, wire.MaxFailures)
	for i := range failed {
		failed[i] = uint32(i)*7 + 1
	}
	for _, c := range []struct {
		name            string
		configs         int
		applied, failed []uint32
	}{
		{"many reasons", 20, []uint32{1_000_000}, failed},
		{"scattered agents", 300, scattered, nil},
		{"many configs", 30_000, []uint32{5}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAcks()
			for i := range c.configs {
				a.add(0, ackOf(fmt.Sprint("config-", i), c.applied, c.failed))
			}
			got, largest := deliver(t, &a)
			whole := 0
			for _, e := range got {
				if int(e.Applied.GetCardinality()) == len(c.applied) && len(e.Failures) == len(c.failed) {
					whole++
				}
			}
			if whole != c.configs || largest > 2*ackPage {
				t.Errorf("%d of %d acknowledgements arrived whole; the largest page has %d bytes", whole, c.configs, largest)
			}
		})
	}
}

// A new parent is told everything again, but for latencies, which would count twice.
func TestLatenciesAreSentOnce(t *testing.T) {
	a := newAcks()
	a.add(0, ackOf("sent", []uint32{1, 2}, nil))
	sent, _ := deliver(t, &a)
	a.add(0, ackOf("new", []uint32{1, 2, 3}, nil))
	a.resend(0)
	again, _ := deliver(t, &a)
	if n := sent["sent"].Latency.Count(); n != 2 {
		t.Errorf("%d latencies were sent at first, want 2", n)
	}
	if again["sent"] == nil || again["sent"].Applied.GetCardinality() != 2 || again["sent"].Latency.Count() != 0 {
		t.Errorf("what was sent is sent again as %+v", again["sent"])
	}
	if n := again["new"].Latency.Count(); n != 3 {
		t.Errorf("%d latencies that were not sent before are sent, want 3", n)
	}
	a.resend(0)
	if last, _ := deliver(t, &a); last["new"].Latency.Count() != 0 || last["new"].Applied.GetCardinality() != 3 {
		t.Error("latencies are sent twice")
	}
}

// A page waits until the page before has left.
func TestPagesOfAcknowledgementsWaitForEachOther(t *testing.T) {
	n := NewNode(Config{Self: wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: "me"}, Seeds: []string{"c:1"}})
	n.up.state = upAttached
	n.up.parent = 9
	for i := range 2*wire.MaxAckEntries + 1 {
		n.acks.add(0, ackOf(fmt.Sprint("config-", i), []uint32{1}, nil))
	}
	pages := func(out step.Outputs) (sent, waits int) {
		for _, o := range out {
			switch o.Op {
			case step.OpSend:
				sent++
			case step.OpAwaitDrain:
				waits++
			}
		}
		return sent, waits
	}
	for page, wantWaits := range []int{1, 1, 0} {
		var out step.Outputs
		if page == 0 {
			out = n.Step(ackDelay, step.Input{Kind: step.InTick}, nil)
			out = n.Step(2*ackDelay, step.Input{Kind: step.InTick}, out)
		} else {
			out = n.Step(ackDelay, step.Input{Kind: step.InDrained, Peer: 9}, nil)
		}
		if sent, waits := pages(out); sent != 1 || waits != wantWaits {
			t.Errorf("page %d: %d messages sent, %d waits; want 1 and %d", page, sent, waits, wantWaits)
		}
	}
}

// What an agent acknowledged under an index that it has no longer is taken back, sent or not. What
// other agents acknowledged stays, and so do the entries of others in which the agent's were merged.
func TestTruthAnAgentTakesBackWhatItAcknowledgedUnderAnotherIndex(t *testing.T) {
	a := newAcks()
	child := ackOf("a", []uint32{9}, []uint32{10})
	a.add(0, ackOf("a", []uint32{7}, nil))
	a.add(0, child)
	a.add(0, ackOf("b", nil, []uint32{7}))
	deliver(t, &a)
	a.add(0, ackOf("c", []uint32{7, 9}, nil))
	a.disown(7)
	a.resend(0)
	got, _ := deliver(t, &a)
	for config, want := range map[string]string{"a": "{9} {10}", "b": "{} {}", "c": "{9} {}"} {
		e := got[config]
		if have := e.Applied.String() + " " + e.Failed.String(); have != want || e.Has(7) {
			t.Errorf("%s: applied and failed %s, want %s; reasons of %v", config, have, want, e.Failures)
		}
	}
	if !child.Applied.Contains(9) || child.Applied.GetCardinality() != 1 {
		t.Errorf("the child's entry was changed: %v", child.Applied)
	}
}
