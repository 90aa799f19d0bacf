package agent

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"banyan/internal/diskspace"
	"banyan/internal/diskspace/disktest"
)

// smallDisk gives a host a disk of 48 MiB, and skips the test without the right to mount it.
func smallDisk(t *testing.T, h *host) {
	t.Helper()
	dir := filepath.Join(h.dir, "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	disktest.Mount(t, dir, "48m")
	h.dir = dir
}

// fillDisk writes a file until no byte is free in dir. It returns the path of the file.
func fillDisk(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "filler")
	disktest.Fill(t, dir, path)
	return path
}

// logBuffer is a log that goroutines write and the test reads.
type logBuffer struct {
	mu  sync.Mutex
	log bytes.Buffer // guarded by mu
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

// count returns the number of lines with text.
func (b *logBuffer) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.log.String(), text)
}

// On a disk without a free byte an agent refuses new bodies, rolls back to a version on that
// disk, starts again, and takes new bodies when there is room.
func TestTruthOnAFullDiskAnAgentRollsBack(t *testing.T) {
	h := newHost(t)
	smallDisk(t, h)
	log := &logBuffer{}
	withReserve := func(c *Config) {
		c.DiskReserve = 8 << 20
		c.Log = slog.New(slog.NewTextHandler(log, nil))
	}
	a, stop := h.start(withReserve)
	h.run(a, "a", 1, "one")
	h.run(a, "a", 2, "two")
	filler := fillDisk(t, h.dir)
	for range 20 {
		if err := h.store(a, "a", 3, "three"); !errors.Is(err, diskspace.ErrFull) {
			t.Fatalf("a body on a full disk: %v, want ErrFull", err)
		}
		if err := h.activate(a, "a", 3, 3); err == nil {
			t.Fatal("a version that is not on disk was applied")
		}
	}
	if n := log.count(`msg="not applied"`); n != 1 {
		t.Errorf("20 failures were logged %d times", n)
	}
	if err := h.activate(a, "a", 4, 1); err != nil || h.shows("a") != "one" {
		t.Errorf("a rollback on a full disk: %v, a shows %q", err, h.shows("a"))
	}
	stop()
	fillDisk(t, h.dir) // other processes take what the agent gave back
	a, _ = h.start(withReserve)
	if applied, ok := a.Applied("a"); !ok || applied.Epoch != 4 || h.shows("a") != "one" {
		t.Errorf("after a start on a full disk: %+v, a shows %q", applied, h.shows("a"))
	}
	if err := h.activate(a, "a", 5, 2); err != nil || h.shows("a") != "two" {
		t.Errorf("a rollback after a start on a full disk: %v, a shows %q", err, h.shows("a"))
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	h.run(a, "a", 6, "six")
	if h.shows("a") != "six" {
		t.Errorf("after room was made, a shows %q", h.shows("a"))
	}
}
