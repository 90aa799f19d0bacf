package mesh

import (
	"slices"
	"strings"
	"time"

	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
)

// A circle is the set of agents among which a body's shards are traded. Each of its
// T members has a duty: a T-th of the shards, which it takes from the feeders,
// the members of another circle, and gives to all others of its own, and to the members
// with that duty of each circle that its own one feeds. So every circle is fed through
// all of its members at once, every agent passes on about what it takes in, and a body
// goes through the circles as a stream: the time to the last host is that of one
// download, and some shards for each circle on the way.
//
//	coordinator ──shard──► the member whose duty it is ──► the T-1 others of the circle
//	                          └──► who has that duty in each circle fed by it ──► …
//
// Circles are made out of the tree: a node makes those of its grandchildren, of whom
// its children tell it, and a coordinator those of its children as well. Those of one
// node feed each other as a binary heap; the first is fed by a circle of its children.
//
// Sources: SplitStream (Castro et al., SOSP 2003), in which a node is interior in one
// tree of many, and Turbine's layers of neighborhoods (Solana).
type circles struct {
	mine    *wire.Circle                    // that this node is in; nil: none
	below   []*wire.Circle                  // those that this node's children are in
	broods  map[step.PeerID][]wire.Location // children's children
	told    []wire.Location                 // what the parent was told of this node's children
	flushAt step.Time
}

const (
	// circleDelay gathers changes of the tree before circles follow them.
	circleDelay = step.Time(500 * time.Millisecond)
)

// treeChanged arranges for circles to follow a change among children or their broods.
func (n *Node) treeChanged(now step.Time) {
	if n.circles.flushAt == step.Never {
		n.circles.flushAt = now + circleDelay
	}
}

// flushCircles makes the circles anew, and tells of those that have changed.
func (n *Node) flushCircles(now step.Time, out []step.Output) []step.Output {
	n.circles.flushAt = step.Never
	if n.cfg.Arrangement == ArrangeSiblings {
		return n.tellBelow(now, []*wire.Circle{{Members: n.brood(), Feeders: []wire.Location{n.location()}}}, out)
	}
	if n.root != nil {
		out = n.tellFollowers(out)
		out = n.tellBelow(now, tree.Arrange(n.brood(), []wire.Location{n.location()}), out)
	} else if own := n.brood(); n.up.state == upAttached && !slices.Equal(own, n.circles.told) {
		n.circles.told = own
		out = append(out, step.Output{Op: step.OpSend, Peer: n.up.parent, Message: &wire.Brood{Members: own}})
	}
	if len(n.circles.below) == 0 {
		return out
	}
	return n.tellGrandchildren(out)
}

func (n *Node) location() wire.Location {
	return wire.Location{Name: n.cfg.Self.Name, Addr: n.cfg.Addr, Subscriptions: n.cfg.Subscriptions}
}

// brood lists the agents among the children, by zone and then in order of attachment,
// so that neighbours in it are near each other.
func (n *Node) brood() []wire.Location {
	children := make([]*child, 0, len(n.children))
	for i := range n.children {
		if n.children[i].role == wire.RoleAgent {
			children = append(children, &n.children[i])
		}
	}
	slices.SortStableFunc(children, func(a, b *child) int {
		return strings.Compare(a.member.Labels[wire.ZoneLabel], b.member.Labels[wire.ZoneLabel])
	})
	brood := make([]wire.Location, len(children))
	for i, c := range children {
		brood[i] = wire.Location{Name: c.member.Name, Addr: c.member.Addr, Subscriptions: c.member.Subscriptions}
	}
	return brood
}

// tellBelow tells each child of the circle that it is in, and keeps them to know who
// may feed the grandchildren.
func (n *Node) tellBelow(now step.Time, below []*wire.Circle, out []step.Output) []step.Output {
	changed := !slices.EqualFunc(n.circles.below, below, (*wire.Circle).Equal)
	n.circles.below = below
	if changed {
		n.treeChanged(now)
	}
	for i := range n.children {
		c := &n.children[i]
		if at := slices.IndexFunc(below, func(x *wire.Circle) bool { return x.Has(c.member.Name) }); at >= 0 && !below[at].Equal(c.circle) {
			c.circle = below[at]
			out = append(out, step.Output{Op: step.OpSend, Peer: c.peer, Message: c.circle})
		}
	}
	return out
}

