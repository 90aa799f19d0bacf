package mesh

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
)

var mutants = flag.Int("mutants", 20_000, "how many altered frames the node of a coordinator and of a relay receives")

// A peer with a good certificate sends whatever it likes: altered frames, of any type, at any time. The node
// does not panic, and sends only messages that others can decode.
func TestNoFrameOfAPeerBreaksANode(t *testing.T) {
	for name, start := range map[string]func(*prey){
		"coordinator": (*prey).beCoordinator,
		"relay":       (*prey).beRelay,
	} {
		t.Run(name, func(t *testing.T) {
			p := &prey{t: t, rand: rand.New(rand.NewPCG(1, 2)), messages: sampleMessages()}
			start(p)
			for i := range *mutants {
				p.receive()
				if i%20 == 19 {
					p.pass()
				}
				if i%200 == 199 { // the node has dropped most links by now
					start(p)
				}
			}
			if p.decoded < *mutants/10 {
				t.Errorf("only %d of %d frames were decoded", p.decoded, *mutants)
			}
		})
	}
}

// prey is a node that receives altered frames, and the world around it.
type prey struct {
	t        *testing.T
	rand     *rand.Rand
	messages []wire.Message
	node     *Node
	now      step.Time
	peers    []step.PeerID
	decoded  int // frames that could be decoded
}

// cautious is a plainVerifier that refuses bytes that are not a record in words. A plainVerifier panics.
type cautious struct{ plainVerifier }

func (c cautious) VerifyPointer(raw []byte) (record.Pointer, error) {
	if words := strings.Fields(string(raw)); !utf8.Valid(raw) || len(words) < 5 || len(words) > 7 {
		return record.Pointer{}, record.ErrMalformed
	}
	return c.plainVerifier.VerifyPointer(raw)
}

func (c cautious) VerifyBatch(root []byte, payloads [][]byte) ([]record.SignedPointer, error) {
	for _, payload := range payloads {
		if _, err := c.VerifyPointer(payload); err != nil {
			return nil, err
		}
	}
	return c.plainVerifier.VerifyBatch(root, payloads)
}

func (p *prey) beCoordinator() {
	p.node = NewNode(Config{
		Self:        wire.Identity{Role: wire.RoleCoordinator, Region: "eu", Name: "root"},
		Description: wire.Description{Addr: "root:1", Relay: true},
		Root:        &RootConfig{},
		HoldsAll:    true,
		Verifier:    cautious{},
	})
	p.step(step.Input{Kind: step.InStart})
	p.peers = nil
	for i := range 3 {
		peer := p.link(step.InAccepted, wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: fmt.Sprint("agent-", i)})
		d := wire.Description{Addr: fmt.Sprintf("agent-%d:1", i), Relay: true, Instance: uint64(i) + 1}
		p.step(received(peer, &wire.Join{Description: d}))
		p.step(received(peer, &wire.Attach{Index: uint32(i), Description: d}))
	}
	follower := p.link(step.InAccepted, wire.Identity{Role: wire.RoleCoordinator, Region: "us", Name: "follower"})
	p.step(received(follower, &wire.Attach{}))
	p.link(step.InAccepted, wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: "stranger"})
	for i := range 4 {
		pointer := record.Pointer{Config: fmt.Sprint("c", i), Region: "eu", Term: 1, Epoch: 1, Phase: record.PhaseActive, Baseline: plainRef("1")}
		raw := fmt.Sprintf("pointer c%d eu 1 1", i)
		a := wire.NewAnnouncement(uint64(i)+1, []byte(raw), pointer)
		p.step(step.Input{Kind: step.InPublish, Pointer: step.Pointer{Announcement: a}})
	}
}

func (p *prey) beRelay() {
	p.node = NewNode(Config{
		Self:        wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: "relay"},
		Description: wire.Description{Addr: "relay:1", Relay: true, Instance: 9},
		Seeds:       []string{"root:1"},
		Verifier:    cautious{},
	})
	p.step(step.Input{Kind: step.InStart})
	p.peers = nil
	root := wire.Identity{Role: wire.RoleCoordinator, Region: "eu", Name: "root"}
	parent := p.link(step.InConnected, root)
	p.step(received(parent, &wire.Placement{Index: 7}))
	p.step(received(parent, &wire.Attached{}))
	for i := range 3 {
		child := p.link(step.InAccepted, wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: fmt.Sprint("agent-", i)})
		p.step(received(child, &wire.Attach{Index: uint32(i)}))
	}
	p.link(step.InAccepted, wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: "stranger"})
}

