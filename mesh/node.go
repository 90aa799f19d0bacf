package mesh

import (
	"math/rand/v2"
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/swarm"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
)

// Verifier checks signatures. *record.Policy implements Verifier.
type Verifier interface {
	VerifyPointer(raw []byte) (record.Pointer, error)
	// VerifyBatch checks pointers under one signature, and returns them with a proof for each.
	VerifyBatch(root []byte, payloads [][]byte) ([]record.SignedPointer, error)
	VerifyHead(raw []byte) (record.Head, error)
	// VerifyVersion checks that manifest is signed for the version, and that body is the body of
	// the version.
	VerifyVersion(want record.VersionKey, manifest, body []byte) error
}

// Config configures a Node.
type Config struct {
	Self wire.Identity
	// Description is what the node says about itself when it joins.
	wire.Description
	// Seeds are the addresses of the region's coordinators; for a follower, the address of
	// the leader. A node without seeds leads: its announcements come from its own store.
	Seeds []string
	// Root configures a coordinator's node; nil for an agent's node.
	Root *RootConfig
	// HoldsAll reports that every body is at hand, in a blob store.
	HoldsAll bool
	// CacheLimit is the size in bytes of the cache of shards for other nodes, of configs
	// that the node does not subscribe to.
	CacheLimit int64
	// Verifier checks every pointer and head that comes from a peer.
	Verifier Verifier
	// Arrangement is the way in which shards are exchanged. The zero value is the best known.
	Arrangement Arrangement
	// Seed seeds the node's random source, which spreads delays.
	Seed uint64
}

// Arrangement is a way to exchange the shards of a body. The alternatives to the zero
// value exist so that the simulator can compare them.
type Arrangement uint8

const (
	// ArrangeCircles exchanges shards in circles that feed each other.
	ArrangeCircles Arrangement = iota
	// ArrangeSiblings exchanges shards among the children of one node, which feeds them.
	ArrangeSiblings
)

// leads reports whether the node has no parent: it is the leader's.
func (c *Config) leads() bool { return len(c.Seeds) == 0 }

// subscribes reports whether the node applies config itself. A follower mirrors every config.
func (c *Config) subscribes(config string) bool {
	return !c.leads() && c.Subscriptions.Include(config)
}

// location returns how other nodes reach the node.
func (c *Config) location() wire.Location {
	return wire.Location{Name: c.Self.Name, Addr: c.Addr, Subscriptions: c.Subscriptions}
}

// Node is one member of the overlay. Make a Node with NewNode, then call Step.
type Node struct {
	cfg   Config
	root  *root // nil in an agent's node
	swarm *swarm.Swarm
	peers peers

	up       upstream
	children children
	shadows  shadows
	circles  circles
	reports  reports
	families families
	survey   survey

	pointers pointers
	outbox   outbox
	settler  settler
	acks     acks
	evidence evidence
}

// NewNode returns a node that is not started. The caller feeds the node what it held
// before with InRestore, InHold and InResume, then InStart.
func NewNode(cfg Config) *Node {
	n := &Node{
		cfg:     cfg,
		root:    newRoot(cfg.Root),
		peers:   peers{},
		acks:    newAcks(),
		outbox:  newOutbox(cfg.Root),
		circles: newCircles(),
		shadows: shadows{flushAt: step.Never},
		reports: reports{flushAt: step.Never},
		survey:  survey{flushAt: step.Never},
	}
	jitter := jitter{rand.New(rand.NewPCG(cfg.Seed, 0x62616e79616e))}
	n.families = newFamilies(jitter)
	n.up = newUpstream(&n.cfg, n.peers, &n.pointers, jitter, n.attachment)
	n.pointers = newPointers(&n.cfg)
	n.swarm = swarm.New(swarm.Config{
		Self:          cfg.Self,
		Subscriptions: cfg.Subscriptions,
		HoldsAll:      cfg.HoldsAll,
		Leads:         cfg.leads(),
		CacheLimit:    cfg.CacheLimit,
	}, overlay{n})
	n.settler = settler{
		cfg:      &n.cfg,
		pointers: &n.pointers,
		swarm:    n.swarm,
		acks:     &n.acks,
		up:       &n.up,
		retries:  retries{jitter: jitter, wakeAt: step.Never},
	}
	return n
}