// tellFollowers puts the coordinators that follow this one into circles of their own.
func (n *Node) tellFollowers(out []step.Output) []step.Output {
	var followers []wire.Location
	for i := range n.children {
		if c := &n.children[i]; c.role == wire.RoleCoordinator {
			followers = append(followers, wire.Location{Name: c.member.Name, Addr: c.member.Addr})
		}
	}
	for _, x := range tree.Arrange(followers, []wire.Location{n.location()}) {
		for i := range n.children {
			if c := &n.children[i]; x.Has(c.member.Name) && !x.Equal(c.circle) {
				c.circle = x
				out = append(out, step.Output{Op: step.OpSend, Peer: c.peer, Message: x})
			}
		}
	}
	return out
}

// tellGrandchildren makes the circles of the grandchildren and tells each child of
// those that its own children are in.
func (n *Node) tellGrandchildren(out []step.Output) []step.Output {
	var all []wire.Location
	for i := range n.children {
		all = append(all, n.circles.broods[n.children[i].peer]...)
	}
	made := tree.Arrange(all, tree.Idlest(n.circles.below).Members)
	for i := range n.children {
		c := &n.children[i]
		brood := n.circles.broods[c.peer]
		var theirs []*wire.Circle
		for _, x := range made {
			if slices.ContainsFunc(brood, func(l wire.Location) bool { return x.Has(l.Name) }) {
				theirs = append(theirs, x)
			}
		}
		if len(theirs) > 0 && !slices.EqualFunc(theirs, c.broodCircles, (*wire.Circle).Equal) {
			c.broodCircles = theirs
			out = append(out, step.Output{Op: step.OpSend, Peer: c.peer, Message: &wire.Circles{Below: theirs}})
		}
	}
	return out
}

// bred hears from a child who its children are.
func (n *Node) bred(now step.Time, from step.PeerID, m *wire.Brood) {
	if n.childIndex(from) < 0 {
		return
	}
	n.circles.broods[from] = m.Members
	n.treeChanged(now)
}

// encircledBelow hears from the parent which circles the children are in.
func (n *Node) encircledBelow(now step.Time, from step.PeerID, m *wire.Circles, out []step.Output) []step.Output {
	if from != n.up.parent || n.root != nil {
		return out
	}
	return n.tellBelow(now, m.Below, out)
}

// encircled hears from the parent which circle this node is in.
func (n *Node) encircled(now step.Time, from step.PeerID, m *wire.Circle, out []step.Output) []step.Output {
	if from != n.up.parent || !m.Has(n.cfg.Self.Name) {
		return out
	}
	n.circles.mine = m
	for _, u := range n.uploads.queue {
		u.sibling = n.isSibling(u.peer)
	}
	return n.reassign(now, out)
}

// duty is which of t members a shard of that ordinal is the duty of. The ordinals'
// golden-ratio sequence is spread evenly over the interval, and each member has its
// part of that: so the shards of one are far between, and a member of a circle of
// another size shares duties with two or three of these and not with all.
//
// Source: Fibonacci hashing (Knuth, The Art of Computer Programming, vol. 3, §6.4).
func duty(ordinal, t int) int {
	const golden = 2654435769 // 2^32 over the golden ratio
	return int(uint64(uint32(ordinal)*golden) * uint64(t) >> 32)
}

// candidate is the i-th of those among locations who may be asked for a shard of that
// ordinal: first the one whose duty it is, then the others, in an order that spreads
// the shards of one over all.
func candidate(among []wire.Location, ordinal, i int) wire.Location {
	t := len(among)
	owner := duty(ordinal, t)
	if i == 0 || t == 1 {
		return among[owner]
	}
	return among[(owner+1+(ordinal+i-1)%(t-1))%t]
}
