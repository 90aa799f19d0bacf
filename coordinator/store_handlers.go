package coordinator

import (
	"net/http"

	"banyan/coordinator/api"
	"banyan/transport/identity"
)

// storeHandlers answer requests about the history of the store.
type storeHandlers struct{ recovery *recovery }

// postTerm begins a new term: the history of the store goes on, and hosts that have another
// history take this one.
func (h *storeHandlers) postTerm(r *http.Request, caller identity.Identity) (any, error) {
	var in api.NewTerm
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	if err := checkMessage(in.Message); err != nil {
		return nil, err
	}
	return h.recovery.keep(r.Context(), caller.Name, in)
}

// postRecover takes the history that the hosts have.
func (h *storeHandlers) postRecover(r *http.Request, caller identity.Identity) (any, error) {
	var in api.Recover
	if err := decodeRequest(r, &in); err != nil {
		return nil, err
	}
	if err := checkMessage(in.Message); err != nil {
		return nil, err
	}
	return h.recovery.run(r.Context(), caller.Name, in)
}
