package rollout

import (
	"slices"

	"banyan/record"
)

// WaveCount is the number of hosts that a wave of a plan has in each region.
type WaveCount struct {
	// Wave describes the wave: "1% or canary=true".
	Wave string
	// Hosts is the number of hosts by region.
	Hosts map[string]int
	// AtLeast is true if the wave may have more hosts: hosts with several labels, or with a label
	// and in the share too, are not counted apart.
	AtLeast bool
}

// Counts returns the number of hosts in each wave of the plan, in a fleet with the given sizes
// of its regions. labels is the number of hosts with each label, by region and "key=value". Counts
// is of a config to which all hosts subscribe, but for those that only relay.
func (p Plan) Counts(sizes map[string]Size, labels map[string]map[string]int) []WaveCount {
	named := slices.Concat(p.Regions...)
	counts := make([]WaveCount, len(p.Waves))
	for i := range p.Waves {
		wave := p.wave(i)
		counts[i] = WaveCount{Wave: wave.String(), Hosts: map[string]int{}, AtLeast: !exactly(wave)}
		for region, size := range sizes {
			if len(named) == 0 || slices.Contains(named, region) {
				counts[i].Hosts[region] = leastIn(p.Waves[:i+1], size.Hosts(), labels[region])
			}
		}
	}
	return counts
}

// exactly reports whether the number of hosts of a wave can be told from the number of all hosts
// and of those with each label: the wave is a share of the hosts, or the hosts with one label.
func exactly(w record.Wave) bool {
	if len(w.Any) == 0 {
		return true
	}
	return w.Share == 0 && len(w.Any) == 1 && len(w.Any[0]) == 1
}

// leastIn returns the least number of a region's hosts that are in waves.
func leastIn(waves []Wave, hosts int, labels map[string]int) int {
	least := 0
	for _, w := range waves {
		least = max(least, needed(w.Share, hosts))
		if len(w.Labels) != 1 {
			continue
		}
		for key, value := range w.Labels {
			least = max(least, labels[key+"="+value])
		}
	}
	return min(least, hosts)
}
