package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/record"
	"banyan/transport/identity"
	"banyan/versionstore"
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
	if len(entries) == 0 && q.Prefix != "" {
		if err := h.known(r.Context(), q.Prefix); err != nil {
			return nil, err
		}
	}
	out := []api.LogEntry{}
	for _, e := range entries {
		out = append(out, apiLogEntry(e))
	}
	return map[string]any{"entries": out}, nil
}

// known returns an error if there is no config at or below a prefix, and nothing was ever done there.
func (h *journalHandlers) known(ctx context.Context, prefix string) error {
	entries, err := h.ledger.Journal(ctx, ledger.JournalQuery{Prefix: prefix, Limit: 1})
	if err != nil || len(entries) > 0 {
		return err
	}
	names, err := versionstore.AllConfigs(ctx, h.ledger)
	if err != nil || slices.ContainsFunc(names, func(name string) bool { return record.InScope(name, prefix) }) {
		return err
	}
	return explainMissing(ctx, h.ledger, prefix, &api.Error{Code: api.CodeNotFound})
}
