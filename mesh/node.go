package mesh

import (
	"math/rand/v2"

	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
)

// Verifier checks signatures. *record.Policy is the real one.
type Verifier interface {
	VerifyPointer(raw []byte) (record.Pointer, error)
	VerifyHead(raw []byte) (record.Head, error)
	// VerifyVersion checks that manifest is signed for that version, and body is its body.
	VerifyVersion(config string, version uint64, manifest, body []byte) error
}

// Config says what a node is.
type Config struct {
	Self wire.Identity
	// Description is what the node says of itself when it joins.
	wire.Description
	// Seeds are the addresses of the region's coordinators (for a follower, of the
	// leader). A node without seeds is a root: its announcements come from its store.
	Seeds []string
	// Root makes the node a coordinator's, which gives places to agents; nil on agents.
	Root *RootConfig
	// HoldsAll says that every body is at hand, in a blob store.
	HoldsAll bool
	// CacheLimit is how many bytes of shards are kept for others, of configs that this node
	// does not subscribe to.
	CacheLimit int64
	// Verifier checks every pointer and head that comes from a peer.
	Verifier Verifier
	// Index is the agent index held from before, plus one; 0 for none.
	Index uint32
	// Arrangement is how shards are traded; the zero value is what is best.
	Arrangement Arrangement
	// Seed of the node's random source, for back-off.
	Seed uint64
}

// Arrangement is a way to trade the shards of a body. Those beside the default are
// there to be compared with it in the simulator.
type Arrangement uint8

// The arrangements.
const (
	ArrangeCircles  Arrangement = iota // circles that feed each other
	ArrangeSiblings                    // the children of one node, fed by it
)

// Node is one member of the overlay. Make it with NewNode, then Step it.
type Node struct {
	cfg  Config
	rand *rand.Rand
	root *root // nil on agents

	up       upstream
	peers    map[step.PeerID]wire.Identity
	children []child  // in order of attachment
	path     []uint32 // agents between the root and this one, from the root on
	roster   roster
	shadows  shadows
	survey   survey

	configs   map[record.PointerKey]*configState
	revisions map[string]uint64 // by region, newest revision seen in order
	states    map[string]*record.State
	ledgers   map[string]*ledger
	unsettled map[record.PointerKey]struct{}
	confirmed uint64      // revision of the newest head that matched what was seen
	gaps      int         // heads in a row that told of another state than this node's
	headTime  int64       // of the newest head verified
	head      record.Head // the newest that agreed with what this node has
	headRaw   *wire.SignedHead

	circles   circles
	partners  partners
	exchanges map[record.FormKey]*exchange
	trading   []*exchange // the same, in the order in which they began
	uploads   uploads

	bodies   bodies
	acks     acks
	waving   map[record.PointerKey]struct{} // configs of this region with a candidate
	restored []record.PointerKey            // applied before the node started, and not acknowledged since
	retries  []retry
	retryAt  step.Time // when the first of them is due
	lastRaw  []byte    // the announcement accepted last
}

// NewNode makes a node. Feed it what it held before with Restore inputs, then Start.
func NewNode(cfg Config) *Node {
	return &Node{
		cfg:       cfg,
		root:      newRoot(cfg.Root),
		rand:      rand.New(rand.NewPCG(cfg.Seed, 0x62616e79616e)),
		peers:     map[step.PeerID]wire.Identity{},
		configs:   map[record.PointerKey]*configState{},
		revisions: map[string]uint64{},
		states:    map[string]*record.State{},
		ledgers:   map[string]*ledger{},
		unsettled: map[record.PointerKey]struct{}{},
		circles:   circles{broods: map[step.PeerID][]wire.Location{}, flushAt: step.Never},
		partners:  newPartners(),
		uploads:   uploads{wakeAt: step.Never},
		exchanges: map[record.FormKey]*exchange{},
		bodies:    newBodies(),
		acks:      newAcks(),
		waving:    map[record.PointerKey]struct{}{},
		retryAt:   step.Never,
		survey:    survey{flushAt: step.Never},
		roster:    roster{flushAt: step.Never},
		shadows:   shadows{flushAt: step.Never},
		up:        upstream{wakeAt: step.Never, lagAt: step.Never, hintedAt: -hintPause, standby: standby{wakeAt: step.Never}, index: cfg.Index},
	}
}

func (n *Node) isRoot() bool { return len(n.cfg.Seeds) == 0 }

