package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// survey is the newest that a node has heard of.
type survey struct {
	id      uint64
	upward  bool           // the parent asked
	held    []wire.Holding // to be told
	flushAt step.Time
}

// beginSurvey asks all agents below this root.
func (n *Node) beginSurvey(in step.Input, out []step.Output) []step.Output {
	n.survey = survey{id: in.Request, flushAt: step.Never}
	return n.askBelow(&wire.Survey{ID: in.Request, Config: in.Want.Config, Version: in.Want.Version}, out)
}

func (n *Node) askBelow(m *wire.Survey, out []step.Output) []step.Output {
	for i := range n.children {
		out = append(out, step.Output{Op: step.OpSend, Peer: n.children[i].peer, Message: m})
	}
	return out
}

// surveyed answers, and passes the question on.
func (n *Node) surveyed(now step.Time, from step.PeerID, m *wire.Survey, out []step.Output) []step.Output {
	if from != n.up.parent || n.up.state != upAttached || m.ID == n.survey.id {
		return out
	}
	n.survey = survey{id: m.ID, upward: true, flushAt: step.Never}
	out = n.askBelow(m, out)
	if n.cfg.Self.Role == wire.RoleAgent {
		return n.gather(now, n.holdings(record.VersionKey{Config: m.Config, Version: m.Version}), out)
	}
	return out
}

// holdings is what this agent holds of a version.
func (n *Node) holdings(v record.VersionKey) (held []wire.Holding) {
	self := wire.Holding{Agent: n.up.index - 1, Name: n.cfg.Self.Name, Whole: n.bodies.has(v)}
	for _, x := range n.trading {
		if x.key.VersionKey != v {
			continue
		}
		h, shardBytes := self, int64(x.info.Geometry.ShardBytes)
		h.Form, h.Shards, h.Cached = x.key.Form, uint32(x.stored), x.cached
		h.Of = uint32((x.info.Size + shardBytes - 1) / shardBytes)
		held = append(held, h)
	}
	if len(held) == 0 {
		held = append(held, self)
	}
	return held
}

// heardHoldings takes the answers of a child's subtree.
func (n *Node) heardHoldings(now step.Time, from step.PeerID, m *wire.Holdings, out []step.Output) []step.Output {
	i := n.childIndex(from)
	if i < 0 || m.Region != n.children[i].region || m.ID != n.survey.id {
		return out
	}
	if n.root != nil {
		out = append(out, step.Output{Op: step.OpHoldings, Message: m})
	}
	if !n.survey.upward {
		return out
	}
	return n.gather(now, m.Held, out)
}

// gather keeps answers for a moment, to tell of many at once.
func (n *Node) gather(now step.Time, held []wire.Holding, out []step.Output) []step.Output {
	if n.survey.held = append(n.survey.held, held...); len(n.survey.held) >= wire.MaxHoldings {
		return n.flushSurvey(out)
	}
	n.survey.flushAt = min(n.survey.flushAt, now+ackDelay)
	return out
}

// flushSurvey tells of what was gathered.
func (n *Node) flushSurvey(out []step.Output) []step.Output {
	n.survey.flushAt = step.Never
	if n.up.state == upAttached {
		for held := range slices.Chunk(n.survey.held, wire.MaxHoldings) {
			out = append(out, step.Output{Op: step.OpSend, Peer: n.up.parent, Message: &wire.Holdings{ID: n.survey.id, Region: n.cfg.Self.Region, Held: held}})
		}
	}
	n.survey.held = nil
	return out
}
