package coordinator

import (
	"net/http"
	"sync"
	"time"

	"banyan/coordinator/api"
)

// gate counts the requests in progress, so that a coordinator that stops can finish them. The zero
// value lets requests in.
type gate struct {
	mu     sync.Mutex
	inside int
	empty  chan struct{} // nil while the gate is open; closed when the last request left
}

// enter reports whether a request may begin. If so, leave must follow.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.empty != nil {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.empty != nil {
		close(g.empty)
	}
}

// drain lets no more requests in and waits for those inside, for at most limit. It returns the
// number of requests that are still inside.
func (g *gate) drain(limit time.Duration) int {
	g.mu.Lock()
	g.empty = make(chan struct{})
	if g.inside == 0 {
		close(g.empty)
	}
	g.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-g.empty:
	case <-timer.C:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside
}

// guard returns h behind the gate.
func (g *gate) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.enter() {
			w.Header().Set("Connection", "close")
			fail(w, &api.Error{
				Code:    api.CodeUnavailable,
				Message: "the coordinator is stopping and takes no new requests",
				Hint:    "ask again when it runs, or ask another coordinator",
			})
			return
		}
		defer g.leave()
		h.ServeHTTP(w, r)
	})
}
