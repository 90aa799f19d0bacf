package coordinator

import (
	"cmp"
	"fmt"
	"net/http"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/transport/identity"
)

// journalHandlers answer requests about what was done, by whom and why.
type journalHandlers struct{ ledger *ledger.Ledger }

// getAll returns the entries of the journal that the query of the request selects, newest first.
func (h *journalHandlers) getAll(r *http.Request, _ identity.Identity) (any, error) {
	values := r.URL.Query()
	q := ledger.JournalQuery{Prefix: values.Get("prefix"), By: values.Get("by")}
	q.Limit = int(cmp.Or(min(numberOf(r, "limit"), maxLogEntries), maxLogEntries))
	if since := values.Get("since"); since != "" {
		at, err := time.Parse(time.RFC3339Nano, since)
		if err != nil {
			return nil, fmt.Errorf("%w: since is %q; give a time such as 2026-03-01T12:00:00Z", errRequest, since)
		}
		q.Since = at
	}
	entries, err := h.ledger.Journal(r.Context(), q)
	if err != nil {
		return nil, err
	}
	out := []api.LogEntry{}
	for _, e := range entries {
		out = append(out, apiLogEntry(e))
	}
	return map[string]any{"entries": out}, nil
}
