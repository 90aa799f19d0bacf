package coordinator

import (
	"sync"

	"banyan/record"
)

// news is what has changed for rollouts since their last steps. A rollout without news is judged on
// a slower clock. Methods are safe for concurrent use.
type news struct {
	mu sync.Mutex
	heard
}

// heard is a piece of news; mu of news guards its maps.
type heard struct {
	all      bool                           // everything may have changed
	configs  map[string]struct{}            // configs whose gates have answered
	regions  map[string]struct{}            // regions with other hosts
	pointers map[record.PointerKey]struct{} // pointers that hosts have acknowledged, or that were counted anew
}

func newHeard() heard {
	return heard{
		configs:  map[string]struct{}{},
		regions:  map[string]struct{}{},
		pointers: map[record.PointerKey]struct{}{},
	}
}

func newNews() *news { return &news{heard: newHeard()} }

// ofAll notes that everything may have changed.
func (n *news) ofAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = true
}

// ofConfig notes that the gates of a config have answered.
func (n *news) ofConfig(config string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.configs[config] = struct{}{}
	n.bound()
}

// ofRegion notes that the hosts of a region have changed.
func (n *news) ofRegion(region string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.regions[region] = struct{}{}
	n.bound()
}

// ofPointer notes that hosts have acknowledged a pointer, or that the hosts in its wave were counted.
func (n *news) ofPointer(key record.PointerKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pointers[key] = struct{}{}
	n.bound()
}

// bound forgets the details if there are too many. The caller holds mu.
func (n *news) bound() {
	if len(n.configs)+len(n.regions)+len(n.pointers) > maxNews {
		n.heard = newHeard()
		n.all = true
	}
}

// take returns the news since the last call.
func (n *news) take() heard {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := n.heard
	n.heard = newHeard()
	return taken
}