func (p *prey) link(how step.InputKind, who wire.Identity) step.PeerID {
	peer := step.PeerID(len(p.peers) + 1)
	p.peers = append(p.peers, peer)
	p.step(step.Input{Kind: how, Peer: peer, Link: step.Link{Addr: who.Name + ":1", Identity: who}})
	return peer
}

func received(peer step.PeerID, m wire.Message) step.Input {
	return step.Input{Kind: step.InReceived, Peer: peer, Message: m}
}

// receive gives the node a frame, altered more often than not, from any of the peers.
func (p *prey) receive() {
	frame, err := wire.AppendMessage(nil, p.messages[p.rand.IntN(len(p.messages))])
	if err != nil {
		p.t.Fatal(err)
	}
	for range p.rand.IntN(3) {
		i := p.rand.IntN(len(frame))
		switch p.rand.IntN(3) {
		case 0:
			frame[i] ^= 1 << p.rand.IntN(8)
		case 1:
			frame[i] = [...]byte{0, 1, 0x7f, 0x80, 0xff}[p.rand.IntN(5)]
		case 2:
			frame[i]++
		}
	}
	m, err := wire.DecodeMessage(frame)
	if err != nil {
		return
	}
	p.decoded++
	p.step(received(p.peers[p.rand.IntN(len(p.peers))], m))
}

// pass lets time pass, until the next deadline of the node.
func (p *prey) pass() {
	if deadline := p.node.Deadline(); deadline != step.Never {
		p.now = max(p.now, deadline)
	}
	p.step(step.Input{Kind: step.InTick})
	if p.node.root != nil {
		p.step(step.Input{Kind: step.InCensus})
	}
}

// maxFollowing is the number of inputs that may wait. It ends a chain of operations that fail and are tried
// again at once.
const maxFollowing = 100

// step gives the node an input, and the inputs that follow from what the node does.
func (p *prey) step(in step.Input) {
	inputs := []step.Input{in}
	for len(inputs) > 0 {
		in := inputs[0]
		inputs = inputs[1:]
		for _, o := range p.node.Step(p.now, in, nil) {
			if o.Op == step.OpSend {
				p.check(in, o.Message)
			} else if len(inputs) < maxFollowing {
				inputs = append(inputs, p.carryOut(o)...)
			}
		}
	}
}

// check fails the test if others can't decode what the node sends.
func (p *prey) check(in step.Input, m wire.Message) {
	frame, err := wire.AppendMessage(nil, m)
	if err == nil {
		_, err = wire.DecodeMessage(frame)
	}
	if err != nil {
		p.t.Fatalf("after %T, the node sends %T, which can't be decoded: %v", in.Message, m, err)
	}
}

// carryOut returns the inputs that answer an output: what the node asked for is done, or fails.
func (p *prey) carryOut(o step.Output) []step.Input {
	why := step.Failure{}
	if p.rand.IntN(3) == 0 {
		why = step.Failure{Reason: "check", Fault: step.Fault(p.rand.IntN(int(step.FaultVersion) + 1))}
	}
	in := step.Input{Peer: o.Peer, Pointer: o.Pointer, Body: o.Body, Shard: o.Shard, Failure: why}
	switch o.Op {
	case step.OpDrop:
		in.Kind = step.InDisconnected
	case step.OpAwaitDrain:
		in.Kind = step.InDrained
	case step.OpFetch, step.OpStore:
		in.Kind = step.InFetched
		in.Body.Forms = 1
	case step.OpActivate:
		in.Kind = step.InActivated
	case step.OpReserve:
		in.Kind = step.InReserved
		in.Indices = step.Indices{First: 1 << 20, Count: tree.IndexBlock}
	case step.OpConnect:
		return p.dialed(o.Addr, why)
	default:
		return nil
	}
	return []step.Input{in}
}

// dialed returns what comes of a dial: a link to an agent, or a failure.
func (p *prey) dialed(addr string, why step.Failure) []step.Input {
	name, _, _ := strings.Cut(addr, ":")
	link := step.Link{Addr: addr, Identity: wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: name}}
	if !why.OK() || len(p.peers) > 50 {
		return []step.Input{{Kind: step.InConnectFailed, Link: link, Failure: why}}
	}
	p.peers = append(p.peers, step.PeerID(len(p.peers)+1))
	return []step.Input{{Kind: step.InConnected, Peer: p.peers[len(p.peers)-1], Link: link}}
}

