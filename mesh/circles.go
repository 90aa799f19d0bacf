package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
)

// circles assigns the nodes below to circles, in which they exchange shards. A node forms
// the circles of its grandchildren, which its children report as broods. A coordinator
// forms the circles of its children as well. The circles of one node feed each other; the
// first is fed by a circle of the node's children. Package swarm says what circles are for.
type circles struct {
	below    []*wire.Circle                  // circles of the children
	broods   map[step.PeerID][]wire.Location // children of each child
	reported []wire.Location                 // the brood that was reported to the parent last
	flushAt  step.Time
}

func newCircles() circles {
	return circles{broods: map[step.PeerID][]wire.Location{}, flushAt: step.Never}
}

// change arranges for the circles to follow a change among children or their broods.
func (c *circles) change(now step.Time) {
	if c.flushAt == step.Never {
		c.flushAt = now + circleDelay
	}
}

// flushCircles forms the circles again, and sends every changed circle.
func (n *Node) flushCircles(now step.Time, out step.Outputs) step.Outputs {
	c := &n.circles
	c.flushAt = step.Never
	brood := n.children.brood()
	self := []wire.Location{n.cfg.location()}
	if n.cfg.Arrangement == ArrangeSiblings {
		return c.tellChildren(now, n.children, []*wire.Circle{{Members: brood, Feeders: self}}, out)
	}
	if n.root != nil {
		out = n.children.tellFollowers(self, out)
		out = c.tellChildren(now, n.children, tree.Arrange(brood, self), out)
	} else if n.up.attached() && !slices.Equal(brood, c.reported) {
		c.reported = brood
		out = send(n.up.parent, &wire.Brood{Members: brood}, out)
	}
	if len(c.below) == 0 {
		return out
	}
	return c.tellGrandchildren(n.children, out)
}

// tellChildren tells each child its circle. It keeps the circles, because one of them
// feeds the grandchildren.
func (c *circles) tellChildren(
	now step.Time, family children, below []*wire.Circle, out step.Outputs,
) step.Outputs {
	changed := !slices.EqualFunc(c.below, below, (*wire.Circle).Equal)
	c.below = below
	if changed {
		c.change(now)
	}
	for i := range family {
		child := &family[i]
		at := slices.IndexFunc(below, func(x *wire.Circle) bool { return x.Has(child.member.Name) })
		if at >= 0 {
			out = child.tellCircle(below[at], out)
		}
	}
	return out
}

// tellGrandchildren forms the circles of the grandchildren, and tells each child the
// circles of its own children.
func (c *circles) tellGrandchildren(family children, out step.Outputs) step.Outputs {
	var all []wire.Location
	for i := range family {
		all = append(all, c.broods[family[i].peer]...)
	}
	formed := tree.Arrange(all, tree.Idlest(c.below).Members)
	for i := range family {
		child := &family[i]
		brood := c.broods[child.peer]
		var below []*wire.Circle
		for _, circle := range formed {
			if slices.ContainsFunc(brood, func(l wire.Location) bool { return circle.Has(l.Name) }) {
				below = append(below, circle)
			}
		}
		if len(below) > 0 && !slices.EqualFunc(below, child.broodCircles, (*wire.Circle).Equal) {
			child.broodCircles = below
			out = send(child.peer, &wire.Circles{Below: below}, out)
		}
	}
	return out
}

// onBrood handles a child's report of its children.
func (n *Node) onBrood(now step.Time, from step.PeerID, m *wire.Brood) {
	if n.children.find(from) == nil {
		return
	}
	n.circles.broods[from] = m.Members
	n.circles.change(now)
}

// onCircles handles the parent's assignment of the node's children to circles.
func (n *Node) onCircles(now step.Time, from step.PeerID, m *wire.Circles, out step.Outputs) step.Outputs {
	if from != n.up.parent || n.root != nil {
		return out
	}
	return n.circles.tellChildren(now, n.children, m.Below, out)
}

// onCircle handles the parent's assignment of the node to a circle.
func (n *Node) onCircle(now step.Time, from step.PeerID, m *wire.Circle, out step.Outputs) step.Outputs {
	if from != n.up.parent || !m.Has(n.cfg.Self.Name) {
		return out
	}
	return n.swarm.OnCircle(now, m, out)
}