// Step advances the node by one input at time now. It appends what the node wants done to out.
func (n *Node) Step(now step.Time, in step.Input, out step.Outputs) step.Outputs {
	switch in.Kind {
	case step.InStart:
		return n.start(now, out)
	case step.InTick:
		return n.tick(now, out)
	case step.InRestore, step.InPublish, step.InActivated:
		return n.stepPointer(now, in, out)
	case step.InResume:
		n.pointers.confirm(in.Revision)
	case step.InPublishHead:
		out = n.flushParcel(now, in.Head.Head.Region, out) // the head counts what waits
		return n.relayHead(now, in.Head.Head, in.Head.Signed, out)
	case step.InAccepted, step.InConnected, step.InConnectFailed, step.InDisconnected,
		step.InCongested, step.InDrained:
		return n.stepLink(now, in, out)
	case step.InReceived:
		return n.receive(now, in.Peer, in.Message, out)
	case step.InHold, step.InEvicted, step.InRequest, step.InWithdrawn, step.InSent,
		step.InAnswered, step.InThrottled, step.InAsked, step.InDelayed, step.InFetched, step.InIndexed,
		step.InShard, step.InAssembled:
		return n.stepSwarm(now, in, out)
	case step.InStored:
		return n.publishStored(in.Body.Version, out)
	case step.InReapply:
		return n.settler.reapply(now, in.Body.Version, out)
	case step.InRefetch:
		n.swarm.Evict(in.Body.Version)
		return n.settler.reapply(now, in.Body.Version, out)
	case step.InDrift:
		return n.reportDrift(in, out)
	case step.InForget:
		n.forget(in.Pointer.Key)
	case step.InHint:
		n.up.onHint(now, in.Revision)
	case step.InCensus, step.InRelease, step.InDoubt, step.InSurvey, step.InRecover, step.InRecovered,
		step.InReserved:
		if n.root != nil {
			return n.stepRoot(now, in, out)
		}
	}
	return out
}

// stepPointer handles inputs about pointers.
func (n *Node) stepPointer(now step.Time, in step.Input, out step.Outputs) step.Outputs {
	switch in.Kind {
	case step.InRestore:
		n.restore(in.Pointer.Announcement, in.Pointer.Version, !in.Pointer.Unapplied)
	case step.InPublish:
		return n.publish(now, in.Pointer, out)
	case step.InActivated:
		return n.settler.activated(now, in, out)
	}
	return out
}

// stepLink handles inputs about links.
func (n *Node) stepLink(now step.Time, in step.Input, out step.Outputs) step.Outputs {
	switch in.Kind {
	case step.InAccepted:
		n.link(in.Peer, in.Link.Identity)
		return n.swarm.OnAccepted(now, out)
	case step.InConnected:
		n.link(in.Peer, in.Link.Identity)
		return n.onConnected(now, in, out)
	case step.InConnectFailed:
		return n.onConnectFailed(now, in.Link.Addr, in.Failure.Reason, out)
	case step.InDisconnected:
		return n.onDisconnected(now, in.Peer, out)
	case step.InCongested:
		return n.congested(in.Peer, out)
	case step.InDrained:
		out = n.acksDrained(in.Peer, out)
		return n.children.drained(in.Peer, &n.pointers, out)
	}
	return out
}

// stepSwarm hands inputs about bodies and shards to the swarm.
func (n *Node) stepSwarm(now step.Time, in step.Input, out step.Outputs) step.Outputs {
	switch in.Kind {
	case step.InHold:
		return n.swarm.Hold(now, in.Body.Version, in.Body.Forms, out)
	case step.InEvicted:
		n.swarm.Evict(in.Body.Version)
	case step.InRequest:
		return n.swarm.OnRequest(now, in.Peer, in.Body, out)
	case step.InWithdrawn:
		n.swarm.OnWithdrawn(in.Body.Request)
	case step.InAnswered:
		n.swarm.OnAnswered(now, in.Body)
	case step.InThrottled:
		n.swarm.OnThrottled(in.Body)
	case step.InAsked:
		n.swarm.OnAsked(now, in.Body)
	case step.InDelayed:
		n.swarm.OnDelayed(in.Body)
	case step.InFetched:
		return n.swarm.OnFetched(now, in.Body, in.Failure, out)
	case step.InIndexed:
		return n.swarm.OnIndexed(now, in.Body, in.Index, out)
	case step.InShard:
		return n.swarm.OnShard(now, in.Peer, in.Shard, in.Failure, out)
	case step.InAssembled:
		return n.swarm.OnAssembled(now, in.Body, in.Failure, out)
	case step.InSent:
		return n.swarm.OnSent(now, in.Peer, in.Shard.Key, out)
	}
	return out
}

