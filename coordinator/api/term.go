package api

import (
	"context"
	"net/http"

	"banyan/internal/quantity"
)

// NewTerm is the request to begin a new term: the history of the store goes on.
type NewTerm struct {
	Message string `json:"message,omitempty"`
}

// Recover is the request to take the history that the hosts have.
type Recover struct {
	// Wait is the time for which the answers of hosts are waited for; default 30 s. Before that, a
	// coordinator of each region is waited for, as long, but for at most 20 s.
	Wait quantity.Duration `json:"wait,omitempty"`
	// Partly begins the next term although some pointers could not be recovered: hosts that have
	// them take what the store has instead.
	Partly  bool   `json:"partly,omitempty"`
	Message string `json:"message,omitempty"`
}

// Recovered is the answer to Recover, and to NewTerm: configs that only hosts had are recovered then.
type Recovered struct {
	// Term is the term that began; 0 if none began.
	Term uint64 `json:"term"`
	// Recovered are the pointers that the store had lost and has again.
	Recovered []RecoveredPointer `json:"recovered"`
	// Failed are the pointers that could not be recovered.
	Failed []RecoveredPointer `json:"failed"`
	// Asked are the regions of the hosts and coordinators that were asked, and Unanswered the regions
	// from which nobody sent all pointers, because nobody is connected or nobody was in time. The
	// leader's own region is in neither if it has no hosts.
	Asked      []string `json:"asked"`
	Unanswered []string `json:"unanswered"`
	// Silent is the number of connected hosts that did not send all of their pointers in time.
	Silent int `json:"silent"`
	// LeftOut is the number of pointers that were over the limit of one recovery. A pointer that
	// several hosts sent counts each time.
	LeftOut int `json:"left_out"`
	// Stopped is true if the leader still does not write, because of Failed, Unanswered, Silent or LeftOut.
	Stopped bool `json:"stopped"`
}

// RecoveredPointer is a pointer that hosts have.
type RecoveredPointer struct {
	Config    string `json:"config"`
	Region    string `json:"region"`
	Term      uint64 `json:"term"`
	Epoch     uint64 `json:"epoch"`
	Version   uint64 `json:"version"`
	Candidate uint64 `json:"candidate,omitempty"`
	// Why says why the pointer could not be recovered.
	Why string `json:"why,omitempty"`
}

// BeginTerm makes the leader begin a new term.
func (c *Client) BeginTerm(ctx context.Context, in NewTerm) (out Recovered, err error) {
	return out, c.unhurried().putJSON(ctx, http.MethodPost, "/v1/store/term", in, &out)
}

// Recover makes the leader take the history that the hosts have.
func (c *Client) Recover(ctx context.Context, in Recover) (out Recovered, err error) {
	return out, c.unhurried().putJSON(ctx, http.MethodPost, "/v1/store/recover", in, &out)
}
