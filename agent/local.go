package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"banyan/mesh"
	"banyan/record"
)

// listenLocal binds the address of the local API: nil for "".
func listenLocal(address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		// A socket left by a process that was killed is in the way; one that
		// answers belongs to somebody.
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			return nil, fmt.Errorf("local API: %s is in use by another process", path)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("local API: %w", err)
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			return nil, fmt.Errorf("local API: %w", err)
		}
		return l, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("local API: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%w: local API on %s: it has no authentication and serves loopback or a Unix socket alone", record.ErrInvalid, address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("local API: %w", err)
	}
	return l, nil
}

// LocalAddr is where the local API listens; nil if it does not.
func (a *Agent) LocalAddr() net.Addr {
	if a.local == nil {
		return nil
	}
	return a.local.Addr()
}

func (a *Agent) serveLocal(ctx context.Context) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", a.getStatus)
	mux.HandleFunc("GET /v1/configs", a.getConfigs)
	mux.HandleFunc("GET /v1/configs/{config}", a.getConfig)
	mux.HandleFunc("GET /v1/configs/{config}/value", a.getValue)
	mux.HandleFunc("GET /v1/watch", a.watch)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { a.metrics.write(w) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(a.local); err != nil && !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		a.log.Error("local API ended", "error", err)
	}
}

// Status is what an agent says of itself.
type Status struct {
	Agent     string  `json:"agent"`
	Region    string  `json:"region"`
	Attached  bool    `json:"attached"`
	Parent    string  `json:"parent,omitempty"`
	Children  int     `json:"children"`
	Revision  uint64  `json:"revision"`
	Staleness float64 `json:"staleness_s"` // -1: no head seen yet
	Configs   int     `json:"configs"`
	// Subscriptions are the scopes of what it applies; absent: everything.
	Subscriptions []string `json:"subscriptions,omitzero"`

	Gossip int    `json:"gossip_members"`  // 0: not in a pool
	Known  uint64 `json:"gossip_revision"` // newest that gossip told of
}

// Status asks the agent's node how it stands.
func (a *Agent) Status(ctx context.Context) (Status, bool) {
	s := Status{Agent: a.Name(), Region: a.cfg.Identity.Identity.Region, Staleness: seconds(a.staleness()), Configs: a.configCount(), Known: a.known.Load(),
		Subscriptions: a.cfg.Subscriptions.Scopes()}
	if pool := a.pool.Load(); pool != nil {
		s.Gossip = len(pool.Members())
	}
	ok := a.driver.Do(ctx, func(n *mesh.Node) {
		s.Attached, s.Children, s.Revision = n.Attached(), n.Children(), n.Revision(s.Region)
		parent, _ := n.Parent()
		s.Parent = parent.Name
	})
	return s, ok
}

func (a *Agent) getStatus(w http.ResponseWriter, r *http.Request) {
	s, ok := a.Status(r.Context())
	if !ok {
		writeError(w, http.StatusServiceUnavailable, "the agent is stopping")
		return
	}
	writeJSON(w, s)
}

func (a *Agent) snapshot() ([]Applied, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := slices.AppendSeq([]Applied{}, maps.Values(a.configs))
	slices.SortFunc(all, func(x, y Applied) int { return strings.Compare(x.Config, y.Config) })
	for i := range all {
		all[i].Staleness = seconds(a.staleness())
	}
	return all, a.changed
}

func (a *Agent) getConfigs(w http.ResponseWriter, _ *http.Request) {
	all, _ := a.snapshot()
	writeJSON(w, map[string]any{"configs": all})
}

func (a *Agent) getConfig(w http.ResponseWriter, r *http.Request) {
	applied, ok := a.Applied(r.PathValue("config"))
	if !ok {
		writeError(w, http.StatusNotFound, fmt.Sprintf("config %q is not on this host", r.PathValue("config")))
		return
	}
	writeJSON(w, applied)
}

// getValue serves the body of one epoch: it opens the file of the version it
// names in the headers, whatever is swapped meanwhile.
func (a *Agent) getValue(w http.ResponseWriter, r *http.Request) {
	applied, ok := a.Applied(r.PathValue("config"))
	if !ok || applied.Version == 0 {
		writeError(w, http.StatusNotFound, fmt.Sprintf("config %q is not on this host", r.PathValue("config")))
		return
	}
	f, err := a.tree.open(record.VersionKey{Config: applied.Config, Version: applied.Version})
	if err != nil {
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	defer f.Close()
	h := w.Header()
	h.Set("ETag", strconv.Quote(applied.SHA256))
	h.Set("Banyan-Version", strconv.FormatUint(applied.Version, 10))
	h.Set("Banyan-Epoch", strconv.FormatUint(applied.Epoch, 10))
	h.Set("Banyan-Staleness", strconv.FormatFloat(applied.Staleness, 'f', 3, 64))
	if applied.Type != "" {
		h.Set("Content-Type", applied.Type)
	}
	http.ServeContent(w, r, "", applied.AppliedAt, io.NewSectionReader(f, 0, applied.Size))
}

// watch streams a line of JSON for what is applied now, and for each change
// after. ?config=NAME narrows it; ?after=EPOCH leaves out what the caller knows.
func (a *Agent) watch(w http.ResponseWriter, r *http.Request) {
	config := r.URL.Query().Get("config")
	after, err := strconv.ParseUint(cmp.Or(r.URL.Query().Get("after"), "0"), 10, 64)
	if err != nil {
		writeError(w, http.StatusBadRequest, "after must be an epoch: a whole number")
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	encoder := json.NewEncoder(w)
	told := map[string]Applied{}
	for {
		all, changed := a.snapshot()
		for _, applied := range all {
			before := told[applied.Config]
			if config != "" && applied.Config != config || applied.Epoch <= max(before.Epoch, after) || applied.Version == before.Version {
				continue // an epoch may change what others run, and nothing here
			}
			told[applied.Config] = applied
			if encoder.Encode(applied) != nil {
				return
			}
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func writeError(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(map[string]string{"error": message})
}
