package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
)

func TestAKilledAgentGoesOnWithABodyWhereItWas(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	f := fleettest.Start(t, fleet.Config{Regions: []string{"eu"}})
	cfg, err := f.AgentConfig(0)
	if err != nil {
		t.Fatal(err)
	}
	const size = 16 << 20
	socket := filepath.Join(t.TempDir(), "sock")
	args := []string{"agent", "--identity", filepath.Join(f.AgentDir(0), "identity"), "--join", cfg.Coordinators[0], "--listen", "127.0.0.1:0",
		"--output-dir", cfg.OutputDir, "--state-dir", cfg.StateDir, "--local-api", "unix:" + socket}
	p := start(t, append(args, "--max-download", "4MiB")...)
	body := make([]byte, size)
	rand.Read(body)
	f.Announce("app/model", body)
	partial := filepath.Join(cfg.OutputDir, "..partial")
	if err := fleet.Poll(ctx, 10*time.Millisecond, func() (bool, error) { return onDisk(partial) > size*6/10, nil }); err != nil {
		t.Fatalf("the body does not come: %v\n%s", err, p.log())
	}
	p.kill()
	had := onDisk(partial)
	p = start(t, args...)
	err = fleet.Poll(ctx, 10*time.Millisecond, func() (bool, error) {
		got, err := os.ReadFile(filepath.Join(cfg.OutputDir, "app", "model", "value"))
		return err == nil && bytes.Equal(got, body), nil
	})
	if err != nil {
		t.Fatalf("the agent did not get the body: %v\n%s", err, p.log())
	}
	again := metric(t, socket, "banyan_agent_shard_bytes_total")
	t.Logf("it had %d of %d bytes when it was killed, and fetched %d after that", had, size, again)
	if again > size*55/100 {
		t.Errorf("it had %d of %d bytes when it was killed, and fetched %d after that", had, size, again)
	}
}

// onDisk is how many bytes of files below dir are not holes.
func onDisk(dir string) (bytes int64) {
	filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	return bytes
}

// metric reads a counter from an agent's local API.
func metric(t *testing.T, socket, name string) int64 {
	t.Helper()
	_, text := (&host{dir: filepath.Dir(socket)}).body(t, "/metrics")
	found := regexp.MustCompile(`(?m)^` + name + ` (\d+)$`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no metric %s in:\n%s", name, text)
	}
	n, _ := strconv.ParseInt(found[1], 10, 64)
	return n
}

func TestLargeBodiesGoThroughTheCommandLine(t *testing.T) {
	f := fleettest.Start(t, fleet.Config{Regions: []string{"eu"}, Agents: 3, Publisher: "admin"})
	dir := t.TempDir()
	draft, out := filepath.Join(dir, "model.bin"), filepath.Join(dir, "got.bin")
	body := make([]byte, 5<<20)
	rand.Read(body)
	if err := os.WriteFile(draft, body, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"publish", "app/model", draft},
		{"get", "app/model", "--out", out},
		{"shards", "app/model", "--all"},
	} {
		cmd := command("", append([]string{"--home", f.Home.Dir, "--coordinator", f.Coordinators[0].APIAddr()}, args...)...)
		said, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("banyan %v: %v\n%s", args, err, said)
		}
		if args[0] == "shards" {
			for _, want := range []string{fmt.Sprint(len(body)), "10+4", "32768", "eu 3 3 3 3 0 0", "eu-agent-0002 eu all"} {
				if !strings.Contains(strings.Join(strings.Fields(string(said)), " "), want) {
					t.Errorf("banyan shards does not say %q:\n%s", want, said)
				}
			}
		}
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, body) {
		t.Errorf("got %d bytes back: %v", len(got), err)
	}
}
