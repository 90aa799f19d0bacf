package mesh

import (
	"cmp"
	"maps"
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// census tells this coordinator of its own agents, and the leader that it follows.
func (n *Node) census(now step.Time, out []step.Output) []step.Output {
	c := n.Census(now)
	out = append(out, step.Output{Op: step.OpCensus, Name: n.cfg.Self.Name, Region: n.cfg.Self.Region, Count: int(c.Agents), Message: c})
	if n.up.state == upAttached {
		out = append(out, step.Output{Op: step.OpSend, Peer: n.up.parent, Message: c})
	}
	return out
}

// Census counts the agents under this root.
func (n *Node) Census(now step.Time) *wire.Census {
	p := n.cfg.Planner
	c := &wire.Census{Agents: uint32(p.Placed()), Labels: map[string]uint32{}}
	c.Audiences = p.audiences()
	for _, w := range slices.SortedFunc(maps.Keys(n.quarantine.wards), compareWards) {
		entry := *n.quarantine.wards[w]
		c.SetAudience(&entry, p.places[w.index].Subscriptions)
		entry.Millis = uint64((now - n.quarantine.since[w]) / 1e6)
		c.Quarantined = append(c.Quarantined, entry)
	}
	for _, a := range p.places {
		if a.parent == nil || a.gone {
			continue
		}
		for k, v := range a.Labels {
			c.Labels[k+"="+v]++
		}
	}
	c.Labels = mostFrequent(c.Labels, wire.MaxCensusLabels)
	for _, key := range slices.SortedFunc(maps.Keys(n.waving), func(a, b record.PointerKey) int { return cmp.Compare(a.Config, b.Config) }) {
		if len(c.Waves) < wire.MaxWaves {
			c.Waves = append(c.Waves, n.waveSize(key))
		}
	}
	return c
}

func (n *Node) waveSize(key record.PointerKey) wire.WaveSize {
	s := n.configs[key]
	p := &s.latest.Pointer
	size := wire.WaveSize{Config: key.Config, Epoch: p.Epoch}
	for _, a := range n.cfg.Planner.places {
		if a.parent == nil || a.gone || !a.Subscriptions.Include(key.Config) || n.excused(a.index, key.Config, s.since) {
			continue
		}
		size.Agents++
		if p.Wave.Covers(key.Config, a.name, a.Labels) {
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
		if w.index == index && held.Excuses(config, epoch) {
			return true
		}
	}
	return false
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

// audiences counts agents by what they subscribe to, leaving out those that subscribe to
// everything: the largest MaxAudiences. Those beyond count as if they did too, so that
// a rollout waits for some in vain rather than for too few.
func (p *Planner) audiences() []wire.Audience {
	counts := map[string]uint32{}
	for _, a := range p.places {
		if a.parent != nil && !a.gone && a.Subscriptions != "" {
			counts[string(a.Subscriptions)]++
		}
	}
	var all []wire.Audience
	for s, n := range mostFrequent(counts, wire.MaxAudiences) {
		all = append(all, wire.Audience{Subscriptions: wire.Subscriptions(s), Agents: n})
	}
	slices.SortFunc(all, func(a, b wire.Audience) int { return cmp.Compare(a.Subscriptions, b.Subscriptions) })
	return all
}
