package bench

import (
	"context"
	"os"
	"runtime"
	"time"

	"banyan/bench/fleet"
	"banyan/transport/emulated"
)

// IdleConfig shapes a measurement of a fleet at rest. A zero value means the
// default where one is named.
type IdleConfig struct {
	Dir    string
	Agents int           // default 2000
	Fanout int           // default 16
	For    time.Duration // default 30 s
	Say    func(format string, args ...any)
}

// IdleResult is what a fleet costs while nothing changes: keep-alives, heads, and
// notices to backups, of all agents and their coordinator.
type IdleResult struct {
	Agents     int     `json:"agents"`
	Seconds    float64 `json:"seconds"`
	CPUMs      float64 `json:"cpu_ms_per_agent_per_minute"`
	Packets    float64 `json:"packets_per_agent_per_minute"`
	Bytes      float64 `json:"bytes_per_agent_per_minute"` // sent, without headers of UDP and below
	RSSBytes   int64   `json:"resident_bytes_per_agent"`
	Goroutines float64 `json:"goroutines_per_agent"`
}

// Idle measures a fleet at rest, with the production intervals.
func Idle(ctx context.Context, cfg IdleConfig) (r IdleResult, err error) {
	if cfg.Agents == 0 {
		cfg.Agents = 2000
	}
	if cfg.For == 0 {
		cfg.For = 30 * time.Second
	}
	if cfg.Say == nil {
		cfg.Say = func(string, ...any) {}
	}
	if cfg.Dir, err = os.MkdirTemp(cfg.Dir, "banyan-bench-"); err != nil {
		return r, err
	}
	defer os.RemoveAll(cfg.Dir)
	f, err := fleet.Start(ctx, fleet.Config{Dir: cfg.Dir, Agents: cfg.Agents, Regions: []string{"bench"}, Fanout: cfg.Fanout, Link: &emulated.Link{}})
	if err != nil {
		return r, err
	}
	defer f.Stop()
	if err := f.WaitAttached(ctx); err != nil {
		return r, err
	}
	cfg.Say("%d agents joined", cfg.Agents)
	if err := sleep(ctx, 5*time.Second); err != nil { // backups are dialed
		return r, err
	}
	cpu, began := cpuTime(), time.Now()
	packets, bytes := f.Sent()
	if err := sleep(ctx, cfg.For); err != nil {
		return r, err
	}
	took := time.Since(began)
	perMinute := 1 / took.Minutes() / float64(cfg.Agents)
	after, afterBytes := f.Sent()
	return IdleResult{Agents: cfg.Agents, Seconds: took.Seconds(), CPUMs: float64((cpuTime() - cpu).Microseconds()) / 1000 * perMinute,
		Packets: float64(after-packets) * perMinute, Bytes: float64(afterBytes-bytes) * perMinute,
		RSSBytes: PeakRSS() / int64(cfg.Agents), Goroutines: float64(runtime.NumGoroutine()) / float64(cfg.Agents)}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
