package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
	"banyan/record"
	"banyan/transport/identity"
)

// cli runs command lines against a small fleet in this process.
type cli struct {
	t *testing.T
	*fleettest.Fleet
}

func newCLI(t *testing.T, agents int) *cli {
	t.Helper()
	f := fleettest.Start(t, fleet.Config{Agents: agents, Publisher: "admin"})
	return &cli{t, f}
}

type result struct {
	code           int
	stdout, stderr string
}

func (c *cli) run(args ...string) result {
	return runCLI(c.t, "", append([]string{"--home", c.Home.Dir, "--coordinator", c.Coordinators[0].APIAddr()}, args...)...)
}

func runCLI(t *testing.T, stdin string, args ...string) result {
	var out, errs bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return result{code, out.String(), errs.String()}
}

// expect runs a command line that must exit with code and say every one of words.
func (c *cli) expect(code int, words []string, args ...string) result {
	c.t.Helper()
	return expect(c.t, c.run(args...), code, words, args)
}

func expect(t *testing.T, r result, code int, words, args []string) result {
	t.Helper()
	if r.code != code {
		t.Errorf("banyan %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	for _, w := range words {
		if !strings.Contains(r.stdout+r.stderr, w) {
			t.Errorf("banyan %s: does not say %q:\n%s%s", strings.Join(args, " "), w, r.stdout, r.stderr)
		}
	}
	if code != 0 && !strings.HasPrefix(r.stderr, "error: ") && !strings.HasPrefix(r.stderr, `{"error"`) {
		t.Errorf("banyan %s: stderr is %q", strings.Join(args, " "), r.stderr)
	}
	return r
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAConfigsLifeByTheCommandLine(t *testing.T) {
	c := newCLI(t, 4)
	one, two := file(t, "a.json", "{\n  \"limit\": 1\n}\n"), file(t, "b.json", "{\n  \"limit\": 2\n}\n")
	c.expect(0, []string{"version 1 published", "eu", "us", "2/2"}, "publish", "payments/limits", one, "-m", "first")
	c.expect(0, []string{"version 2 published"}, "publish", "payments/limits", two, "-m", "second")
	c.expect(0, []string{"-  \"limit\": 1", "+  \"limit\": 2"}, "diff", "payments/limits", "1")
	c.expect(0, []string{"back from version 2 to version 1, which ran", "5 ", "1 "}, "rollback", "payments/limits")
	c.expect(0, []string{"first", "second", "admin (key"}, "history", "payments/limits")
	c.expect(0, []string{"payments/limits", "leads", "2/2"}, "status")
	c.expect(0, []string{"eu-agent-0000", "(coordinator)"}, "agents")
	if r := c.expect(0, nil, "get", "payments/limits", "--version", "1"); r.stdout != "{\n  \"limit\": 1\n}\n" {
		t.Errorf("get printed %q", r.stdout)
	}
	var status api.ConfigStatus
	if err := json.Unmarshal([]byte(c.expect(0, nil, "status", "payments/limits", "-o", "json").stdout), &status); err != nil || len(status.Regions) != 2 || status.Regions[0].Version != 1 || status.Last != 2 {
		t.Errorf("status as JSON: %+v, %v", status, err)
	}
	c.expect(0, []string{"version 3 stored, not activated"}, "publish", "payments/limits", one, "--no-activate")
	c.expect(0, []string{"unchanged: version 3"}, "publish", "payments/limits", one, "--no-activate")
	c.expect(3, []string{"region us", "version 2 was rolled back by admin", "banyan rollout start payments/limits 2 --region us"},
		"rollback", "payments/limits", "--to", "2", "--region", "us")
	c.expect(3, []string{"version 1 is live there", "no version before it is known to have run well"}, "rollback", "payments/limits", "--from", "1")
}

func TestSchemasHoldBackBadDrafts(t *testing.T) {
	c := newCLI(t, 2)
	schema := file(t, "s.json", `{"type":"object","required":["limit"],"properties":{"limit":{"type":"integer"}}}`)
	c.expect(0, nil, "schema", "set", "a", schema)
	c.expect(0, []string{`"required"`}, "schema", "get", "a")
	bad := file(t, "a.json", "{\n  \"limit\": \"x\"\n}")
	r := c.expect(3, []string{"line 2", "/limit"}, "publish", "a", bad)
	if !strings.HasPrefix(r.stderr, "error: draft rejected") {
		t.Errorf("stderr: %q", r.stderr)
	}
	c.expect(3, []string{`"line":2`, `"code":"rejected"`}, "publish", "a", bad, "-o", "json")
	c.expect(0, nil, "schema", "remove", "a")
	c.expect(0, []string{"version 1"}, "publish", "a", bad)
	c.expect(3, []string{"schema"}, "schema", "set", "a", file(t, "s.json", `{"type": 7}`))
	c.expect(1, []string{"no schema"}, "schema", "get", "a")
}

func TestBadInputIsRefusedByName(t *testing.T) {
	c := newCLI(t, 0)
	good := file(t, "a.json", "{}")
	strangerKey := filepath.Join(t.TempDir(), "stranger.key")
	stranger, err := record.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Save(strangerKey); err != nil {
		t.Fatal(err)
	}
	other := newHome(t, "eu")
	for _, c2 := range []struct {
		name  string
		code  int
		words []string
		args  []string
	}{
		{"unknown config", 1, []string{`there is no config "nope"`}, []string{"status", "nope"}},
		{"nothing to roll back", 1, []string{`there is no config "nope"`}, []string{"rollback", "nope"}},
		{"bad name", 3, []string{"../etc", "part"}, []string{"publish", "../etc/", good}},
		{"no such file", 1, []string{"no-such-file"}, []string{"publish", "a", "no-such-file"}},
		{"not JSON", 3, []string{"line 3", "not JSON"}, []string{"publish", "a", file(t, "x.json", "{\n\n")}},
		{"wrong key", 3, []string{stranger.ID.String(), "does not allow this key to sign"}, []string{"publish", "a", good, "--key", strangerKey}},
		{"no key", 1, []string{"publisher key", "--key"}, []string{"publish", "a", good, "--key", "nope"}},
		{"oversized body", 3, []string{"1073741825", "limit"}, []string{"publish", "a", sparse(t, 1<<30+1)}},
		{"unknown region", 3, []string{`"mars"`, "eu us"}, []string{"publish", "a", good, "--region", "mars"}},
		{"unreachable", 4, []string{"unreachable", "--coordinator"}, []string{"status", "--coordinator", "127.0.0.1:1"}},
		{"another fleet's certificate", 4, []string{"certificate", "banyan init"}, []string{"status", "--identity", other.ClientDir()}},
		{"unknown flag", 2, []string{"--nope"}, []string{"status", "--nope"}},
		{"unknown command", 2, []string{"nope"}, []string{"nope"}},
		{"missing argument", 2, []string{"CONFIG FILE"}, []string{"publish", "a"}},
		{"bad output", 2, []string{"text or json"}, []string{"status", "-o", "xml"}},
		{"init twice", 5, []string{"already initialized"}, []string{"init"}},
		{"bad region", 3, []string{"EU", "lower-case"}, []string{"init", "--home", t.TempDir(), "--regions", "EU"}},
		{"agent with a client's identity", 3, []string{"not an agent's"}, []string{"agent", "--identity", c.Home.ClientDir(), "--join", "127.0.0.1:1"}},
		{"coordinator without a key", 2, []string{"no activation key"}, []string{"coordinator", "--identity", c.Home.CoordinatorDir("eu"), "--data-dir", t.TempDir()}},
		{"coordinator with a stranger's key", 3, []string{"lists it for no region"}, []string{"coordinator", "--identity", c.Home.CoordinatorDir("eu"), "--data-dir", t.TempDir(), "--activation-key", strangerKey}},
		{"local API open to the world", 2, []string{"loopback"}, []string{"agent", "--identity", issueAgent(t, c.Home, "eu", "x"), "--join", "127.0.0.1:1",
			"--output-dir", t.TempDir(), "--state-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--local-api", "0.0.0.0:0"}},
		{"port in use", 1, []string{"in use", "another port"}, []string{"coordinator", "--identity", c.Home.CoordinatorDir("eu"), "--data-dir", t.TempDir(),
			"--activation-key", c.Home.ActivationKey("eu"), "--listen", c.Coordinators[0].MeshAddr()}},
		{"store in use", 1, []string{"in use by another process"}, []string{"coordinator", "--identity", c.Home.CoordinatorDir("eu"),
			"--data-dir", filepath.Join(c.Config.Dir, "coordinator-eu"), "--activation-key", c.Home.ActivationKey("eu"), "--listen", "127.0.0.1:0"}},
	} {
		t.Run(c2.name, func(t *testing.T) {
			(&cli{t, c.Fleet}).expect(c2.code, c2.words, c2.args...)
		})
	}
	if configs, err := c.Client.Configs(t.Context(), ""); err != nil || len(configs) > 1 {
		t.Errorf("configs after all that: %v, %v", configs, err)
	}
}

func TestNoPermissionIsSaidWithThePath(t *testing.T) {
	h := newHome(t, "eu")
	blocked := file(t, "not-a-directory", "")
	for _, args := range [][]string{
		{"agent", "--identity", issueAgent(t, h, "eu", "x"), "--join", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--output-dir", blocked + "/out", "--state-dir", t.TempDir()},
		{"agent", "--identity", issueAgent(t, h, "eu", "y"), "--join", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--output-dir", t.TempDir(), "--state-dir", blocked + "/state"},
		{"coordinator", "--identity", h.CoordinatorDir("eu"), "--activation-key", h.ActivationKey("eu"), "--data-dir", blocked + "/data"},
	} {
		expect(t, runCLI(t, "", args...), 1, []string{blocked}, args)
	}
}

// Two publishers at once: one wins, the other is told by whom.
func TestALosingPublisherIsToldWhoWon(t *testing.T) {
	c := newCLI(t, 0)
	ctx := t.Context()
	d := api.Draft{Config: "a", Body: []byte("{}"), ContentType: draft.TypeJSON}
	if _, err := c.Client.Publish(ctx, d, c.Key); err != nil {
		t.Fatal(err)
	}
	d.Parent = 1
	if _, err := c.Client.Publish(ctx, d, c.Key); err != nil {
		t.Fatal(err)
	}
	_, err := c.Client.Publish(ctx, d, c.Key)
	var e *api.Error
	if !errors.As(err, &e) || e.Code != api.CodeConflict || !strings.Contains(e.Message, "admin (key "+c.Key.ID.String()) {
		t.Errorf("got %v, want a conflict that names the winner", err)
	}
	c.expect(5, []string{"conflicts", "admin", "merge"}, "publish", "a", file(t, "a.json", "{}"), "--parent", "1")
	if _, err := c.Client.Activate(ctx, "a", api.Activate{Version: 1}); err != nil {
		t.Fatal(err)
	}
	_, err = c.Client.Activate(ctx, "a", api.Activate{Version: 2, IfEpoch: map[string]uint64{"eu": 0}})
	if !api.IsCode(err, api.CodeConflict) {
		t.Errorf("a move from an epoch that is past: %v", err)
	}
}

// The server holds a version against everything the CLI does: a client that
// skips the checks gets no further.
func TestTheServerTrustsNoClient(t *testing.T) {
	c := newCLI(t, 0)
	ctx := t.Context()
	body := []byte(`{"a": 1}`)
	d := api.Draft{Config: "a", Body: body, ContentType: draft.TypeJSON}
	signed, m, err := api.Sign(d, 0, c.Key)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := record.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	forged, _, err := api.Sign(d, 0, stranger)
	if err != nil {
		t.Fatal(err)
	}
	tampered := bytes.Clone(signed)
	tampered[len(tampered)-1] ^= 1
	put := func(raw []byte) error { _, err := c.Client.PutVersion(ctx, "a", raw); return err }
	if err := put(signed); !api.IsCode(err, api.CodeRejected) || !strings.Contains(err.Error(), "not uploaded") {
		t.Errorf("version before its body: %v", err)
	}
	if err := c.Client.PutBody(ctx, m.BodySHA256, m.BodySize, bodyOf([]byte("{\"a\": 2}"))); !api.IsCode(err, api.CodeRejected) {
		t.Errorf("another body under that hash: %v", err)
	}
	if err := c.Client.PutBody(ctx, m.BodySHA256, m.BodySize, bodyOf(body)); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{"unknown key": forged, "bad signature": tampered} {
		if err := put(raw); !api.IsCode(err, api.CodeRejected) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := put([]byte("garbage")); !api.IsCode(err, api.CodeInvalid) {
		t.Errorf("garbage: %v", err)
	}
	if _, err := c.Client.PutVersion(ctx, "b", signed); !api.IsCode(err, api.CodeInvalid) {
		t.Errorf("a manifest of another config: %v", err)
	}
	notJSON := api.Draft{Config: "a", Body: []byte("{"), ContentType: draft.TypeJSON}
	raw, nm, err := api.Sign(notJSON, 0, c.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Client.PutBody(ctx, nm.BodySHA256, nm.BodySize, bodyOf(notJSON.Body)); err != nil {
		t.Fatal(err)
	}
	if err := put(raw); !api.IsCode(err, api.CodeRejected) {
		t.Errorf("a body that is not JSON: %v", err)
	}
	if err := put(signed); err != nil {
		t.Errorf("and after all that, the good one: %v", err)
	}
}

func TestOnlyClientsMayWriteAndNobodyWithoutACertificateReads(t *testing.T) {
	c := newCLI(t, 1)
	bundle, err := identity.Load(filepath.Join(c.AgentDir(0), "identity"))
	if err != nil {
		t.Fatal(err)
	}
	agent := api.NewClient(c.Coordinators[0].APIAddr(), bundle)
	defer agent.Close()
	if _, err := agent.Publish(t.Context(), api.Draft{Config: "a", Body: []byte("{}"), ContentType: draft.TypeJSON}, c.Key); !api.IsCode(err, api.CodeForbidden) {
		t.Errorf("an agent's certificate published: %v", err)
	}
	bare := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := bare.Get("https://" + c.Coordinators[0].APIAddr() + "/v1/status")
	if err == nil {
		response.Body.Close()
		t.Errorf("a client with no certificate was answered: %s", response.Status)
	}
}

func TestWritesToAFollowerReachTheLeader(t *testing.T) {
	c := newCLI(t, 2)
	args := []string{"--home", c.Home.Dir, "--coordinator", c.Coordinators[1].APIAddr()}
	expect(t, runCLI(t, "", append(args, "publish", "a", file(t, "a.json", "{}"), "--wait", "0")...), 0, []string{"version 1 published"}, args)
	if v, err := c.Client.Version(t.Context(), "a", 0); err != nil || v.Manifest.Version != 1 {
		t.Errorf("at the leader: %+v, %v", v, err)
	}
}

// Flags win over the environment, the environment over the file.
func TestSettingsPrecedence(t *testing.T) {
	dir := t.TempDir()
	settings := file(t, "banyan.yaml", "home: "+dir+"/file\nregions: [aa, bb]\n")
	expectHome := func(want string, args ...string) {
		t.Helper()
		expect(t, runCLI(t, "", append(args, "init", "--config", settings)...), 0, nil, args)
		if _, err := os.Stat(filepath.Join(dir, want, "coordinator-bb")); err != nil {
			t.Error(err)
		}
	}
	expectHome("file")
	t.Setenv("BANYAN_HOME", dir+"/env")
	expectHome("env")
	expectHome("flag", "--home", dir+"/flag")
	bad := file(t, "bad.yaml", "hoome: x\n")
	expect(t, runCLI(t, "", "version", "--config", bad), 2, []string{`"hoome"`}, nil)
}

func TestPublishThatDoesNotReachEverybodyTimesOut(t *testing.T) {
	c := newCLI(t, 0)
	// An agent that the coordinator counts and that never answers: one that holds
	// its place and applies nothing, because its disk is a file.
	if _, err := c.StartAgent(0); err != nil {
		t.Fatal(err)
	}
	c.WaitAttached()
	if err := os.WriteFile(c.Path(0, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.WaitCounted()
	// The fault is the host's and not the version's: the host tries again, and the rollout waits.
	c.expect(7, []string{"timed out", "staging", "banyan rollout status a"},
		"publish", "a", file(t, "a.json", "{}"), "--wait", "1s", "--region", "eu")
}

func bodyOf(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// sparse makes a file of a size that takes no room.
func sparse(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.bin")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}
