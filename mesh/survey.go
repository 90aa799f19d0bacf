package mesh

import (
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// survey is the newest known survey, and the answers that are gathered to be sent together.
type survey struct {
	id      uint64 // 0 for none
	upward  bool   // the parent sent the survey, so the answers go to the parent
	held    []wire.Holding
	flushAt step.Time
}

// gather keeps answers for a moment, to send many in one message.
func (s *survey) gather(
	now step.Time, u *upstream, region string, held []wire.Holding, out step.Outputs,
) step.Outputs {
	s.held = append(s.held, held...)
	if len(s.held) >= wire.MaxHoldings {
		return s.flush(u, region, out)
	}
	s.flushAt = min(s.flushAt, now+ackDelay)
	return out
}

// flush sends the gathered answers to the parent.
func (s *survey) flush(u *upstream, region string, out step.Outputs) step.Outputs {
	s.flushAt = step.Never
	if u.attached() {
		for held := range slices.Chunk(s.held, wire.MaxHoldings) {
			out = send(u.parent, &wire.Holdings{ID: s.id, Region: region, Held: held}, out)
		}
	}
	s.held = nil
	return out
}

// begin asks all agents below a root what they hold of a version.
func (s *survey) begin(id uint64, v record.VersionKey, below children, out step.Outputs) step.Outputs {
	*s = survey{id: id, flushAt: step.Never}
	return below.sendAll(&wire.Survey{ID: id, Config: v.Config, Version: v.Version, Digest: v.Digest}, out)
}

// onSurvey answers a survey, and passes the survey on to the children.
func (n *Node) onSurvey(now step.Time, from step.PeerID, m *wire.Survey, out step.Outputs) step.Outputs {
	if !n.up.isParent(from) || m.ID == n.survey.id {
		return out
	}
	n.survey = survey{id: m.ID, upward: true, flushAt: step.Never}
	out = n.children.sendAll(m, out)
	if n.cfg.Self.Role != wire.RoleAgent {
		return out
	}
	self := wire.Holding{Agent: n.up.index - 1, Name: n.cfg.Self.Name}
	held := n.swarm.Holdings(m.Key(), self)
	return n.survey.gather(now, &n.up, n.cfg.Self.Region, held, out)
}

// onHoldings handles the answers of a child's subtree.
func (n *Node) onHoldings(now step.Time, from step.PeerID, m *wire.Holdings, out step.Outputs) step.Outputs {
	c := n.children.find(from)
	if c == nil || m.Region != c.region || m.ID == 0 || m.ID != n.survey.id {
		return out
	}
	if n.root != nil {
		out = append(out, step.Output{Op: step.OpHoldings, Message: m})
	}
	if !n.survey.upward {
		return out
	}
	return n.survey.gather(now, &n.up, n.cfg.Self.Region, m.Held, out)
}
