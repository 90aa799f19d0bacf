package mesh

import (
	"fmt"
	"slices"

	"banyan/record"
)

// MaxHoldings is the most holdings in one message.
const MaxHoldings = 512

// Survey asks every agent below what it holds of a version. The answers are gathered on
// their way up; a newer survey takes the place of an older one.
type Survey struct {
	ID      uint64 `cbor:"1,keyasint"`
	Config  string `cbor:"2,keyasint"`
	Version uint64 `cbor:"3,keyasint"`
}

// Holdings answers a Survey, for agents of one region.
type Holdings struct {
	ID     uint64    `cbor:"1,keyasint"`
	Region string    `cbor:"2,keyasint"`
	Held   []Holding `cbor:"3,keyasint"`
}

// Holding is what an agent holds of a form of a version; or of the version, if it is
// whole or nothing of it is there.
type Holding struct {
	Agent  uint32 `cbor:"1,keyasint" json:"-"`
	Name   string `cbor:"2,keyasint" json:"agent"`
	Whole  bool   `cbor:"3,keyasint,omitempty" json:"whole,omitempty"` // the body is there, checked
	Form   uint8  `cbor:"4,keyasint,omitempty" json:"form"`
	Shards uint32 `cbor:"5,keyasint,omitempty" json:"shards"`           // that are there
	Of     uint32 `cbor:"6,keyasint,omitempty" json:"of"`               // shards of data that the form has
	Cached bool   `cbor:"7,keyasint,omitempty" json:"cached,omitempty"` // for others alone
}

func (m *Survey) validate() error {
	if len(m.Config) > record.MaxConfigName {
		return fmt.Errorf("%w: survey: name too long", ErrMalformed)
	}
	return nil
}

func (m *Holdings) validate() error {
	if len(m.Held) > MaxHoldings || len(m.Region) > record.MaxRegionName {
		return fmt.Errorf("%w: %d holdings", ErrMalformed, len(m.Held))
	}
	for i := range m.Held {
		if len(m.Held[i].Name) > MaxAddress {
			return fmt.Errorf("%w: holdings: name too long", ErrMalformed)
		}
	}
	return nil
}

// survey is the newest that a node has heard of.
type survey struct {
	id      uint64
	upward  bool      // the parent asked
	held    []Holding // to be told
	flushAt Time
}

// beginSurvey asks all agents below this root.
func (n *Node) beginSurvey(in Input, out []Output) []Output {
	n.survey = survey{id: in.Request, flushAt: Never}
	return n.askBelow(&Survey{ID: in.Request, Config: in.Want.Config, Version: in.Want.Version}, out)
}

func (n *Node) askBelow(m *Survey, out []Output) []Output {
	for i := range n.children {
		out = append(out, Output{Op: OpSend, Peer: n.children[i].peer, Message: m})
	}
	return out
}

// surveyed answers, and passes the question on.
func (n *Node) surveyed(now Time, from PeerID, m *Survey, out []Output) []Output {
	if from != n.up.parent || n.up.state != upAttached || m.ID == n.survey.id {
		return out
	}
	n.survey = survey{id: m.ID, upward: true, flushAt: Never}
	out = n.askBelow(m, out)
	if n.cfg.Self.Role == RoleAgent {
		return n.gather(now, n.holdings(record.VersionKey{Config: m.Config, Version: m.Version}), out)
	}
	return out
}

// holdings is what this agent holds of a version.
func (n *Node) holdings(v record.VersionKey) (held []Holding) {
	self := Holding{Agent: n.up.index - 1, Name: n.cfg.Self.Name, Whole: n.bodies.has(v)}
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
func (n *Node) heardHoldings(now Time, from PeerID, m *Holdings, out []Output) []Output {
	i := n.childIndex(from)
	if i < 0 || m.Region != n.children[i].region || m.ID != n.survey.id {
		return out
	}
	if n.cfg.Planner != nil {
		out = append(out, Output{Op: OpHoldings, Message: m})
	}
	if !n.survey.upward {
		return out
	}
	return n.gather(now, m.Held, out)
}

// gather keeps answers for a moment, to tell of many at once.
func (n *Node) gather(now Time, held []Holding, out []Output) []Output {
	if n.survey.held = append(n.survey.held, held...); len(n.survey.held) >= MaxHoldings {
		return n.flushSurvey(out)
	}
	n.survey.flushAt = min(n.survey.flushAt, now+ackDelay)
	return out
}

// flushSurvey tells of what was gathered.
func (n *Node) flushSurvey(out []Output) []Output {
	n.survey.flushAt = Never
	if n.up.state == upAttached {
		for held := range slices.Chunk(n.survey.held, MaxHoldings) {
			out = append(out, Output{Op: OpSend, Peer: n.up.parent, Message: &Holdings{ID: n.survey.id, Region: n.cfg.Self.Region, Held: held}})
		}
	}
	n.survey.held = nil
	return out
}