// stepRoot handles inputs that only a coordinator's node gets.
func (n *Node) stepRoot(now step.Time, in step.Input, out step.Outputs) step.Outputs {
	switch in.Kind {
	case step.InCensus:
		return n.takeCensus(now, out)
	case step.InRelease:
		return n.root.report(n.root.quarantine.Release(in.Name), out)
	case step.InReserved:
		n.root.reserved(in.Indices)
	case step.InDoubt:
		n.root.planner.Doubt(now, in.Name)
	case step.InRecover:
		return n.recover(true, out)
	case step.InRecovered:
		return n.recover(false, out)
	case step.InSurvey:
		return n.survey.begin(in.Body.Request, in.Body.Version, n.children, out)
	}
	return out
}

// receive dispatches a message from a peer.
func (n *Node) receive(now step.Time, from step.PeerID, m wire.Message, out step.Outputs) step.Outputs {
	if n.up.isParent(from) {
		n.parentSpoke(now)
	}
	switch m := m.(type) {
	case *wire.Announcement:
		return n.onAnnouncement(now, from, m, out)
	case *wire.Batch:
		return n.onBatch(now, from, m, out)
	case *wire.SignedHead:
		return n.onHead(now, from, m, out)
	case *wire.CatchUp:
		return n.onCatchUp(from, m, out)
	case *wire.Page:
		return n.onPage(from, m, out)
	case *wire.Push:
		return n.onPush(now, from, m, out)
	case *wire.Stored:
		return n.onStored(now, from, m, out)
	case *wire.Join:
		return n.onJoin(now, from, m, out)
	case *wire.Placement:
		return n.onPlacement(now, from, m, out)
	case *wire.Attach:
		return n.onAttach(now, from, m, out)
	case *wire.Attached:
		return n.onAttached(now, from, m, out)
	case *wire.Rejected:
		return n.onRejected(now, from, m, out)
	case *wire.Shadow:
		return n.onShadow(now, from, out)
	case *wire.Notice:
		if from != n.up.standby.peer {
			return n.onRescue(from, m, out)
		}
		n.up.onNotice(now, m)
	case *wire.Brood:
		n.onBrood(now, from, m)
	case *wire.Circle:
		return n.onCircle(now, from, m, out)
	case *wire.Circles:
		return n.onCircles(now, from, m, out)
	case *wire.Want:
		return n.swarm.OnWant(now, from, m, out)
	case *wire.Decline:
		return n.swarm.OnDecline(now, from, m, out)
	default:
		return n.receiveReport(now, from, m, out)
	}
	return out
}

// receiveReport dispatches a message that travels between the root and the agents below.
func (n *Node) receiveReport(now step.Time, from step.PeerID, m wire.Message, out step.Outputs) step.Outputs {
	switch m := m.(type) {
	case *wire.Ack:
		return n.onAck(now, from, m, out)
	case *wire.Gone:
		return n.onGone(now, from, m, out)
	case *wire.Adopted:
		return n.onAdopted(now, from, m, out)
	case *wire.Families:
		return n.onFamilies(now, from, m, out)
	case *wire.RollCall:
		return n.onRollCall(now, from, m, out)
	case *wire.Displaced:
		return n.onDisplaced(now, from, m, out)
	case *wire.Accusation:
		return n.onAccusation(now, from, m, out)
	case *wire.Census:
		return n.onCensus(from, m, out)
	case *wire.Drift:
		return n.onDrift(from, m, out)
	case *wire.Survey:
		return n.onSurvey(now, from, m, out)
	case *wire.Holdings:
		return n.onHoldings(now, from, m, out)
	}
	return refuse(from, "unexpected_message", out)
}

