package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"banyan/coordinator/api"
	"banyan/record"
	"banyan/transport/identity"
)

// server is the control API. The handlers are grouped by subject.
type server struct {
	versions  versionHandlers
	pointers  pointerHandlers
	rollouts  rolloutHandlers
	plans     planHandlers
	holds     holdHandlers
	policies  policyHandlers
	journal   journalHandlers
	store     storeHandlers
	collector *collector
	fleet     fleetHandlers

	bundle *identity.Bundle
	// leaderAPI is the control API of the leader, host:port; empty if this coordinator
	// leads.
	leaderAPI string
	// attached reports whether a coordinator that follows is connected to its leader.
	attached func() bool
	seconds  *metrics.PrometheusHistogram // duration of requests
	log      *slog.Logger
}

// handlerFunc answers a request of caller with a value to encode as JSON, or an error.
type handlerFunc func(r *http.Request, caller identity.Identity) (any, error)

// run serves requests on l until ctx ends. Then it refuses new requests and finishes those in
// progress, for at most drainTimeout.
func (s *server) run(ctx context.Context, l net.Listener) {
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var open gate
	server := &http.Server{
		Handler:           open.guard(s.routes()),
		TLSConfig:         s.bundle.ServerTLS("h2", "http/1.1"),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		if left := open.drain(drainTimeout); left > 0 {
			s.log.Warn("requests cut off: they took too long", "requests", left, "limit", drainTimeout)
		}
		// The last answers may still be in buffers.
		flushed, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		server.Shutdown(flushed)
		server.Close()
	})
	err := server.ServeTLS(l, "", "")
	if !stop() {
		<-drained
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		s.log.Error("control API ended", "error", err)
	}
}

// routes returns the handler of the whole control API. A read that every coordinator can
// answer is a local route; a read that the leader answers better is a leader route.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	local := func(pattern string, h handlerFunc) { mux.Handle(pattern, s.handle(h)) }
	leader := func(pattern string, h http.Handler) { mux.Handle(pattern, s.leaderFirst(h)) }
	write := func(pattern string, h handlerFunc) { mux.Handle(pattern, s.toLeader(s.handle(clientsOnly(h)))) }

	local("GET /v1/status", s.fleet.getStatus)
	local("GET /v1/agents", s.fleet.getAgents)
	leader("GET /v1/inventory", s.handle(s.fleet.getInventory))
	write("POST /v1/inventory", s.fleet.postInventory)
	write("DELETE /v1/inventory/{host}", s.fleet.deleteHost)
	mux.Handle("PUT /v1/roster", s.toLeader(s.handle(s.fleet.putRoster)))
	leader("GET /v1/quarantine", s.handle(s.fleet.getQuarantine))
	leader("GET /v1/drift", s.handle(s.fleet.getDrift))
	// Each coordinator releases the agents of its own tree.
	local("DELETE /v1/quarantine/{agent}", clientsOnly(s.fleet.deleteQuarantine))

	leader("GET /v1/configs", s.handle(s.versions.getConfigs))
	leader("GET /v1/configs/{config}/versions", s.handle(s.versions.getAll))
	leader("GET /v1/configs/{config}/versions/{version}", s.handle(s.versions.get))
	leader("GET /v1/configs/{config}/versions/{version}/body", http.HandlerFunc(s.versions.getBody))
	leader("GET /v1/configs/{config}/versions/{version}/holders", s.handle(s.versions.getHolders))
	leader("GET /v1/configs/{config}/schema", http.HandlerFunc(s.versions.getSchema))
	mux.HandleFunc("GET /v1/bodies/{digest}", s.versions.getBlob)
	write("PUT /v1/bodies/{digest}", s.versions.putBody)
	write("POST /v1/configs/{config}/versions", s.versions.post)
	write("POST /v1/configs/{config}/check", s.versions.check)
	write("PUT /v1/configs/{config}/schema", s.versions.putSchema)
	write("DELETE /v1/configs/{config}/schema", s.versions.deleteSchema)

	leader("GET /v1/configs/{config}/pointers", s.handle(s.pointers.getPointers))
	leader("GET /v1/configs/{config}/status", s.handle(s.pointers.getStatus))
	leader("GET /v1/configs/{config}/activations", s.handle(s.pointers.getActivations))
	write("POST /v1/configs/{config}/pointers", s.pointers.postPointers)
	write("POST /v1/configs/{config}/rollback", s.pointers.postRollback)
	write("POST /v1/configs/{config}/deletion", s.pointers.postDeletion)

	leader("GET /v1/configs/{config}/rollout", s.handle(s.rollouts.getNewest))
	leader("GET /v1/configs/{config}/rollouts", s.handle(s.rollouts.getHistory))
	leader("GET /v1/rollouts", s.handle(s.rollouts.getAll))
	write("POST /v1/configs/{config}/rollouts", s.rollouts.post)
	write("POST /v1/configs/{config}/rollout/{request}", s.rollouts.postRequest)

	leader("GET /v1/plans", s.handle(s.plans.getAll))
	write("POST /v1/plans", s.plans.lint)
	write("PUT /v1/plans/{name}", s.plans.put)
	write("DELETE /v1/plans/{name}", s.plans.remove)
	write("PUT /v1/plan-defaults", s.plans.putDefault)

	leader("GET /v1/holds", s.handle(s.holds.getAll))
	write("POST /v1/holds", s.holds.post)
	write("DELETE /v1/holds", s.holds.remove)

	leader("GET /v1/policies/two-persons", s.handle(s.policies.getTwoPersons))
	write("PUT /v1/policies/two-persons", s.policies.putTwoPersons)
	leader("GET /v1/log", s.handle(s.journal.getAll))

	// Each coordinator collects in its own store.
	local("POST /v1/store/collection", clientsOnly(s.collector.post))
	write("POST /v1/store/term", s.store.postTerm)
	write("POST /v1/store/recover", s.store.postRecover)
	return mux
}