// sampleMessages returns messages of each type, with names, numbers and records that the node may know.
func sampleMessages() []wire.Message {
	d := wire.Description{Addr: "agent-1:1", Relay: true, Capacity: 4, Instance: 2, Subscriptions: "a b/c", Labels: map[string]string{"zone": "a"}}
	locations := []wire.Location{{Name: "agent-1", Addr: "agent-1:1"}, {Name: "x", Addr: "x:1", Subscriptions: "a"}}
	key := record.PointerKey{Config: "c1", Region: "eu"}
	ack := wire.NewAckEntry(key, record.At(1, 1), record.Digest{1})
	ack.Applied.AddMany([]uint32{0, 1, 2, 70_000})
	ack.Failed.Add(3)
	ack.AddFailure(wire.Failure{Agent: 3, Name: "agent-3", Reason: "check"})
	for i := range int64(5) {
		ack.Latency.Add(1000 * i)
	}
	present, _ := roaring.BitmapOf(0, 1, 2).ToBytes()
	version := plainRef("1").Of("c1")
	form := record.FormKey{VersionKey: version, Form: 1}
	digest := version.Digest
	return []wire.Message{
		&wire.Join{Index: 2, Avoid: []string{"agent-0"}, Accuse: "agent-0", Description: d},
		&wire.Placement{Index: 5, Parent: locations[0], Backups: locations, Gossip: []string{"x:2"}},
		&wire.Attach{Index: 1, Since: 7, Description: d, Children: 3},
		&wire.Attached{Path: []uint32{1, 2}},
		&wire.Rejected{Reason: "later", After: 1000},
		&wire.Announcement{Revision: 9, Raw: []byte("pointer c1 eu 2 2")},
		&wire.Announcement{Revision: 9, Raw: []byte("pointer c9 eu 1 2"), Pushed: true},
		&wire.Batch{Root: []byte("root"), Pointers: []wire.BatchedPointer{
			{Revision: 10, Payload: []byte("pointer c1 eu 3 2")},
			{Revision: 11, Payload: []byte("pointer c8 eu 1 2"), Pushed: true},
		}},
		&wire.SignedHead{Raw: []byte("head eu 9 12 0 00")},
		&wire.CatchUp{Since: 1, Paged: true},
		&wire.Page{Last: 9, More: true},
		&wire.Gone{Parent: 1, Agents: []uint32{2, 3}},
		&wire.Ack{Entries: []wire.AckEntry{*ack}},
		&wire.Census{
			Agents:      3,
			Present:     present,
			Waves:       []wire.WaveSize{{Config: "c1", Position: 1, Agents: 3, InWave: 1}},
			Quarantined: []wire.Quarantined{{Index: 1, Name: "agent-1", Config: "c1", Position: 1, Reason: "check"}},
			Audiences:   []wire.Audience{{Subscriptions: "a", Agents: 3}},
		},
		&wire.Push{Config: "c1", Version: 2, Manifest: []byte{1}, Body: []byte("body")},
		&wire.Adopted{Parent: 1, Members: []wire.Member{{Index: 9, Name: "n", Description: d, Children: 2}}},
		&wire.RollCall{Of: []uint32{1, 70_000}, List: []uint32{2}},
		&wire.RollCall{All: true},
		&wire.Displaced{Index: 1},
		&wire.Families{Families: []wire.Family{{Parent: 1, Children: []uint32{2, 0}}, {Parent: 9}}},
		&wire.Shadow{Index: 4},
		&wire.Notice{Revision: 9, Head: 10},
		&wire.Accusation{Accuser: 1, Name: "agent-0"},
		&wire.Brood{Members: locations},
		&wire.Circle{Members: locations, Feeders: locations[:1], Feeds: 2},
		&wire.Circles{Below: []*wire.Circle{{Members: locations}}},
		&wire.Want{Key: form, Shards: bitset.MustNew(3).Set(0).Set(2), Cancel: bitset.MustNew(2).Set(1)},
		&wire.Decline{Key: form, Shards: bitset.MustNew(1).Set(0)},
		&wire.Stored{Config: "c1", Version: 2, Digest: digest},
		&wire.Drift{Agent: 1, Name: "agent-1", Config: "c1", Version: 1, State: wire.DriftSeen, Region: "eu"},
		&wire.Survey{ID: 4, Config: "c1", Version: 1, Digest: digest},
		&wire.Holdings{ID: 4, Region: "eu", Held: []wire.Holding{{Agent: 1, Name: "agent-1", Form: 1, Shards: 3, Of: 9}}},
	}
}
