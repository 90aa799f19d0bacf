package agent

import (
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"banyan/record"
)

// Applied describes the state of a config on this host.
type Applied struct {
	Config string `json:"config"`
	Region string `json:"region"`
	Term   uint64 `json:"term"`
	Epoch  uint64 `json:"epoch"`
	// Position orders the pointers of the config: first by term, then by epoch.
	Position record.Position `json:"position"`
	// Version is 0 if the pointer gives this host no version.
	Version uint64 `json:"version"`
	// Deleted is set if the config was deleted.
	Deleted bool `json:"deleted,omitempty"`
	// Manifest is the digest of the version's manifest.
	Manifest  record.Digest `json:"manifest,omitzero"`
	AppliedAt time.Time     `json:"applied_at"`
	SHA256    string        `json:"sha256,omitempty"`
	Size      int64         `json:"size"`
	Type      string        `json:"content_type,omitempty"`
	// Staleness is the age of the newest head in seconds; -1 before the first head.
	Staleness float64 `json:"staleness_s"`
	// Pending is set until the reload hook of the version has succeeded.
	Pending bool `json:"reload_pending,omitempty"`
	// Drift says how the file differs from the applied version; empty if the file did not
	// differ at the last look.
	Drift string `json:"drift,omitempty"`
}

// Key returns the key of the applied version.
func (a *Applied) Key() record.VersionKey {
	return record.VersionKey{Config: a.Config, Version: a.Version, Digest: a.Manifest}
}

// appliedSet has the applied version of each config, and the versions in the pointers. It
// is safe for concurrent use.
type appliedSet struct {
	headMicros atomic.Int64 // time of the newest head, since the Unix epoch; 0: no head yet
	// shown is held while the links of a config and its applied version change together.
	shown sync.RWMutex

	mu      sync.Mutex
	configs map[string]Applied       // guarded by mu
	named   map[string]namedVersions // by config; guarded by mu
	changed chan struct{}            // closed and replaced at each change; guarded by mu
}

// namedVersions are the versions in the newest pointer of a config.
type namedVersions struct{ baseline, candidate record.Ref }

func newAppliedSet() *appliedSet {
	return &appliedSet{
		configs: map[string]Applied{},
		named:   map[string]namedVersions{},
		changed: make(chan struct{}),
	}
}

// swap calls show, which changes the links of a config, and records the version that show returns.
// A reader in look sees both changes or none.
func (s *appliedSet) swap(show func() (Applied, error)) error {
	s.shown.Lock()
	defer s.shown.Unlock()
	applied, err := show()
	if err == nil {
		s.put(applied)
	}
	return err
}

// look calls fn with the state of config while no links change.
func (s *appliedSet) look(config string, fn func(applied Applied, ok bool)) {
	s.shown.RLock()
	defer s.shown.RUnlock()
	fn(s.get(config))
}

// put records an applied version and closes the channel of the last change.
func (s *appliedSet) put(applied Applied) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configs[applied.Config] = applied
	close(s.changed)
	s.changed = make(chan struct{})
}

// forget forgets a config whose pointer is still at a position.
func (s *appliedSet) forget(config string, at record.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.configs[config].Position == at {
		delete(s.configs, config)
		delete(s.named, config)
	}
}

// setDrift records how the file of config differs from the applied version; nil for no drift.
func (s *appliedSet) setDrift(config string, drift error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	applied, ok := s.configs[config]
	if !ok {
		return
	}
	applied.Drift = ""
	if drift != nil {
		applied.Drift = drift.Error()
	}
	s.configs[config] = applied
}

// setNamed records the versions in a pointer.
func (s *appliedSet) setNamed(p *record.Pointer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named[p.Config] = namedVersions{p.Baseline, p.Candidate}
}

// needs reports whether v must stay on disk: v is applied, or the newest pointer names v.
func (s *appliedSet) needs(v record.VersionKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.named[v.Config]
	applied := s.configs[v.Config]
	isApplied := v.Version == applied.Version && v.Digest == applied.Manifest
	return v.Ref() == n.baseline || v.Ref() == n.candidate || isApplied
}

// get returns the state of config.
func (s *appliedSet) get(config string) (Applied, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	applied, ok := s.configs[config]
	applied.Staleness = seconds(s.staleness())
	return applied, ok
}

// all returns the state of every config, ordered by name, and a channel to be closed
// at the next change.
func (s *appliedSet) all() ([]Applied, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Applied, 0, len(s.configs))
	for _, applied := range s.configs {
		applied.Staleness = seconds(s.staleness())
		all = append(all, applied)
	}
	slices.SortFunc(all, func(a, b Applied) int { return strings.Compare(a.Config, b.Config) })
	return all, s.changed
}

// count returns the number of applied configs.
func (s *appliedSet) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.configs)
}

// sawHead records the time of the newest head. A leader whose clock is ahead does not make this
// host seem fresh in the future: the head is as old as the time since it came, at least.
func (s *appliedSet) sawHead(micros int64) { s.headMicros.Store(min(micros, time.Now().UnixMicro())) }

// staleness returns the age of the newest head: at that time this host surely had every
// pointer. Before the first head, staleness returns the largest duration.
func (s *appliedSet) staleness() time.Duration {
	head := s.headMicros.Load()
	if head == 0 {
		return math.MaxInt64
	}
	return max(time.Since(time.UnixMicro(head)), 0)
}

// seconds converts a staleness for the local API.
func seconds(d time.Duration) float64 {
	if d == math.MaxInt64 {
		return -1
	}
	return d.Seconds()
}
