package swarm

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// Config configures a Swarm.
type Config struct {
	Self wire.Identity
	// Subscriptions select the configs whose bodies the node needs itself.
	Subscriptions wire.Subscriptions
	// HoldsAll reports that every body is at hand, in a blob store. Such a node fetches nothing.
	HoldsAll bool
	// Leads reports that the node has no parent, and needs no body itself.
	Leads bool
	// CacheLimit is the size in bytes of the cache of shards for other nodes.
	CacheLimit int64
}

// Overlay is the node of a Swarm, as the Swarm asks and informs the node.
type Overlay interface {
	// Peer returns the identity of a linked peer.
	Peer(step.PeerID) (who wire.Identity, linked bool)
	// Attached reports whether the node has a parent.
	Attached() bool
	// Parent returns the link to the parent; 0 for none.
	Parent() step.PeerID
	// Backup returns the link to the backup; 0 for none.
	Backup() step.PeerID
	// Source returns the link to fetch from: the parent, or the backup while the backup
	// makes up for a late parent.
	Source() step.PeerID
	// CoordinatorAddr returns the address of the region's coordinator.
	CoordinatorAddr() string
	// PathDelay returns the time by which the node may be behind the root's children.
	PathDelay() step.Time
	// IsBelow reports whether a peer is a child of the node, or has the node as a backup.
	IsBelow(step.PeerID) bool
	// InTree reports whether a link belongs to the tree: to the parent, the backup, the
	// coordinator that places the node, or to a peer that IsBelow.
	InTree(step.PeerID) bool
	// IsNamed reports whether a pointer of the node's region names a version.
	IsNamed(record.VersionKey) bool

	// SourceWorks reports that a source delivered a shard or a body.
	SourceWorks()
	// BodyReady reports that a version is on disk, verified.
	BodyReady(now step.Time, v record.VersionKey, out step.Outputs) step.Outputs
	// BodyFailed reports that a fetch ended without the version. The fault says who failed.
	BodyFailed(now step.Time, v record.VersionKey, why step.Failure, out step.Outputs) step.Outputs
	// FetchLost reports that the link of a fetch broke. It returns true if the node will
	// call Fetch again.
	FetchLost(now step.Time, v record.VersionKey) bool
	// PeerIsAhead reports that a peer wants a version that no pointer here names.
	PeerIsAhead(now step.Time, peer step.PeerID, out step.Outputs) step.Outputs
}

// Swarm fetches, exchanges and serves the bodies of versions for one node. Make a Swarm
// with New.
type Swarm struct {
	cfg     Config
	overlay Overlay

	circle    *wire.Circle // the circle of the node; nil for none
	bodies    bodies
	exchanges map[record.FormKey]*exchange
	ordered   []*exchange // the exchanges, in the order in which they began
	uploads   uploads
	partners  partners
}

// New returns a Swarm that holds no body.
func New(cfg Config, overlay Overlay) *Swarm {
	s := &Swarm{
		cfg:       cfg,
		overlay:   overlay,
		bodies:    newBodies(),
		exchanges: map[record.FormKey]*exchange{},
		partners:  newPartners(cfg.Self),
	}
	s.uploads = newUploads(s.held)
	return s
}

// Deadline returns when the swarm wants the next Tick; step.Never for none.
func (s *Swarm) Deadline() step.Time {
	wake := min(s.partners.wakeAt, s.uploads.wakeAt)
	for _, x := range s.ordered {
		wake = min(wake, x.wakeAt)
	}
	return min(wake, s.bodies.fetches.deadline())
}

// Tick acts on every deadline that has passed.
func (s *Swarm) Tick(now step.Time, out step.Outputs) step.Outputs {
	if now >= s.partners.wakeAt {
		out = s.wakePartners(now, out)
	}
	if now >= s.uploads.wakeAt {
		s.uploads.wake(now)
		out = s.uploads.pump(now, out)
	}
	out = s.wakeFetches(now, out)
	return s.wakeExchanges(now, out)
}

// OnCircle assigns the node to a circle.
func (s *Swarm) OnCircle(now step.Time, c *wire.Circle, out step.Outputs) step.Outputs {
	s.circle = c
	for _, u := range s.uploads.queue {
		u.mate = s.isMate(u.peer)
	}
	return s.reassign(now, out)
}

