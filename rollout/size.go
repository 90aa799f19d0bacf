package rollout

import (
	"maps"
	"slices"

	"banyan/mesh/wire"
)

// Size is how many agents a region has, and what those subscribe to that do not
// subscribe to everything.
type Size struct {
	Agents    int             `json:"agents"`
	Audiences []wire.Audience `json:"audiences,omitempty"`
}

// Subscribers is how many of them subscribe to a config.
func (s Size) Subscribers(config string) int { return wire.Subscribers(s.Agents, s.Audiences, config) }

// Sizes are the sizes of the regions that were heard of.
func (t *Tracker) Sizes() map[string]Size {
	sizes := map[string]Size{}
	for _, name := range slices.Sorted(maps.Keys(t.placed)) {
		u := t.placed[name]
		s := sizes[u.region]
		s.Agents += u.agents
		if c, ok := t.census[name]; ok {
			s.Audiences = append(s.Audiences, c.Audiences...)
		}
		sizes[u.region] = s
	}
	return sizes
}