// toLeader redirects a request that reaches a follower to the leader. Status 307 keeps the
// method and the body.
func (s *server) toLeader(h http.Handler) http.Handler {
	if s.leaderAPI == "" {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+s.leaderAPI+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	})
}

// leaderFirst redirects a read that reaches a follower to the leader: only the leader knows
// every version and region. A follower without its leader answers from the replica.
func (s *server) leaderFirst(h http.Handler) http.Handler {
	leader := s.toLeader(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.attached() {
			leader.ServeHTTP(w, r)
		} else {
			h.ServeHTTP(w, r)
		}
	})
}

// clientsOnly refuses writes by agents and coordinators: their certificates lie on every
// host.
func clientsOnly(h handlerFunc) handlerFunc {
	return func(r *http.Request, caller identity.Identity) (any, error) {
		if caller.Role != identity.RoleClient {
			return nil, &api.Error{
				Code:    api.CodeForbidden,
				Message: fmt.Sprintf("%s may not change anything", caller),
				Hint:    "use a certificate with the role client: banyan cert client",
			}
		}
		return h(r, caller)
	}
}

// handle turns h into an http.Handler that identifies the caller, encodes the answer or the
// error, and logs.
func (s *server) handle(h handlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		defer func() { s.seconds.Update(time.Since(began).Seconds()) }()
		caller, err := identity.PeerOf(*r.TLS)
		if err != nil {
			fail(w, &api.Error{Code: api.CodeForbidden, Message: err.Error()})
			return
		}
		log := s.log.With("method", r.Method, "path", r.URL.Path, "caller", caller.String())
		answer, err := h(r, caller)
		if err != nil {
			e := explainMissing(r.Context(), s.versions.ledger, r.PathValue("config"), toAPIError(err))
			log.Info("request failed", "code", e.Code, "error", err)
			fail(w, e)
			return
		}
		level := slog.LevelInfo
		if r.Method == http.MethodGet || caller.Role == identity.RoleCoordinator {
			level = slog.LevelDebug // no act of a person
		}
		log.Log(r.Context(), level, "request done")
		w.Header().Set("Content-Type", "application/json")
		if answer == nil {
			answer = struct{}{}
		}
		json.NewEncoder(w).Encode(answer)
	})
}

// decodeRequest decodes the JSON body of a request. Unknown fields are an error.
func decodeRequest(r *http.Request, v any) error {
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(http.MaxBytesReader(nil, r.Body, maxRequest)); err != nil {
		return err
	}
	d := json.NewDecoder(&raw)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &api.Error{Code: api.CodeInvalid, Message: "request body: " + err.Error()}
	}
	return nil
}

// configOf returns the config in the path of a request.
func configOf(r *http.Request) (string, error) {
	config := r.PathValue("config")
	return config, record.ValidateConfig(config)
}

// versionOf returns the version in the path of a request; 0 for "last".
func versionOf(r *http.Request) (uint64, error) {
	name := r.PathValue("version")
	if name == "last" {
		return 0, nil
	}
	v, err := strconv.ParseUint(name, 10, 64)
	if err != nil || v == 0 {
		return 0, fmt.Errorf("%w: version %q; use a number from 1, or \"last\"", errRequest, name)
	}
	return v, nil
}
