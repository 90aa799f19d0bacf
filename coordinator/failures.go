package coordinator

import "time"

// failures decides which of many like failures are logged. The zero value is ready for use. It
// has an entry for each config with a failing rollout, and at most maxFailures.
type failures struct {
	failing map[string]bool      // by config
	logged  map[string]time.Time // of the last message, by cause
	left    map[string]int       // failures since the last message, by cause
}

// due notes a failure of config and reports whether to log it: at most one failure of a cause is
// logged in failuresEvery. left is the number of failures of the cause that were not logged.
func (f *failures) due(config, cause string, now time.Time) (left int, due bool) {
	if f.failing == nil {
		f.failing = map[string]bool{}
		f.logged = map[string]time.Time{}
		f.left = map[string]int{}
	}
	if len(f.failing) >= maxFailures || len(f.logged) >= maxFailures {
		clear(f.failing)
		clear(f.logged)
		clear(f.left)
	}
	f.failing[config] = true
	last, logged := f.logged[cause]
	if logged && now.Sub(last) < failuresEvery && now.After(last.Add(-failuresEvery)) {
		f.left[cause]++
		return 0, false
	}
	left = f.left[cause]
	f.logged[cause] = now
	delete(f.left, cause)
	return left, true
}

// ended forgets the failures of config, and reports whether it is the last config that failed.
func (f *failures) ended(config string) bool {
	if !f.failing[config] {
		return false
	}
	delete(f.failing, config)
	return len(f.failing) == 0
}