// Deadline returns when the node wants the next InTick; step.Never for none.
func (n *Node) Deadline() step.Time {
	return min(n.up.deadline(), n.acks.flushAt, n.settler.retries.wakeAt, n.reports.flushAt,
		n.families.deadline(), n.shadows.flushAt, n.circles.flushAt, n.root.deadline(), n.outbox.flushAt,
		n.survey.flushAt, n.swarm.Deadline())
}

// tick acts on every deadline that has passed.
func (n *Node) tick(now step.Time, out step.Outputs) step.Outputs {
	if now >= n.up.wakeAt {
		out = n.up.wake(now, out)
	}
	if now >= n.up.lagAt {
		out = n.up.onLag(now, out)
	}
	if now >= n.up.silence.wakeAt {
		out = n.up.onSilence(now, out)
	}
	if now >= n.up.standby.wakeAt {
		out = n.up.dialBackup(now, out)
	}
	if now >= n.acks.flushAt {
		out = n.flushAcks(out)
	}
	if now >= n.reports.flushAt {
		out = n.reports.flush(&n.up, out)
	}
	if now >= n.families.deadline() {
		out = n.tickFamilies(now, out)
	}
	if now >= n.shadows.flushAt {
		out = n.shadows.flush(n.pointers.progress(), out)
	}
	if now >= n.root.deadline() {
		out = n.tickRoot(now, out)
	}
	if now >= n.outbox.flushAt {
		out = n.flushDue(now, out)
	}
	if now >= n.settler.retries.wakeAt {
		out = n.settler.retryDue(now, out)
	}
	if now >= n.circles.flushAt {
		out = n.flushCircles(now, out)
	}
	if now >= n.survey.flushAt {
		out = n.survey.flush(&n.up, n.cfg.Self.Region, out)
	}
	return n.swarm.Tick(now, out)
}

// Children returns the number of children.
func (n *Node) Children() int { return len(n.children) }

// ChildLinks returns the links to the children.
func (n *Node) ChildLinks() []step.PeerID {
	links := make([]step.PeerID, len(n.children))
	for i := range n.children {
		links[i] = n.children[i].peer
	}
	return links
}

// ChildRegions returns the regions of the children, by link.
func (n *Node) ChildRegions() map[step.PeerID]string {
	regions := make(map[step.PeerID]string, len(n.children))
	for i := range n.children {
		regions[n.children[i].peer] = n.children[i].region
	}
	return regions
}

// Meets reports whether a child of region is attached whose revision was not newer than the
// node's. The children of a leader with an old copy of the store have newer revisions.
func (n *Node) Meets(region string) bool {
	known := n.pointers.revisions[region]
	return slices.ContainsFunc(n.children, func(c child) bool { return c.region == region && c.seen <= known })
}

// Attached reports whether the node has a parent, or needs none.
func (n *Node) Attached() bool { return n.cfg.leads() || n.up.attached() }

// Parent returns the identity of the node's parent. ok is false without a parent.
func (n *Node) Parent() (who wire.Identity, ok bool) {
	if !n.up.attached() {
		return wire.Identity{}, false
	}
	return n.peers[n.up.parent], true
}

// Index returns the agent index of the node. ok is false before the node has an index.
func (n *Node) Index() (index uint32, ok bool) { return n.up.index - 1, n.up.index > 0 }

// Planner returns the planner of a coordinator's node. The node must be a coordinator's.
func (n *Node) Planner() *tree.Planner { return n.root.planner }

// Revision returns the newest revision of a region that the node has seen.
func (n *Node) Revision(region string) uint64 { return n.pointers.revisions[region] }

// State returns the hash of a region's pointers at the node.
func (n *Node) State(region string) record.State { return n.pointers.state(region) }

// Head returns the newest head that agreed with the node's pointers; the zero value
// before the first.
func (n *Node) Head() record.Head { return n.pointers.head }

// Watermark returns the revision up to which every pointer of the node's region has been
// applied. A node that resumes from the watermark misses nothing.
func (n *Node) Watermark() uint64 { return n.pointers.watermark() }

// CacheUsed returns the number of bytes that are kept for other nodes, or on their way.
func (n *Node) CacheUsed() int64 { return n.swarm.CacheUsed() }
