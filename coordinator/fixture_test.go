package coordinator

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/record"
	"banyan/transport/identity"
)

// longPlan bakes for an hour, so that a rollout stays where a test wants it.
const longPlan = "waves: [{share: 50%, bake: 1h}, {share: 100%, bake: 1h}]\n"

// fixture is a leader of region eu that runs in this process, without agents, and people who
// talk to it over TLS.
type fixture struct {
	*Coordinator
	t     *testing.T
	ctx   context.Context
	home  *identity.Home
	key   record.Key // of the publisher
	alice *api.Client
	bob   *api.Client
	// raw sends requests that the Client would not send.
	raw *http.Client
	// stop stops the leader, if it runs.
	stop func()
}

func newFixture(t *testing.T, change func(*Config)) *fixture {
	home, err := identity.InitHome(filepath.Join(t.TempDir(), "home"), []string{"eu"}, "dev")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, ctx: t.Context(), home: home}
	f.key, err = record.LoadKey(home.PublisherKey("dev"))
	if err != nil {
		t.Fatal(err)
	}
	f.start(t.TempDir(), change)
	f.connect()
	f.eventually("the census of the region", func() bool { return len(f.tracker.sizes()) > 0 })
	return f
}

// config returns the configuration of a leader on a data directory.
func (f *fixture) config(dir string, change func(*Config)) Config {
	f.t.Helper()
	bundle, err := identity.Load(f.home.CoordinatorDir("eu"))
	if err != nil {
		f.t.Fatal(err)
	}
	key, err := record.LoadKey(f.home.ActivationKey("eu"))
	if err != nil {
		f.t.Fatal(err)
	}
	cfg := Config{
		Identity:       bundle,
		ActivationKeys: []record.Key{key},
		DataDir:        dir,
		Listen:         "127.0.0.1:0",
		API:            "127.0.0.1:0",
		HeadInterval:   50 * time.Millisecond,
		Version:        "test",
	}
	if change != nil {
		change(&cfg)
	}
	return cfg
}

// start runs a leader on a data directory until the test ends.
func (f *fixture) start(dir string, change func(*Config)) {
	f.t.Helper()
	var err error
	f.Coordinator, err = Open(f.ctx, f.config(dir, change))
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			f.t.Errorf("the coordinator ended with %v", err)
		}
	})
	f.t.Cleanup(f.stop)
}

// connect makes the clients of the leader.
func (f *fixture) connect() {
	f.alice = api.NewClient(f.APIAddr(), f.issue(identity.RoleClient, "alice"))
	f.bob = api.NewClient(f.APIAddr(), f.issue(identity.RoleClient, "bob"))
	f.raw = clientOf(f.issue(identity.RoleClient, "raw"))
	alice, bob, raw := f.alice, f.bob, f.raw
	f.t.Cleanup(func() {
		alice.Close()
		bob.Close()
		raw.CloseIdleConnections()
	})
}

// issue returns the bundle of a new identity.
func (f *fixture) issue(role identity.Role, name string) *identity.Bundle {
	f.t.Helper()
	dir := filepath.Join(f.t.TempDir(), name)
	if err := f.home.Issue(dir, identity.Identity{Role: role, Region: "eu", Name: name}); err != nil {
		f.t.Fatal(err)
	}
	bundle, err := identity.Load(dir)
	if err != nil {
		f.t.Fatal(err)
	}
	return bundle
}

func clientOf(bundle *identity.Bundle) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: bundle.ClientTLS()},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (f *fixture) eventually(what string, is func() bool) {
	f.t.Helper()
	for range 2000 {
		if is() {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-f.ctx.Done():
		}
	}
	f.t.Fatalf("%s: not within the time of the test", what)
}

// publish stores the next version of config.
func (f *fixture) publish(config, body string) uint64 {
	f.t.Helper()
	v, err := f.alice.Publish(f.ctx, api.Draft{Config: config, Body: []byte(body), ContentType: "application/json"}, f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	return v.Manifest.Version
}

// rollOut starts a rollout of a version by alice.
func (f *fixture) rollOut(config string, version uint64, plan string) api.Rollout {
	f.t.Helper()
	r, err := f.alice.StartRollout(f.ctx, config, api.StartRollout{Version: version, Plan: plan})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// reaches waits until the newest rollout of config is as is says.
func (f *fixture) reaches(config, what string, is func(r api.Rollout) bool) (r api.Rollout) {
	f.t.Helper()
	f.eventually(what, func() bool {
		var err error
		r, err = f.alice.Rollout(f.ctx, config)
		return err == nil && is(r)
	})
	return r
}

// refuses checks that err is an api.Error with a code.
func (f *fixture) refuses(what string, err error, code string) {
	f.t.Helper()
	if !api.IsCode(err, code) {
		f.t.Errorf("%s: got %v, want an error with code %q", what, err, code)
	}
}

// answer is an answer to a raw request.
type answer struct {
	status int
	header http.Header
	body   []byte
	failed *api.Error // nil if the request succeeded
}

// send sends a raw request by client.
func (f *fixture) send(client *http.Client, method, path string, body io.Reader) answer {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.ctx, method, "https://"+f.APIAddr()+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: raw}
	if a.status >= 400 {
		var failure struct {
			Error *api.Error `json:"error"`
		}
		if err := json.Unmarshal(raw, &failure); err != nil || failure.Error == nil {
			f.t.Fatalf("%s %s: status %d with the body %q, which is no error", method, path, a.status, raw)
		}
		a.failed = failure.Error
	}
	return a
}

// expect sends a raw request and checks the status, and the code if the request fails.
func (f *fixture) expect(method, path, body string, status int, code string) answer {
	f.t.Helper()
	a := f.send(f.raw, method, path, bytes.NewReader([]byte(body)))
	got := ""
	if a.failed != nil {
		got = a.failed.Code
	}
	if a.status != status || got != code {
		f.t.Errorf("%s %s %.60s: status %d, code %q; want %d, %q: %s", method, path, body, a.status, got, status, code, a.body)
	}
	return a
}

// tlsOf is the configuration of a peer without a certificate.
func tlsOf(bundle *identity.Bundle) *tls.Config {
	c := bundle.ClientTLS()
	c.Certificates = nil
	c.GetClientCertificate = nil
	return c
}

// jsonBody returns a JSON string literal of n bytes and its quotes.
func jsonBody(n int) string { return fmt.Sprintf("%q", bytes.Repeat([]byte{'x'}, n)) }
