package fleet

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"banyan/rollout"
)

// serve runs an HTTP server on loopback until the test ends.
func serve(t *testing.T, server *http.Server) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return l.Addr().String()
}

// prometheus starts a real Prometheus that scrapes target, and returns its address.
func prometheus(t *testing.T, target string) string {
	t.Helper()
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs: [{job_name: app, static_configs: [{targets: [%q]}]}]\n", target)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=error")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return address
}

// A query to a real Prometheus, which scrapes the error rate of what the config is for.
func TestAPrometheusQueryGatesAWave(t *testing.T) {
	var errors atomic.Int64
	app := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "app_error_ratio{config=\"a\"} 0.00%d\n", errors.Load())
	})})
	address := prometheus(t, app)
	s := newStage(t, 5, nil)
	s.rollOut("a", s.publish("a", "one"), "{}")
	s.ends("a", rollout.Done)
	plan := fmt.Sprintf(`
waves:
- share: 50%%
  bake: 500ms
  gates:
    queries: [{name: error ratio, url: 'http://%s', query: 'max_over_time(app_error_ratio{config="$CONFIG"}[2s])', condition: '< 0.005', every: 100ms, limit: 1m}]
- share: 100%%
`, address)
	s.rollOut("a", s.publish("a", "two"), plan)
	s.ends("a", rollout.Done)
	errors.Store(9)
	s.rollOut("a", s.publish("a", "three"), strings.Replace(plan, "bake: 500ms", "bake: 1h", 1))
	if r := s.ends("a", rollout.RolledBack); !strings.Contains(r.Why, "error ratio") || !strings.Contains(r.Why, "0.009") {
		t.Errorf("why: %s", r.Why)
	}
	s.everywhere("a", "two")
	// A query without samples, or that is none, passes nothing.
	for _, query := range []string{"nothing_of_that_name", "sum("} {
		s.rollOut("a", s.publish("a", query), strings.Replace(strings.Replace(plan, `max_over_time(app_error_ratio{config="$CONFIG"}[2s])`, query, 1), "limit: 1m", "limit: 500ms", 1))
		if r := s.ends("a", rollout.RolledBack); !strings.Contains(r.Why, "counts as failed") {
			t.Errorf("%s: %s", query, r.Why)
		}
	}
}
