package tree

import (
	"time"

	"banyan/mesh/step"
)

// Admission limits the number of joins that a root answers in a second, by a token
// bucket that holds the joins of two seconds. The zero value admits DefaultJoinRate.
type Admission struct {
	// Rate is the number of joins per second; 0 means DefaultJoinRate.
	Rate int

	tokens float64
	at     step.Time // when tokens was last computed
	used   bool
}

// DefaultJoinRate is the number of joins per second that a root answers by default.
const DefaultJoinRate = 2000

// Admit takes a token for one join. Without a token, Admit returns the time after which
// the agent should try again; 0 means that the join is admitted.
func (a *Admission) Admit(now step.Time) (retryAfter time.Duration) {
	rate := a.Rate
	if rate <= 0 {
		rate = DefaultJoinRate
	}
	capacity := 2 * float64(rate)
	if !a.used {
		a.tokens = capacity
		a.at = now
		a.used = true
	}
	a.tokens = min(a.tokens+time.Duration(now-a.at).Seconds()*float64(rate), capacity)
	a.at = now
	if a.tokens < 1 {
		return time.Second
	}
	a.tokens--
	return 0
}