// Step advances the node by one input at time now and appends what it wants done to out.
func (n *Node) Step(now step.Time, in step.Input, out []step.Output) []step.Output {
	switch in.Kind {
	case step.InStart:
		return n.startUpstream(now, out)
	case step.InTick:
		return n.tick(now, out)
	case step.InRestore:
		n.restore(in.Announcement, in.Version, !in.Unapplied)
	case step.InResume:
		n.revisions[n.cfg.Self.Region] = in.Revision
		n.confirmed = in.Revision
	case step.InHold:
		n.bodies.hold(in.Want, in.Forms)
	case step.InPublish:
		return n.publish(now, in.Announcement, in.Push, out)
	case step.InStored:
		return n.tellStored(in.Want, out)
	case step.InPublishHead:
		return n.relayHead(now, in.Head, in.HeadRaw, out)
	case step.InPeer:
		n.linked(in.Peer, in.Identity)
		for _, x := range n.trading {
			out = n.order(now, x, out)
		}
	case step.InConnected:
		n.linked(in.Peer, in.Identity)
		return n.connected(now, in, out)
	case step.InConnectFailed:
		return n.connectFailed(now, in.Addr, out)
	case step.InDisconnected:
		return n.disconnected(now, in.Peer, out)
	case step.InReceived:
		return n.receive(now, in.Peer, in.Message, out)
	case step.InRequest:
		return n.request(now, in, out)
	case step.InFetched:
		return n.fetched(now, in, out)
	case step.InAnswered:
		n.answered(in)
	case step.InIndexed:
		return n.indexed(now, in, out)
	case step.InShard:
		return n.shardCame(now, in, out)
	case step.InSent:
		return n.sent(now, in, out)
	case step.InActivated:
		return n.activated(now, in, out)
	case step.InCensus:
		return n.onCensus(now, out)
	case step.InDrift:
		return n.drifted(in, out)
	case step.InDamaged:
		return n.damaged(now, in.Want, in.Local, out)
	case step.InRelease:
		return n.root.report(n.root.quarantine.Release(in.Name), out)
	case step.InEvicted:
		n.bodies.evict(in.Want)
		n.recount(in.Want)
	case step.InHint:
		n.hinted(now, in.Revision)
	case step.InDoubt:
		if n.root != nil {
			n.root.planner.Doubt(now, in.Name)
		}
	case step.InSurvey:
		return n.beginSurvey(in, out)
	case step.InCongested:
		return n.congested(in.Peer, out)
	case step.InDrained:
		return n.drained(in.Peer, out)
	}
	return out
}

// receive dispatches a message from a peer.
func (n *Node) receive(now step.Time, from step.PeerID, m wire.Message, out []step.Output) []step.Output {
	switch m := m.(type) {
	case *wire.Announcement:
		return n.announced(now, from, m, out)
	case *wire.SignedHead:
		return n.receiveHead(now, from, m, out)
	case *wire.Join:
		return n.join(now, from, m, out)
	case *wire.Attach:
		return n.attachChild(now, from, m, out)
	case *wire.CatchUp:
		if i := n.childIndex(from); i >= 0 {
			return n.sendSince(i, m.Since, out)
		}
		if n.shadows.has(from) || n.tradesWith(n.peers[from]) {
			out, _, _ = n.sendPage(from, n.cfg.Self.Region, m.Since, out)
		}
	case *wire.Gone:
		return n.gone(now, from, m, out)
	case *wire.Census:
		if i := n.childIndex(from); i >= 0 && n.children[i].role == wire.RoleCoordinator {
			return append(out, step.Output{Op: step.OpCensus, Peer: from, Name: n.peers[from].Name, Region: n.children[i].region, Count: int(m.Agents), Message: m})
		}
	case *wire.Drift:
		return n.heardDrift(from, m, out)
	case *wire.Survey:
		return n.surveyed(now, from, m, out)
	case *wire.Holdings:
		return n.heardHoldings(now, from, m, out)
	case *wire.Adopted:
		return n.adopted(now, from, m, out)
	case *wire.RollCall:
		return n.rollCalled(now, from, m, out)
	case *wire.Shadow:
		return n.shadowed(now, from, out)
	case *wire.Notice:
		return n.noticed(now, from, m, out)
	case *wire.Accusation:
		return n.accused(from, m, out)
	case *wire.Push:
		return n.pushed(now, from, m, out)
	case *wire.Brood:
		n.bred(now, from, m)
	case *wire.Circle:
		return n.encircled(now, from, m, out)
	case *wire.Circles:
		return n.encircledBelow(now, from, m, out)
	case *wire.Want:
		return n.wanted(now, from, m, out)
	case *wire.Decline:
		return n.declined(now, from, m, out)
	case *wire.Stored:
		return n.mirror(now, from, m, out)
	case *wire.Ack:
		return n.receiveAck(now, from, m, out)
	case *wire.Placement:
		return n.placed(now, from, m, out)
	case *wire.Attached:
		return n.attached(now, from, m, out)
	case *wire.Rejected:
		return n.rejected(now, from, m, out)
	}
	return out
}

