package mesh

import (
	"cmp"
	"maps"
	"slices"

	"banyan/record"
)

// Limits of a census.
const (
	// MaxCensusLabels is how many different labels it counts.
	MaxCensusLabels = 256
	// MaxWaves is how many configs with a candidate it tells of.
	MaxWaves = 256
	// MaxAudiences is how many different subscriptions it counts.
	MaxAudiences = 128
)

// Census tells a leader of the agents under one coordinator.
type Census struct {
	Agents      uint32            `cbor:"1,keyasint"`
	Labels      map[string]uint32 `cbor:"2,keyasint,omitempty"` // agents by "key=value"
	Waves       []WaveSize        `cbor:"3,keyasint,omitempty"`
	Quarantined []Quarantined     `cbor:"4,keyasint,omitempty"`
	Audiences   []Audience        `cbor:"5,keyasint,omitempty"` // agents that do not subscribe to everything
}

// WaveSize is how many agents a pointer with a candidate concerns.
type WaveSize struct {
	Config string `cbor:"1,keyasint"`
	Epoch  uint64 `cbor:"2,keyasint"`
	Agents uint32 `cbor:"3,keyasint"` // those that count: subscribers, not in quarantine since before the candidate
	InWave uint32 `cbor:"4,keyasint"` // those of them that are to run the candidate
}

// census tells this coordinator of its own agents, and the leader that it follows.
func (n *Node) census(now Time, out []Output) []Output {
	c := n.Census(now)
	out = append(out, Output{Op: OpCensus, Name: n.cfg.Self.Name, Region: n.cfg.Self.Region, Count: int(c.Agents), Message: c})
	if n.up.state == upAttached {
		out = append(out, Output{Op: OpSend, Peer: n.up.parent, Message: c})
	}
	return out
}

// Census counts the agents under this root.
func (n *Node) Census(now Time) *Census {
	p := n.cfg.Planner
	c := &Census{Agents: uint32(p.Placed()), Labels: map[string]uint32{}}
	c.Audiences = p.audiences()
	for _, w := range slices.SortedFunc(maps.Keys(n.quarantine.wards), compareWards) {
		entry := *n.quarantine.wards[w]
		entry.Audience = c.audience(p.places[w.index].subscriptions)
		entry.Millis = uint64((now - n.quarantine.since[w]) / 1e6)
		c.Quarantined = append(c.Quarantined, entry)
	}
	for _, a := range p.places {
		if a.parent == nil || a.gone {
			continue
		}
		for k, v := range a.labels {
			c.Labels[k+"="+v]++
		}
	}
	c.Labels = mostFrequent(c.Labels, MaxCensusLabels)
	for _, key := range slices.SortedFunc(maps.Keys(n.waving), func(a, b record.PointerKey) int { return cmp.Compare(a.Config, b.Config) }) {
		if len(c.Waves) < MaxWaves {
			c.Waves = append(c.Waves, n.waveSize(key))
		}
	}
	return c
}

func (n *Node) waveSize(key record.PointerKey) WaveSize {
	s := n.configs[key]
	p := &s.latest.Pointer
	size := WaveSize{Config: key.Config, Epoch: p.Epoch}
	for _, a := range n.cfg.Planner.places {
		if a.parent == nil || a.gone || !a.subscriptions.Include(key.Config) || n.excused(a.index, key.Config, s.since) {
			continue
		}
		size.Agents++
		if p.Wave.Covers(key.Config, a.name, a.labels) {
			size.InWave++
		}
	}
	return size
}

// excused tells whether an agent was in quarantine before an epoch of a config: that
// it fails then says nothing of what the epoch brought.
func (n *Node) excused(index uint32, config string, epoch uint64) bool {
	c := n.cfg.Planner.places[index]
	if c == nil || !c.confined {
		return false
	}
	for w, held := range n.quarantine.wards {
		if w.index == index && excuses(*held, config, epoch) {
			return true
		}
	}
	return false
}

// excuses tells whether a quarantine leaves an agent out of the arithmetic of a config's
// rollout that began with an epoch.
func excuses(q Quarantined, config string, began uint64) bool {
	return q.Config != config || q.Epoch < began
}

// Excused tells whether an agent in quarantine is to be left out of that arithmetic, and
// would be counted otherwise.
func (c *Census) Excused(q Quarantined, config string, began uint64) bool {
	return excuses(q, config, began) && c.subscribes(q, config)
}

// mostFrequent keeps the limit highest counts.
func mostFrequent(counts map[string]uint32, limit int) map[string]uint32 {
	if len(counts) <= limit {
		return counts
	}
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, name := range names[limit:] {
		delete(counts, name)
	}
	return counts
}
