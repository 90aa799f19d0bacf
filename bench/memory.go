package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"banyan/internal/fleet"
)

// AgentMemory is the memory of an agent that received a large body.
type AgentMemory struct {
	BodyBytes    int64 `json:"body_bytes"`
	PeakRSSBytes int64 `json:"peak_rss_bytes"`
}

// memoryBody is the size of the large body in bytes.
const memoryBody = 256 << 20

// measureMemory sends a large body to one agent in a process of its own and reads the peak of
// its resident memory.
func measureMemory(ctx context.Context, cfg BodyConfig, r *BodyResult) (err error) {
	if len(cfg.Program) == 0 {
		return nil
	}
	cfg.Agents = 1
	if r.InMemory { // one agent does not share a disk, so its files need not be in memory
		cfg.Dir, err = os.MkdirTemp("", "banyan-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(cfg.Dir)
	}
	b, err := startBody(ctx, cfg, "memory", fleet.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.RemoveAll()) }()
	next, err := b.AgentConfig(1)
	if err != nil {
		return err
	}
	dir := b.AgentDir(1)
	command := append(slices.Clone(cfg.Program[1:]),
		"agent",
		"--identity", filepath.Join(dir, "identity"),
		"--join", next.Coordinators[0],
		"--listen", b.Config.Listen+":0",
		"--output-dir", next.OutputDir,
		"--state-dir", next.StateDir,
	)
	child := exec.CommandContext(ctx, cfg.Program[0], command...)
	var log bytes.Buffer
	child.Stderr = &log
	if err := child.Start(); err != nil {
		return err
	}
	defer func() { child.Process.Kill(); child.Wait() }()
	version, err := b.store(ctx, memoryBody)
	if err != nil {
		return err
	}
	if _, err := b.Activate(ctx, "bench/body", version); err != nil {
		return err
	}
	deadline, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	err = fleet.Poll(deadline, 50*time.Millisecond, func() (bool, error) {
		info, err := os.Stat(filepath.Join(next.OutputDir, "bench", "body", "value"))
		return err == nil && info.Size() == memoryBody, nil
	})
	if err != nil {
		return fmt.Errorf("the agent did not receive the body: %w; its log: %s", err, log.String())
	}
	peak, err := procBytes(fmt.Sprintf("/proc/%d/status", child.Process.Pid), "VmHWM")
	r.Memory = &AgentMemory{memoryBody, peak}
	cfg.Say("an agent that received %d MiB used at most %d MiB of memory", int64(memoryBody)>>20, peak>>20)
	return err
}