// Deadline is when the node wants an InTick; Never if it does not.
func (n *Node) Deadline() step.Time {
	wake := min(n.up.wakeAt, n.up.lagAt, n.up.standby.wakeAt, n.acks.flushAt, n.retryAt, n.roster.flushAt, n.shadows.flushAt,
		n.circles.flushAt, n.partners.wakeAt, n.root.deadline(), n.uploads.wakeAt, n.survey.flushAt)
	for _, x := range n.trading {
		wake = min(wake, x.wakeAt)
	}
	for _, f := range n.bodies.fetches {
		wake = min(wake, f.askAt)
	}
	return wake
}

func (n *Node) tick(now step.Time, out []step.Output) []step.Output {
	if now >= n.up.wakeAt {
		out = n.wakeUpstream(now, out)
	}
	if now >= n.up.lagAt {
		out = n.wakeLag(now, out)
	}
	if now >= n.up.standby.wakeAt {
		out = n.wakeStandby(now, out)
	}
	if now >= n.acks.flushAt {
		out = n.flushAcks(out)
	}
	if now >= n.roster.flushAt {
		out = n.flushRoster(out)
	}
	if now >= n.shadows.flushAt {
		out = n.flushNotices(out)
	}
	if now >= n.root.deadline() {
		out = n.root.report(n.root.quarantine.Wake(now), out)
	}
	if now >= n.retryAt {
		out = n.retryDue(now, out)
	}
	if now >= n.circles.flushAt {
		out = n.flushCircles(now, out)
	}
	if now >= n.partners.wakeAt {
		out = n.wakePartners(now, out)
	}
	if now >= n.survey.flushAt {
		out = n.flushSurvey(out)
	}
	if now >= n.uploads.wakeAt {
		out = n.wakeUploads(now, out)
	}
	return n.wakeExchanges(now, n.wakeFetches(now, out))
}

// jittered spreads a delay over half to one and a half of itself, so that nodes
// that failed together do not try again together.
func (n *Node) jittered(d step.Time) step.Time { return d/2 + step.Time(n.rand.Int64N(int64(d)+1)) }

// Children is the number of children.
func (n *Node) Children() int { return len(n.children) }

// Attached tells whether the node has a parent, or needs none.
func (n *Node) Attached() bool { return n.isRoot() || n.up.state == upAttached }

// Parent is who the node's parent is, if Attached and not a root.
func (n *Node) Parent() (wire.Identity, bool) {
	if n.up.state != upAttached {
		return wire.Identity{}, false
	}
	return n.peers[n.up.parent], true
}

// Index is the agent index the node was given; ok is false before it has one.
func (n *Node) Index() (index uint32, ok bool) { return n.up.index - 1, n.up.index > 0 }

// Planner returns the planner of a coordinator's node. The node must be a coordinator's.
func (n *Node) Planner() *tree.Planner { return n.root.planner }

// Revision is the newest revision of a region that the node has seen.
func (n *Node) Revision(region string) uint64 { return n.revisions[region] }

// State is the state of a region's pointers that the node has.
func (n *Node) State(region string) record.State {
	if s := n.states[region]; s != nil {
		return *s
	}
	return record.State{}
}

// Head is the newest head seen that agreed with what the node has; its zero value
// before the first.
func (n *Node) Head() record.Head { return n.head }

// Watermark is the revision up to which everything of the node's region has been
// settled: applied, not merely seen. A node that resumes from it misses nothing.
func (n *Node) Watermark() uint64 {
	w := n.revisions[n.cfg.Self.Region]
	for key := range n.unsettled {
		if r := n.configs[key].latest.Revision; r <= w {
			w = r - 1
		}
	}
	return w
}