// Has reports whether the body of a version is on disk, verified.
func (s *Swarm) Has(v record.VersionKey) bool { return s.bodies.has(v) }

// IsFetching reports whether a version is being fetched.
func (s *Swarm) IsFetching(v record.VersionKey) bool {
	return s.bodies.fetches.find(v, wire.AnyForm) != nil
}

// Hold notes a body on disk. forms has a bit for each form whose shards can be served.
func (s *Swarm) Hold(now step.Time, v record.VersionKey, forms uint8, out step.Outputs) step.Outputs {
	s.bodies.hold(v, forms)
	return s.fetchNext(now, out)
}

// Evict notes that a body is no longer on disk.
func (s *Swarm) Evict(v record.VersionKey) {
	s.bodies.evict(v)
	s.uploads.recount(v)
}

// ExpectPush notes that a pushed version is being stored.
func (s *Swarm) ExpectPush(v record.VersionKey) { s.bodies.fetches.begin(v, wire.AnyForm).asked = 1 }

// CancelRequests drops the body requests of a peer that was lost.
func (s *Swarm) CancelRequests(peer step.PeerID) { s.bodies.waiting.cancelPeer(peer) }

// OnWithdrawn drops a body request that the peer has given up.
func (s *Swarm) OnWithdrawn(request uint64) { s.bodies.waiting.cancel(request) }

// CacheUsed returns the number of bytes that are kept for other nodes, or on their way.
func (s *Swarm) CacheUsed() int64 {
	var bytes int64
	for _, x := range s.ordered {
		if x.cached {
			bytes += x.cost()
		}
	}
	return bytes
}

// Holdings returns what the node holds of a version: self with the shards of each form,
// or self alone if there are no shards.
func (s *Swarm) Holdings(v record.VersionKey, self wire.Holding) []wire.Holding {
	self.Whole = s.bodies.has(v)
	var held []wire.Holding
	for _, x := range s.ordered {
		if x.key.VersionKey != v {
			continue
		}
		shardBytes := int64(x.info.Geometry.ShardBytes)
		h := self
		h.Form = x.key.Form
		h.Shards = uint32(x.stored)
		h.Of = uint32((x.info.Size + shardBytes - 1) / shardBytes)
		h.Cached = x.cached
		held = append(held, h)
	}
	if len(held) == 0 {
		held = append(held, self)
	}
	return held
}

// subscribes reports whether the node needs the bodies of config itself.
func (s *Swarm) subscribes(config string) bool {
	return !s.cfg.Leads && s.cfg.Subscriptions.Include(config)
}

// ExchangesWith reports whether who may exchange shards with the node: nodes of the same
// region may, and coordinators with coordinators.
func (s *Swarm) ExchangesWith(who wire.Identity) bool {
	bothCoordinators := who.Role == wire.RoleCoordinator && s.cfg.Self.Role == wire.RoleCoordinator
	return who.Region == s.cfg.Self.Region || bothCoordinators
}

// name returns the name of a linked peer; "" if the link is gone.
func (s *Swarm) name(peer step.PeerID) string {
	who, _ := s.overlay.Peer(peer)
	return who.Name
}

// isMate reports whether a peer is a member of the node's circle.
func (s *Swarm) isMate(peer step.PeerID) bool {
	return s.circle != nil && s.circle.Has(s.name(peer))
}

// Abandon ends the exchange of versions of config that no pointer names any more, and the fetches of
// such versions that wait for a slot, unless a peer waits for the version.
func (s *Swarm) Abandon(now step.Time, config string, out step.Outputs) step.Outputs {
	for _, f := range s.bodies.fetches.queuedOf(config) {
		if !s.overlay.IsNamed(f.version) && !s.bodies.waiting.has(f.version) {
			s.bodies.fetches.forget(f.version, f.choice)
		}
	}
	for _, x := range slices.Clone(s.ordered) {
		v := x.key.VersionKey
		if v.Config != config || s.overlay.IsNamed(v) {
			continue
		}
		s.bodies.fetches.forget(v, wire.AnyForm)
		out = s.discard(v, out)
		if x.cached {
			out = s.declineAll(x.key, out)
		}
	}
	return s.fetchNext(now, out)
}
