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
	"time"

	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/internal/diskspace"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// maxRequest bounds the JSON of a request.
const maxRequest = 64 << 10

// handlerFunc answers a request of caller with a value to encode, or an error.
type handlerFunc func(r *http.Request, caller identity.Identity) (any, error)

func (c *Coordinator) serveAPI(ctx context.Context) {
	server := &http.Server{
		Handler: c.routes(), TLSConfig: c.cfg.Identity.ServerTLS("h2", "http/1.1"),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.ServeTLS(c.api, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		c.log.Error("control API ended", "error", err)
	}
}

// routes is the whole of the control API.
func (c *Coordinator) routes() http.Handler {
	mux := http.NewServeMux()
	read := func(pattern string, h handlerFunc) { mux.Handle(pattern, c.handle(h)) }
	config := func(pattern string, h http.Handler) { mux.Handle(pattern, c.leaderFirst(h)) }
	write := func(pattern string, h handlerFunc) { mux.Handle(pattern, c.toLeader(c.handle(clientsOnly(h)))) }

	read("GET /v1/status", c.getStatus)
	read("GET /v1/agents", c.getAgents)
	config("GET /v1/configs", c.handle(c.getConfigs))
	config("GET /v1/configs/{config}/versions", c.handle(c.getVersions))
	config("GET /v1/configs/{config}/versions/{version}", c.handle(c.getVersion))
	config("GET /v1/configs/{config}/versions/{version}/body", http.HandlerFunc(c.getBody))
	config("GET /v1/configs/{config}/versions/{version}/holders", c.handle(c.getHolders))
	config("GET /v1/configs/{config}/pointers", c.handle(c.getPointers))
	config("GET /v1/configs/{config}/status", c.handle(c.getConfigStatus))
	config("GET /v1/configs/{config}/schema", http.HandlerFunc(c.getSchema))

	config("GET /v1/configs/{config}/rollout", c.handle(c.getRollout))
	config("GET /v1/configs/{config}/rollouts", c.handle(c.getRollouts))
	config("GET /v1/rollouts", c.handle(c.getRollouts))
	config("GET /v1/plans", c.handle(c.getPlans))
	config("GET /v1/holds", c.handle(c.getHolds))
	config("GET /v1/quarantine", c.handle(c.getQuarantine))
	config("GET /v1/drift", c.handle(c.getDrift))

	write("POST /v1/configs/{config}/rollouts", c.postRollout)
	write("POST /v1/configs/{config}/rollout/{request}", c.postRolloutRequest)
	write("POST /v1/configs/{config}/rollback", c.postRollback)
	write("POST /v1/plans", c.postLint)
	write("PUT /v1/plans/{name}", c.putPlan)
	write("DELETE /v1/plans/{name}", c.putPlan)
	write("PUT /v1/plan-defaults", c.putDefault)
	write("POST /v1/holds", c.postHold)
	write("DELETE /v1/holds", c.deleteHold)
	mux.Handle("DELETE /v1/quarantine/{agent}", c.handle(clientsOnly(c.deleteQuarantine))) // each coordinator's own

	mux.HandleFunc("GET /v1/bodies/{digest}", c.getBlob)
	write("PUT /v1/bodies/{digest}", c.putBody)
	write("POST /v1/configs/{config}/versions", c.postVersion)
	write("POST /v1/configs/{config}/pointers", c.postPointers)
	write("PUT /v1/configs/{config}/schema", c.putSchema)
	write("DELETE /v1/configs/{config}/schema", c.putSchema)
	return mux
}

// toLeader sends writes that reach a follower on to the leader. 307 keeps
// method and body.
func (c *Coordinator) toLeader(h http.Handler) http.Handler {
	if c.Leads() {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+c.cfg.LeaderAPI+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	})
}

// leaderFirst sends reads that reach a follower on to the leader, which knows
// every version and region. A follower that is cut off answers from its replica.
func (c *Coordinator) leaderFirst(h http.Handler) http.Handler {
	leader := c.toLeader(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.attached.Load() {
			leader.ServeHTTP(w, r)
		} else {
			h.ServeHTTP(w, r)
		}
	})
}

