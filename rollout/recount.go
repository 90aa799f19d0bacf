package rollout

import (
	"bytes"
	"slices"

	"banyan/mesh/wire"
)

// Recount says how a census differs from the one before of the same coordinator.
type Recount struct {
	// Agents is true if other agents are attached, subscribe to something else, or are in quarantine.
	Agents bool
	// Waves are the configs whose waves were counted anew.
	Waves []string
}

// compare returns how the census c differs from the census before.
func compare(before, c *wire.Census) Recount {
	var r Recount
	r.Agents = before.Agents != c.Agents ||
		!bytes.Equal(before.Present, c.Present) ||
		!slices.Equal(before.Audiences, c.Audiences) ||
		!slices.EqualFunc(before.Quarantined, c.Quarantined, sameCase)
	counted := make(map[string]wire.WaveSize, len(before.Waves))
	for _, w := range before.Waves {
		counted[w.Config] = w
	}
	for _, w := range c.Waves {
		if counted[w.Config] != w {
			r.Waves = append(r.Waves, w.Config)
		}
		delete(counted, w.Config)
	}
	for config := range counted {
		r.Waves = append(r.Waves, config)
	}
	return r
}

// sameCase reports whether two entries of the quarantine differ in their time only.
func sameCase(a, b wire.Quarantined) bool {
	a.Millis = b.Millis
	return a == b
}
