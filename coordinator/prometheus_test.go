package coordinator_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"banyan/internal/fleet/fleettest"
	"banyan/rollout"
)

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
	text := fmt.Sprintf(`
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs: [{job_name: app, static_configs: [{targets: [%q]}]}]
`, target)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=error")
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

// A gate queries a real Prometheus, which scrapes an error rate of the program that reads the
// config. A query without samples, or with a syntax error, fails the wave.
func TestAPrometheusQueryGatesAWave(t *testing.T) {
	var errors atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "app_error_ratio{config=\"a\"} 0.00%d\n", errors.Load())
	}))
	defer app.Close()
	address := prometheus(t, app.Listener.Addr().String())
	f := fleettest.Start(t, fleettest.Canaries(5))
	f.Install("a", "one")
	const query = `max_over_time(app_error_ratio{config="$CONFIG"}[2s])`
	plan := func(bake, query, limit string) string {
		return fmt.Sprintf(`
waves:
- share: 50%%
  bake: %s
  gates:
    queries: [{name: error ratio, url: 'http://%s', query: '%s', condition: '< 0.005', every: 100ms, limit: %s}]
- share: 100%%
`, bake, address, query, limit)
	}
	f.RollOut("a", f.Store("a", "two"), plan("500ms", query, "1m"))
	f.WaitRollout("a", rollout.Done)
	errors.Store(9)
	f.RollOut("a", f.Store("a", "three"), plan("1h", query, "1m"))
	r := f.WaitRollout("a", rollout.RolledBack)
	if !strings.Contains(r.Why, "error ratio") || !strings.Contains(r.Why, "0.009") {
		t.Errorf("why: %s", r.Why)
	}
	f.WaitShown("a", "two")
	for _, bad := range []string{"nothing_of_that_name", "sum("} {
		f.RollOut("a", f.Store("a", bad), plan("500ms", bad, "500ms"))
		if r := f.WaitRollout("a", rollout.RolledBack); !strings.Contains(r.Why, "counts as failed") {
			t.Errorf("%s: %s", bad, r.Why)
		}
	}
}