// clientsOnly keeps agents and coordinators, whose certificates lie on every
// host, from writing.
func clientsOnly(h handlerFunc) handlerFunc {
	return func(r *http.Request, caller identity.Identity) (any, error) {
		if caller.Role != identity.RoleClient {
			return nil, &api.Error{Code: api.CodeForbidden, Message: fmt.Sprintf("%s may not change anything", caller),
				Hint: "use a certificate with the role client: banyan cert client"}
		}
		return h(r, caller)
	}
}

func (c *Coordinator) handle(h handlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		defer func() { c.metrics.request.Update(time.Since(began).Seconds()) }()
		caller, err := identity.PeerOf(*r.TLS)
		if err != nil {
			fail(w, &api.Error{Code: api.CodeForbidden, Message: err.Error()})
			return
		}
		answer, err := h(r, caller)
		if err != nil {
			e := toAPIError(err)
			c.log.Info("request failed", "method", r.Method, "path", r.URL.Path, "caller", caller.String(), "code", e.Code, "error", err)
			fail(w, e)
			return
		}
		if r.Method != http.MethodGet {
			c.log.Info("request done", "method", r.Method, "path", r.URL.Path, "caller", caller.String())
		}
		w.Header().Set("Content-Type", "application/json")
		if answer == nil {
			answer = struct{}{}
		}
		json.NewEncoder(w).Encode(answer)
	})
}

var statusOf = map[string]int{
	api.CodeInvalid: http.StatusBadRequest, api.CodeRejected: http.StatusUnprocessableEntity, api.CodeForbidden: http.StatusForbidden,
	api.CodeNotFound: http.StatusNotFound, api.CodeConflict: http.StatusConflict, api.CodeTooLarge: http.StatusRequestEntityTooLarge,
	api.CodeUnavailable: http.StatusServiceUnavailable, api.CodeInternal: http.StatusInternalServerError,
}

func fail(w http.ResponseWriter, e *api.Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(statusOf[e.Code])
	json.NewEncoder(w).Encode(map[string]any{"error": e})
}

// toAPIError tells a caller what it may know, and what to do, of an error.
func toAPIError(err error) *api.Error {
	var (
		ready     *api.Error
		conflict  *versionstore.ConflictError
		rejection *draft.Rejection
		tooLong   *http.MaxBytesError
	)
	switch {
	case errors.As(err, &ready):
		return ready
	case errors.As(err, &conflict):
		return &api.Error{Code: api.CodeConflict, Message: err.Error(), Hint: "read the newest version, merge, and publish again"}
	case errors.As(err, &rejection):
		return &api.Error{Code: api.CodeRejected, Message: err.Error(), Line: rejection.Line}
	case errors.As(err, &tooLong):
		return &api.Error{Code: api.CodeTooLarge, Message: fmt.Sprintf("request of more than %d bytes", tooLong.Limit)}
	case errors.Is(err, record.ErrTooLarge):
		return &api.Error{Code: api.CodeTooLarge, Message: err.Error()}
	case errors.Is(err, versionstore.ErrNotFound):
		return &api.Error{Code: api.CodeNotFound, Message: err.Error()}
	case errors.Is(err, record.ErrUnknownKey), errors.Is(err, record.ErrScope), errors.Is(err, record.ErrSignature), errors.Is(err, record.ErrChecksum):
		return &api.Error{Code: api.CodeRejected, Message: err.Error(), Hint: "the trust policy says which keys may sign what"}
	case errors.Is(err, rollout.ErrNotPossible):
		return &api.Error{Code: api.CodeConflict, Message: err.Error()}
	case errors.Is(err, rollout.ErrPlan):
		return &api.Error{Code: api.CodeRejected, Message: err.Error(), Hint: "'banyan rollout lint FILE' checks a plan; 'banyan rollout schema' prints its JSON Schema"}
	case errors.Is(err, record.ErrInvalid), errors.Is(err, record.ErrMalformed):
		return &api.Error{Code: api.CodeInvalid, Message: err.Error()}
	case errors.Is(err, diskspace.ErrFull):
		return &api.Error{Code: api.CodeUnavailable, Message: err.Error(), Hint: "make room on the coordinator's disk"}
	case errors.Is(err, versionstore.ErrClosed), errors.Is(err, context.Canceled):
		return &api.Error{Code: api.CodeUnavailable, Message: "the coordinator is stopping"}
	}
	return &api.Error{Code: api.CodeInternal, Message: err.Error()}
}

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
