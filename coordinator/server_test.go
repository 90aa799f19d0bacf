package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/draft"
	"banyan/internal/diskspace"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// Every code is an HTTP status; the CLI maps codes to exit codes.
func TestErrorsHaveACodeAndAStatus(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   string
		status int
	}{
		{&api.Error{Code: api.CodeForbidden}, api.CodeForbidden, 403},
		{&versionstore.ConflictError{What: "version"}, api.CodeConflict, 409},
		{&draft.Rejection{Line: 3}, api.CodeRejected, 422},
		{&http.MaxBytesError{Limit: 10}, api.CodeTooLarge, 413},
		{record.ErrTooLarge, api.CodeTooLarge, 413},
		{versionstore.ErrNotFound, api.CodeNotFound, 404},
		{record.ErrUnknownKey, api.CodeRejected, 422},
		{record.ErrScope, api.CodeRejected, 422},
		{record.ErrSignature, api.CodeRejected, 422},
		{record.ErrChecksum, api.CodeRejected, 422},
		{ledger.ErrNoKey, api.CodeRejected, 422},
		{rollout.ErrNotPossible, api.CodeConflict, 409},
		{rollout.ErrPlan, api.CodeRejected, 422},
		{record.ErrInvalid, api.CodeInvalid, 400},
		{record.ErrMalformed, api.CodeInvalid, 400},
		{diskspace.ErrFull, api.CodeUnavailable, 503},
		{versionstore.ErrClosed, api.CodeUnavailable, 503},
		{errors.New("a surprise"), api.CodeInternal, 500},
	} {
		e := toAPIError(fmt.Errorf("while testing: %w", c.err))
		if e.Code != c.code || statusOf[e.Code] != c.status {
			t.Errorf("%v: code %q with status %d, want %q with %d", c.err, e.Code, statusOf[e.Code], c.code, c.status)
		}
	}
	if e := toAPIError(&draft.Rejection{Line: 3}); e.Line != 3 {
		t.Errorf("a rejection in line 3 says line %d", e.Line)
	}
}

func TestRequestsAreParsedStrictly(t *testing.T) {
	f := newFixture(t, nil)
	f.publish("a", `{}`)
	for _, path := range []string{
		"/v1/configs/a/versions",
		"/v1/configs/a/pointers",
		"/v1/configs/a/rollback",
		"/v1/configs/a/rollouts",
		"/v1/configs/a/rollout/pause",
		"/v1/holds",
	} {
		f.expect("POST", path, `{`, 400, api.CodeInvalid)
		f.expect("POST", path, ``, 400, api.CodeInvalid)
		f.expect("POST", path, `{"surprise": 1}`, 400, api.CodeInvalid)
		f.expect("POST", path, jsonBody(maxRequest), 413, api.CodeTooLarge)
	}
	f.expect("PUT", "/v1/plan-defaults", `{"prefix": "*", "plan": 7}`, 400, api.CodeInvalid)
	for _, path := range []string{"versions", "pointers", "rollback", "rollouts", "rollout/pause"} {
		f.expect("POST", "/v1/configs/NOT%20A%20NAME/"+path, `{}`, 400, api.CodeInvalid)
	}
	f.expect("PUT", "/v1/configs/NOT%20A%20NAME/schema", `{}`, 400, api.CodeInvalid)
	f.expect("DELETE", "/v1/configs/NOT%20A%20NAME/schema", ``, 400, api.CodeInvalid)
}

func TestOnlyClientsWrite(t *testing.T) {
	f := newFixture(t, nil)
	agent := clientOf(f.issue(identity.RoleAgent, "eu-agent-1"))
	defer agent.CloseIdleConnections()
	if a := f.send(agent, "GET", "/v1/status", nil); a.status != 200 {
		t.Errorf("an agent reads the status: %d", a.status)
	}
	a := f.send(agent, "POST", "/v1/holds", strings.NewReader(`{}`))
	if a.status != 403 || a.failed.Code != api.CodeForbidden || a.failed.Hint == "" {
		t.Errorf("an agent writes: status %d, %+v", a.status, a.failed)
	}
	anonymous := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsOf(f.issue(identity.RoleClient, "nobody"))}}
	request, err := http.NewRequestWithContext(f.ctx, "GET", "https://"+f.APIAddr()+"/v1/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := anonymous.Do(request); err == nil {
		response.Body.Close()
		t.Errorf("without a certificate: status %d", response.StatusCode)
	}
}

