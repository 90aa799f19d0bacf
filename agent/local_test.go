package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reader is an HTTP client of the local API on a Unix socket.
type reader struct {
	t      *testing.T
	client *http.Client
}

func newReader(t *testing.T, socket string) *reader {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial}}
	t.Cleanup(client.CloseIdleConnections)
	return &reader{t, client}
}

func (r *reader) get(path string) (*http.Response, string) {
	r.t.Helper()
	response, err := r.client.Get("http://agent" + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response, string(b)
}

// socketOf returns a path short enough for a Unix socket.
func socketOf(t *testing.T) string {
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func TestReadersOnTheHostAreServed(t *testing.T) {
	h := newHost(t)
	socket := socketOf(t)
	a, _ := h.start(func(c *Config) { c.LocalAPI = "unix:" + socket })
	h.run(a, "app/flags", 1, "hello")
	r := newReader(t, a.LocalAddr().String())
	var status Status
	if _, body := r.get("/v1/status"); json.Unmarshal([]byte(body), &status) != nil || status.Agent != "host-1" || status.Configs != 1 {
		t.Errorf("status: %s", body)
	}
	var configs struct{ Configs []Applied }
	if _, body := r.get("/v1/configs"); json.Unmarshal([]byte(body), &configs) != nil || len(configs.Configs) != 1 || configs.Configs[0].Version != 1 {
		t.Errorf("configs: %s", body)
	}
	var config Applied
	if _, body := r.get("/v1/configs/app%2Fflags"); json.Unmarshal([]byte(body), &config) != nil || config.Config != "app/flags" {
		t.Errorf("config: %s", body)
	}
	response, body := r.get("/v1/configs/app%2Fflags/value")
	if body != "hello" || response.Header.Get("Banyan-Version") != "1" || response.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("value: %q, %v", body, response.Header)
	}
	for path, want := range map[string]int{
		"/healthz":                http.StatusOK,
		"/metrics":                http.StatusOK,
		"/v1/configs/none":        http.StatusNotFound,
		"/v1/configs/none/value":  http.StatusNotFound,
		"/v1/watch?after=nothing": http.StatusBadRequest,
		"/v2":                     http.StatusNotFound,
	} {
		if response, body := r.get(path); response.StatusCode != want {
			t.Errorf("%s: status %d: %s", path, response.StatusCode, body)
		}
	}
	if err := os.RemoveAll(a.output.version(key("app/flags", 1)).path); err != nil {
		t.Fatal(err)
	}
	if response, _ := r.get("/v1/configs/app%2Fflags/value"); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a body that is gone: status %d", response.StatusCode)
	}
}

func TestAWatchStreamsEachChangeOfOneConfig(t *testing.T) {
	h := newHost(t)
	socket := socketOf(t)
	a, _ := h.start(func(c *Config) { c.LocalAPI = "unix:" + socket })
	h.run(a, "a", 1, "one")
	h.run(a, "b", 1, "not watched")
	response, err := newReader(t, socket).client.Get("http://agent/v1/watch?config=a")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	next := func() (applied Applied) {
		t.Helper()
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		if err := json.Unmarshal(lines.Bytes(), &applied); err != nil {
			t.Fatal(err)
		}
		return applied
	}
	if applied := next(); applied.Config != "a" || applied.Version != 1 {
		t.Errorf("first line: %+v", applied)
	}
	if err := h.activate(a, "a", 2, 1); err != nil { // another epoch, the same version: no line
		t.Fatal(err)
	}
	if err := h.store(a, "a", 3, "three"); err != nil {
		t.Fatal(err)
	}
	if err := h.activate(a, "a", 3, 3); err != nil {
		t.Fatal(err)
	}
	if applied := next(); applied.Config != "a" || applied.Version != 3 {
		t.Errorf("second line: %+v", applied)
	}
}

func TestTheLocalAddressIsTakenOnlyIfItIsFree(t *testing.T) {
	socket := socketOf(t)
	first, err := listenLocal("unix:" + socket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenLocal("unix:" + socket); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a socket that answers: %v", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	first.Close()
	second, err := listenLocal("unix:" + socket)
	if err != nil {
		t.Fatalf("a socket that a killed process left behind: %v", err)
	}
	second.Close()
	tcp, err := listenLocal("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp.Close()
	if _, err := listenLocal("nonsense"); err == nil {
		t.Error("an address without a port is taken")
	}
}

func TestAnAgentThatStopsSaysSo(t *testing.T) {
	h := newHost(t)
	a, stop := h.start(nil)
	stop()
	api := &localAPI{applied: a.applied, output: a.output, metrics: a.metrics, log: a.log, status: a.Status}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "/v1/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &statusOnly{header: http.Header{}}
	api.getStatus(w, request)
	if w.code != http.StatusServiceUnavailable {
		t.Errorf("status %d", w.code)
	}
}

// statusOnly is a response writer that keeps the status code.
type statusOnly struct {
	header http.Header
	code   int
}

func (w *statusOnly) Header() http.Header         { return w.header }
func (w *statusOnly) WriteHeader(code int)        { w.code = code }
func (w *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
