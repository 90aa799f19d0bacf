package bench

import (
	"cmp"
	"context"
	"os"
	"runtime"
	"time"

	"banyan/internal/fleet"
	"banyan/transport/emulated"
)

// IdleConfig configures Idle. A zero field has the default that its comment names.
type IdleConfig struct {
	Dir string
	// Agents is the number of agents; default 2000.
	Agents int
	// Fanout is the number of children of each node; default 16.
	Fanout int
	// For is the length of the measurement; default 30 s.
	For time.Duration
	Say func(format string, args ...any)
}

// IdleResult is the cost of a fleet while no config changes: keep-alives, heads, and notices
// to backups, of all agents and their coordinator, divided by the number of agents.
type IdleResult struct {
	Agents  int     `json:"agents"`
	Seconds float64 `json:"seconds"`
	CPUMs   float64 `json:"cpu_ms_per_agent_per_minute"`
	Packets float64 `json:"packets_per_agent_per_minute"`
	// Bytes is the number of bytes sent, without the headers of UDP and below.
	Bytes      float64 `json:"bytes_per_agent_per_minute"`
	RSSBytes   int64   `json:"resident_bytes_per_agent"`
	Goroutines float64 `json:"goroutines_per_agent"`
}

// Idle measures a fleet at rest with the intervals of production.
func Idle(ctx context.Context, cfg IdleConfig) (r IdleResult, err error) {
	cfg.Agents = cmp.Or(cfg.Agents, 2000)
	cfg.For = cmp.Or(cfg.For, 30*time.Second)
	if cfg.Say == nil {
		cfg.Say = func(string, ...any) {}
	}
	cfg.Dir, err = os.MkdirTemp(cfg.Dir, "banyan-bench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(cfg.Dir)
	f, err := fleet.Start(ctx, fleet.Config{
		Dir:     cfg.Dir,
		Agents:  cfg.Agents,
		Regions: []string{"bench"},
		Fanout:  cfg.Fanout,
		Link:    &emulated.Link{}, // emulated sockets count packets
	})
	if err != nil {
		return r, err
	}
	defer f.Stop()
	if err := f.WaitAttached(ctx); err != nil {
		return r, err
	}
	cfg.Say("%d agents joined", cfg.Agents)
	if err := sleep(ctx, 5*time.Second); err != nil { // the agents dial their backups
		return r, err
	}
	began := time.Now()
	cpu := cpuTime()
	packets, bytes := f.Sent()
	if err := sleep(ctx, cfg.For); err != nil {
		return r, err
	}
	took := time.Since(began)
	perMinute := 1 / took.Minutes() / float64(cfg.Agents)
	after, afterBytes := f.Sent()
	return IdleResult{
		Agents:     cfg.Agents,
		Seconds:    took.Seconds(),
		CPUMs:      float64((cpuTime() - cpu).Microseconds()) / 1000 * perMinute,
		Packets:    float64(after-packets) * perMinute,
		Bytes:      float64(afterBytes-bytes) * perMinute,
		RSSBytes:   PeakRSS() / int64(cfg.Agents),
		Goroutines: float64(runtime.NumGoroutine()) / float64(cfg.Agents),
	}, nil
}

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
