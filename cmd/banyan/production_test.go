package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banyan/agent"
	"banyan/internal/fleet"
	"banyan/transport/identity"
)

// host is an agent process and where it keeps things.
type host struct {
	*process
	dir  string
	args []string
}

func startHost(t *testing.T, h *identity.Home, region, name, join string) *host {
	return startHostIn(t, "", "127.0.0.1", h, region, name, join)
}

func startHostIn(t *testing.T, namespace, address string, h *identity.Home, region, name, join string) *host {
	t.Helper()
	dir := t.TempDir()
	args := []string{"agent", "--identity", issueAgent(t, h, region, name), "--join", join, "--listen", address + ":0",
		"--output-dir", filepath.Join(dir, "out"), "--state-dir", filepath.Join(dir, "state"), "--local-api", "unix:" + filepath.Join(dir, "sock")}
	a := &host{startIn(t, namespace, args...), dir, args}
	a.waitLog("attached")
	return a
}

func (a *host) restart(t *testing.T) { a.process = start(t, a.args...) }

// get asks the agent's local API.
func (a *host) get(ctx context.Context, path string) (*http.Response, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(a.dir, "sock"))
	}}}
	r, err := http.NewRequestWithContext(ctx, "GET", "http://agent"+path, nil)
	if err != nil {
		return nil, err
	}
	return client.Do(r)
}

func (a *host) body(t *testing.T, path string) (int, string) {
	t.Helper()
	r, err := a.get(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func (a *host) waitValue(t *testing.T, config, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []byte
	err := fleet.Poll(ctx, 10*time.Millisecond, func() (bool, error) {
		got, _ = os.ReadFile(filepath.Join(a.dir, "out", config, "value"))
		return string(got) == want, nil
	})
	if err != nil {
		t.Fatalf("value is %q, want %q\n%s", got, want, a.log())
	}
}

// The README's production section: a leader, a follower and agents as processes
// of their own, through the loss of the leader and of an agent.
func TestSeparateProcessesThroughTheLossOfTheLeader(t *testing.T) {
	regions := []string{"eu", "us"}
	h := newHome(t, regions...)
	leaderData := t.TempDir()
	leader, mesh, apiAddr := startLeader(t, h, leaderData, regions)
	followerArgs := []string{"coordinator", "--identity", h.CoordinatorDir("us"), "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0",
		"--api-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--leader", mesh, "--leader-api", apiAddr, "--head-interval", "200ms"}
	follower := start(t, followerArgs...)
	line := follower.waitLog("coordinator runs")
	usMesh := line["mesh"].(string)
	follower.waitLog("follows")
	eu, us := startHost(t, h, "eu", "eu-1", mesh), startHost(t, h, "us", "us-1", usMesh)

	cli := func(stdin string, args ...string) result {
		return runCLI(t, stdin, append([]string{"--home", h.Dir, "--coordinator", apiAddr}, args...)...)
	}
	expect(t, cli(`{"v": 1}`, "publish", "web/flags", "-", "--type", "application/json"), 0, []string{"eu", "us", "1/1"}, nil)
	eu.waitValue(t, "web/flags", `{"v": 1}`)
	us.waitValue(t, "web/flags", `{"v": 1}`)
	checkLocalAPI(t, us)

	// Without its leader the follower serves what it has, to a host that is new.
	leader.kill()
	late := startHost(t, h, "us", "us-2", usMesh)
	late.waitValue(t, "web/flags", `{"v": 1}`)
	expect(t, cli("{}", "publish", "web/flags", "-", "--type", "application/json"), 4, []string{"unreachable"}, nil)

	// An agent that is cut off serves its last state from disk, and says how stale it is.
	us.kill()
	follower.kill()
	us.restart(t)
	us.waitLog("agent runs")
	us.waitValue(t, "web/flags", `{"v": 1}`)
	if code, body := us.body(t, "/v1/configs/web%2Fflags"); code != 200 || !strings.Contains(body, `"staleness_s":-1`) {
		t.Errorf("cut-off agent: %d %s", code, body)
	}

	// Everybody comes back, at the addresses they had, and catches up.
	args := followerArgs
	args[6], args[8] = usMesh, "127.0.0.1:0"
	restarted := start(t, "coordinator", "--identity", h.CoordinatorDir("eu"), "--data-dir", leaderData, "--listen", mesh, "--api-listen", apiAddr,
		"--head-interval", "200ms", "--activation-key", h.ActivationKey("eu"), "--activation-key", h.ActivationKey("us"))
	restarted.waitLog("coordinator runs")
	start(t, args...).waitLog("follows")
	expect(t, cli(`{"v": 2}`, "publish", "web/flags", "-", "--type", "application/json", "--wait", "0"), 0, nil, nil)
	for _, a := range []*host{eu, us, late} {
		a.waitValue(t, "web/flags", `{"v": 2}`)
	}
	for _, p := range []*process{eu.process, us.process, late.process, restarted} {
		if code := p.stop(); code != 0 {
			t.Errorf("exit code %d after SIGTERM:\n%s", code, p.log())
		}
	}
}

func checkLocalAPI(t *testing.T, a *host) {
	t.Helper()
	var applied agent.Applied
	if code, body := a.body(t, "/v1/configs/web%2Fflags"); code != 200 || json.Unmarshal([]byte(body), &applied) != nil || applied.Version != 1 || applied.Epoch != 2 {
		t.Errorf("config: %d %s", code, body)
	}
	if code, body := a.body(t, "/v1/configs/web%2Fflags/value"); code != 200 || body != `{"v": 1}` {
		t.Errorf("value: %d %q", code, body)
	}
	if code, _ := a.body(t, "/v1/configs/nope"); code != 404 {
		t.Errorf("unknown config: %d", code)
	}
	if code, _ := a.body(t, "/v1/watch?after=x"); code != 400 {
		t.Errorf("bad watch: %d", code)
	}
	var status agent.Status
	if code, body := a.body(t, "/v1/status"); code != 200 || json.Unmarshal([]byte(body), &status) != nil || !status.Attached || status.Parent != "coordinator-us" {
		t.Errorf("status: %d %s", code, body)
	}
	_, metrics := a.body(t, "/metrics")
	for _, want := range []string{"banyan_agent_applied_total 2", "banyan_agent_propagation_seconds_bucket", "banyan_agent_children 0",
		"banyan_agent_staleness_seconds", "# TYPE banyan_agent_applied_total counter"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %q:\n%s", want, metrics)
		}
	}
}

func TestWatchTellsEachChangeOnce(t *testing.T) {
	h := newHome(t, "eu")
	_, mesh, apiAddr := startLeader(t, h, t.TempDir(), []string{"eu"})
	a := startHost(t, h, "eu", "eu-1", mesh)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := a.get(ctx, "/v1/watch?config=a")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	for n := uint64(1); n <= 3; n++ {
		args := []string{"--home", h.Dir, "--coordinator", apiAddr, "publish", "a", "-", "--type", "text/plain"}
		expect(t, runCLI(t, fmt.Sprint(n), args...), 0, nil, args)
		var applied agent.Applied
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &applied) != nil || applied.Epoch != 2*n || applied.Version != n {
			t.Fatalf("after version %d the watch said %q", n, lines.Text())
		}
	}
}
