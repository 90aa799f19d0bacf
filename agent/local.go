package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"banyan/internal/usage"
	"banyan/record"
)

// localAPI serves readers on this host over HTTP.
type localAPI struct {
	listener net.Listener
	applied  *appliedSet
	output   *outputDir
	metrics  *agentMetrics
	log      *slog.Logger
	trouble  *trouble
	// status returns the agent's status; false if the agent is stopping.
	status func(context.Context) (Status, bool)
}

// Status describes an agent and the agent's place in the tree.
type Status struct {
	Agent    string `json:"agent"`
	Region   string `json:"region"`
	Attached bool   `json:"attached"`
	Parent   string `json:"parent,omitempty"`
	// Alone says why the agent has no parent; absent with a parent.
	Alone    string `json:"alone,omitempty"`
	Children int    `json:"children"`
	Revision uint64 `json:"revision"`
	// Staleness is the age of the newest head in seconds; -1 before the first head.
	Staleness float64 `json:"staleness_s"`
	Configs   int     `json:"configs"`
	// Subscriptions are the prefixes of the applied configs; absent if the agent
	// applies every config.
	Subscriptions []string `json:"subscriptions,omitzero"`
	// Gossip is the number of members of the gossip pool; 0 if the agent is not a member.
	Gossip int `json:"gossip_members"`
	// Known is the newest revision in gossip.
	Known uint64 `json:"gossip_revision"`
}

// listenLocal binds the address of the local API. It returns nil if address is empty.
func listenLocal(address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	l, err := bindLocal(address)
	if err != nil {
		return nil, fmt.Errorf("local API: %w", err)
	}
	return l, nil
}

func bindLocal(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return bindUnix(path)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, usage.Errorf("%s is not a loopback address, and the local API has no authentication; "+
			"use unix:PATH or a loopback host:port", address)
	}
	return net.Listen("tcp", address)
}

// bindUnix binds a Unix socket. A socket left behind by a killed process is deleted,
// but not a socket with a listening process.
func bindUnix(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("%s is in use by another process", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", path)
}

// serve answers requests until ctx ends.
func (l *localAPI) serve(ctx context.Context) {
	server := &http.Server{
		Handler:           l.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	err := server.Serve(l.listener)
	if err != nil && !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		l.log.Error("local API ended", "error", err)
	}
}

func (l *localAPI) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", l.getStatus)
	mux.HandleFunc("GET /v1/configs", l.getConfigs)
	mux.HandleFunc("GET /v1/configs/{config}", l.getConfig)
	mux.HandleFunc("GET /v1/configs/{config}/value", l.getValue)
	mux.HandleFunc("GET /v1/watch", l.watch)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { l.metrics.write(w) })
	mux.HandleFunc("GET /healthz", l.getHealth)
	return mux
}

// getHealth answers that the agent works. An agent without a parent works, too: it serves what it
// has, and to start it again would not help. The text says what is wrong.
func (l *localAPI) getHealth(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, cmp.Or(l.trouble.String(), "ok"))
}

func (l *localAPI) getStatus(w http.ResponseWriter, r *http.Request) {
	s, ok := l.status(r.Context())
	if !ok {
		writeError(w, http.StatusServiceUnavailable, "the agent is stopping")
		return
	}
	writeJSON(w, s)
}

func (l *localAPI) getConfigs(w http.ResponseWriter, _ *http.Request) {
	all, _ := l.applied.all()
	writeJSON(w, map[string]any{"configs": all})
}

func (l *localAPI) getConfig(w http.ResponseWriter, r *http.Request) {
	applied, ok := l.applied.get(r.PathValue("config"))
	if !ok {
		writeError(w, http.StatusNotFound, fmt.Sprintf("config %q is not on this host", r.PathValue("config")))
		return
	}
	writeJSON(w, applied)
}

// getValue serves the file that programs see, if the file is verified to be the applied version. A
// swap meanwhile does not mix two versions.
func (l *localAPI) getValue(w http.ResponseWriter, r *http.Request) {
	config := r.PathValue("config")
	var applied Applied
	var f *os.File
	var err error
	l.applied.look(config, func(shown Applied, ok bool) {
		applied = shown
		if ok && shown.Version != 0 {
			f, err = openRegular(l.output.config(config).value(), 0)
		}
	})
	if f == nil && err == nil {
		writeError(w, http.StatusNotFound, fmt.Sprintf("config %q is not on this host", config))
		return
	}
	if err == nil {
		defer f.Close()
		err = l.verify(f, applied.Key())
	}
	if err != nil {
		writeError(w, http.StatusServiceUnavailable, fmt.Sprintf("the file of config %q is not version %d: %s",
			config, applied.Version, err))
		return
	}
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

// verify returns an error unless the open file has the content of v.
func (l *localAPI) verify(f *os.File, v record.VersionKey) error {
	dir := l.output.version(v)
	m, _, err := dir.manifest()
	if err != nil {
		return err
	}
	_, err = dir.verified.check(f, dir.value(), m.BodySize, m.BodySHA256)
	return err
}

// watch streams a line of JSON for each applied config, and for each change
// afterwards. ?config=NAME limits the stream to one config. ?after=POSITION leaves out the
// pointers up to POSITION.
func (l *localAPI) watch(w http.ResponseWriter, r *http.Request) {
	config := r.URL.Query().Get("config")
	number, err := strconv.ParseUint(cmp.Or(r.URL.Query().Get("after"), "0"), 10, 64)
	if err != nil {
		writeError(w, http.StatusBadRequest, "after must be a position, as in the last line: a whole number")
		return
	}
	after := record.Position(number)
	w.Header().Set("Content-Type", "application/x-ndjson")
	encoder := json.NewEncoder(w)
	sent := map[string]Applied{}
	for {
		all, changed := l.applied.all()
		for _, applied := range all {
			before := sent[applied.Config]
			if config != "" && applied.Config != config {
				continue
			}
			if applied.Position <= max(before.Position, after) || applied.Key().Ref() == before.Key().Ref() {
				continue // a new pointer may change other hosts only
			}
			sent[applied.Config] = applied
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
