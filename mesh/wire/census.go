package wire

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/record"
)

// Census reports the agents under one coordinator to the leader.
type Census struct {
	// Agents is the number of attached agents.
	Agents uint32 `cbor:"1,keyasint"`
	// Labels is the number of agents for each label, by "key=value".
	Labels map[string]uint32 `cbor:"2,keyasint,omitempty"`
	// Waves has an entry for each config of the region whose pointer has a candidate.
	Waves []WaveSize `cbor:"3,keyasint,omitempty"`
	// Quarantined lists the agents in quarantine.
	Quarantined []Quarantined `cbor:"4,keyasint,omitempty"`
	// Audiences counts the agents that do not subscribe to everything, by subscriptions.
	Audiences []Audience `cbor:"5,keyasint,omitempty"`
	// Present holds the indices of the attached agents, in the portable format of Roaring; see
	// SetPresent and PresentAgents. Acknowledgements of other agents are old news.
	Present []byte `cbor:"6,keyasint,omitempty"`
}

// WaveSize is the number of agents that a pointer with a candidate concerns.
type WaveSize struct {
	Config string `cbor:"1,keyasint"`
	// Position is the position of the pointer.
	Position record.Position `cbor:"2,keyasint"`
	// Agents is the number of agents that count: subscribers that no quarantine excuses.
	Agents uint32 `cbor:"3,keyasint"`
	// InWave is the number of counted agents in the wave.
	InWave uint32 `cbor:"4,keyasint"`
}

// Quarantined is an agent in quarantine for a config.
type Quarantined struct {
	Index  uint32 `cbor:"1,keyasint"`
	Name   string `cbor:"2,keyasint"`
	Config string `cbor:"3,keyasint"`
	// Position is the position of the pointer that the agent failed.
	Position record.Position `cbor:"4,keyasint"`
	Reason   string          `cbor:"5,keyasint"`
	// Millis is the time in quarantine, in milliseconds.
	Millis uint64 `cbor:"6,keyasint"`
	// Audience is the position of the agent's subscriptions in Census.Audiences, plus one;
	// 0 if the agent subscribes to everything.
	Audience uint32 `cbor:"7,keyasint,omitempty"`
}

// Audience is the number of agents that have the same subscriptions.
type Audience struct {
	Subscriptions Subscriptions `cbor:"1,keyasint"`
	Agents        uint32        `cbor:"2,keyasint"`
}

func (*Census) tag() byte { return 11 }

// SetPresent sets Present. The error is one of encoding.
func (m *Census) SetPresent(agents *roaring.Bitmap) (err error) {
	m.Present, err = encodeBitmap(agents)
	return err
}

// PresentAgents returns the indices in Present.
func (m *Census) PresentAgents() (*roaring.Bitmap, error) { return decodeBitmap(m.Present) }

func (m *Census) validate() error {
	for _, list := range []struct {
		what          string
		length, limit int
	}{
		{"census: labels", len(m.Labels), MaxCensusLabels},
		{"census: waves", len(m.Waves), MaxWaves},
		{"census: agents in quarantine", len(m.Quarantined), MaxQuarantined},
		{"census: audiences", len(m.Audiences), MaxAudiences},
	} {
		if err := checkLength(list.what, list.length, list.limit); err != nil {
			return err
		}
	}
	for _, a := range m.Audiences {
		if err := a.Subscriptions.validate(); err != nil {
			return err
		}
	}
	for label := range m.Labels {
		if err := checkNames("census: label", 2*MaxLabelBytes+1, label); err != nil {
			return err
		}
	}
	for _, w := range m.Waves {
		if err := checkNames("census: config name", record.MaxConfigName, w.Config); err != nil {
			return err
		}
	}
	for i := range m.Quarantined {
		if err := m.Quarantined[i].validate(); err != nil {
			return err
		}
	}
	_, err := m.PresentAgents()
	return err
}

func (q *Quarantined) validate() error {
	if err := checkNames("census: config name", record.MaxConfigName, q.Config); err != nil {
		return err
	}
	if err := checkNames("census: name of an agent", MaxAddress, q.Name); err != nil {
		return err
	}
	return checkNames("census: reason", MaxReason, q.Reason)
}

// Subscribers returns the number of agents, out of agents, that subscribe to config.
// audiences counts the agents that do not subscribe to everything.
func Subscribers(agents int, audiences []Audience, config string) int {
	for _, a := range audiences {
		if !a.Subscriptions.Include(config) {
			agents -= int(a.Agents)
		}
	}
	return max(agents, 0)
}

// Subscribers returns the number of counted agents that subscribe to config.
func (m *Census) Subscribers(config string) int {
	return Subscribers(int(m.Agents), m.Audiences, config)
}

// SetAudience sets the Audience of q to the position of s in the census.
func (m *Census) SetAudience(q *Quarantined, s Subscriptions) {
	i := slices.IndexFunc(m.Audiences, func(a Audience) bool { return a.Subscriptions == s })
	q.Audience = uint32(i + 1)
}

// Excused reports whether an agent in quarantine is left out of the arithmetic of a
// rollout of config that began with the pointer at began, and would be counted otherwise.
func (m *Census) Excused(q Quarantined, config string, began record.Position) bool {
	return q.Excuses(config, began) && m.subscribes(q, config)
}

func (m *Census) subscribes(q Quarantined, config string) bool {
	if q.Audience == 0 || int(q.Audience) > len(m.Audiences) {
		return true
	}
	return m.Audiences[q.Audience-1].Subscriptions.Include(config)
}

// Excuses reports whether the quarantine leaves its agent out of the arithmetic of a
// rollout of config that began with the pointer at began. A quarantine for another config does
// not: the agent runs what the rollout brings. A quarantine for a failure of the rollout
// itself does not: a gate must see that failure.
func (q *Quarantined) Excuses(config string, began record.Position) bool {
	return q.Config == config && q.Position < began
}
