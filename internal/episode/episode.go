// Package episode keeps a log short while something fails again and again: the first failure of an
// episode is logged as usual, the others only for debugging.
//
// Entry point: [Set]. The zero value is ready to use.
package episode

import (
	"log/slog"
	"sync"
)

// MaxOpen is the maximum number of open episodes. Past MaxOpen an arbitrary episode is forgotten,
// and its next failure is logged once more.
const MaxOpen = 10_000

// Set holds the open episodes, each with a key. It is safe for concurrent use.
type Set[K comparable] struct {
	mu   sync.Mutex
	open map[K]struct{} // guarded by mu
}

// Level returns the level for the log line of a failure: first for the failure that opens the
// episode of key, else slog.LevelDebug.
func (s *Set[K]) Level(key K, first slog.Level) slog.Level {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.open[key]; ok {
		return slog.LevelDebug
	}
	if s.open == nil {
		s.open = map[K]struct{}{}
	}
	if len(s.open) >= MaxOpen {
		for other := range s.open {
			delete(s.open, other)
			break
		}
	}
	s.open[key] = struct{}{}
	return first
}

// End ends the episode of key, if there is one.
func (s *Set[K]) End(key K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, key)
}