// A follower sends writes to its leader, and reads as long as it is attached.
func TestAFollowerRedirectsToItsLeader(t *testing.T) {
	attached := true
	f := newFixture(t, nil)
	follower := *f.server
	follower.leaderAPI = "leader.example:7401"
	follower.attached = func() bool { return attached }
	handler := follower.routes()
	code := func(method, path string) (int, string) {
		w := &recorder{header: http.Header{}}
		request, err := http.NewRequestWithContext(f.ctx, method, path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		handler.ServeHTTP(w, request)
		return w.status, w.header.Get("Location")
	}
	if status, to := code("POST", "/v1/holds?x=y"); status != 307 || to != "https://leader.example:7401/v1/holds?x=y" {
		t.Errorf("a write: %d to %q", status, to)
	}
	if status, to := code("GET", "/v1/configs/a/schema"); status != 307 || to != "https://leader.example:7401/v1/configs/a/schema" {
		t.Errorf("a read of an attached follower: %d to %q", status, to)
	}
	attached = false
	if status, _ := code("GET", "/v1/configs/a/schema"); status != 404 {
		t.Errorf("a read of a follower without its leader: %d", status)
	}
}

// recorder is an http.ResponseWriter that keeps the status.
type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
func (r *recorder) WriteHeader(status int)      { r.status = status }

func TestMetricsAreServed(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Metrics = "127.0.0.1:0" })
	f.publish("a", `{}`)
	var text strings.Builder
	f.metrics.set.WritePrometheus(&text)
	for _, line := range []string{
		"banyan_coordinator_versions_total 1",
		"banyan_coordinator_pointer_moves_total 0",
		"banyan_coordinator_rollouts_active 0",
		"banyan_coordinator_agents 0",
	} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("the metrics lack %q:\n%s", line, text.String())
		}
	}
	for path, want := range map[string]string{"/healthz": "ok", "/metrics": "banyan_coordinator_children"} {
		request, err := http.NewRequestWithContext(f.ctx, "GET", "http://"+f.MetricsAddr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s, %v", path, body, err)
		}
	}
}

func TestAConfigIsCheckedBeforeAnythingIsOpened(t *testing.T) {
	home, err := identity.InitHome(t.TempDir()+"/home", []string{"eu"}, "dev")
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := identity.Load(home.CoordinatorDir("eu"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := identity.Load(home.ClientDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"a client's identity":           {Identity: client, DataDir: "x"},
		"no data directory":             {Identity: bundle},
		"half of a leader":              {Identity: bundle, DataDir: "x", Leader: "x:1"},
		"a cell out of range":           {Identity: bundle, DataDir: "x", Cell: -1},
		"a push limit over the limit":   {Identity: bundle, DataDir: "x", PushLimit: 1 << 40},
		"a leader without its key":      {Identity: bundle, DataDir: "x"},
		"a key of another trust policy": {Identity: bundle, DataDir: "x", ActivationKeys: []record.Key{record.KeyFromSeed([32]byte{1})}},
	} {
		if c, err := Open(context.Background(), cfg); err == nil {
			c.Close()
			t.Errorf("%s: no error", name)
		}
		if _, err := os.Stat("x"); err == nil {
			t.Fatalf("%s: the data directory was made", name)
		}
	}
}

func TestTheStoreIsWhatOpenStoreOpens(t *testing.T) {
	opened := ""
	f := newFixture(t, func(c *Config) {
		c.OpenStore = func(_ context.Context, dir string, reserve int64) (versionstore.Store, error) {
			opened = dir
			return OpenEmbedded(dir, reserve)
		}
	})
	f.publish("a", `{}`)
	if !strings.HasSuffix(opened, "/store") {
		t.Errorf("opened %q", opened)
	}
}

func TestSizesOutliveARestart(t *testing.T) {
	f := newFixture(t, nil)
	raw, err := json.Marshal(map[string]storedSize{"eu": {Agents: 7}})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.ledger.ReplaceDocument(f.ctx, ledger.Act{By: "test"}, kindSizes, sizesName, raw); err != nil {
		t.Fatal(err)
	}
	restarted := sizes{ledger: f.ledger, tracker: newTracker(), name: "test", log: f.log, started: time.Now()}
	if got := restarted.expected(f.ctx, "a"); got["eu"] != 7 {
		t.Errorf("expected %v, want the 7 agents of the stored sizes", got)
	}
	restarted.started = time.Now().Add(-2 * sizesEvery)
	if got := restarted.expected(f.ctx, "a"); got["eu"] != 0 {
		t.Errorf("expected %v, want the agents of the census", got)
	}
	restarted.tracker.with(func(f *rollout.Tracker) { f.Counted("eu", "eu", &wire.Census{Agents: 9}, time.Now()) })
	restarted.remember(f.ctx)
	if got := restarted.stored(f.ctx); got["eu"].Agents != 9 {
		t.Errorf("remembered %v, want 9 agents", got)
	}
}
