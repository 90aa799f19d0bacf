package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"banyan/bench/fleet"
)

// AgentMemory is how much memory an agent took for a large body.
type AgentMemory struct {
	BodyBytes    int64 `json:"body_bytes"`
	PeakRSSBytes int64 `json:"peak_rss_bytes"`
}

// memoryBody is the body whose way through an agent is measured, in bytes.
const memoryBody = 256 << 20

// measureMemory sends a large body through one agent in a process of its own.
func measureMemory(ctx context.Context, cfg BodyConfig, r *BodyResult) (err error) {
	if len(cfg.Program) == 0 {
		return nil
	}
	cfg.Agents = 1
	if r.InMemory { // this agent has a disk to itself
		if cfg.Dir, err = os.MkdirTemp("", "banyan-bench-"); err != nil {
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
	command := append(cfg.Program[1:len(cfg.Program):len(cfg.Program)], "agent", "--identity", filepath.Join(dir, "identity"),
		"--join", next.Coordinators[0], "--listen", b.Config.Listen+":0", "--output-dir", next.OutputDir, "--state-dir", next.StateDir)
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
		return fmt.Errorf("the agent did not get the body: %w; it says: %s", err, log.String())
	}
	peak, err := procBytes(fmt.Sprintf("/proc/%d/status", child.Process.Pid), "VmHWM")
	r.Memory = &AgentMemory{memoryBody, peak}
	cfg.Say("an agent that took %d MiB was resident with %d MiB at the most", int64(memoryBody)>>20, peak>>20)
	return err
}
