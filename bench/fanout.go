package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"banyan/agent"
	"banyan/bench/fleet"
	"banyan/coordinator/api"
	"banyan/transport/emulated"
)

// FanoutConfig shapes a fan-out measurement. A zero value means the default where one is named.
type FanoutConfig struct {
	Dir       string // where a temporary directory is made; default the system's
	Agents    int    // default 1000
	Fanout    int    // default 16
	Updates   int    // default 7; the first is not counted
	Rollbacks int    // default 4; likewise
	Body      int    // bytes; default 256
	Say       func(format string, args ...any)
	// KillRelays is the share of the relays that die as a last update is announced.
	KillRelays float64
	// Link is what packets go through; nil for loopback as it is.
	Link *emulated.Link
}

// FanoutResult is what a fan-out measurement found: medians over the updates.
// All agents share this machine's cores and its one disk.
type FanoutResult struct {
	Agents        int     `json:"agents"`
	Fanout        int     `json:"fanout"`
	Updates       int     `json:"updates"`
	BodyBytes     int     `json:"body_bytes"`
	Cores         int     `json:"cores"`
	VerifiedP50   float64 `json:"verified_p50_ms"`
	VerifiedP99   float64 `json:"verified_p99_ms"`
	VerifiedMax   float64 `json:"verified_max_ms"`
	AppliedP50    float64 `json:"applied_p50_ms"`
	AppliedP99    float64 `json:"applied_p99_ms"`
	AppliedMax    float64 `json:"applied_max_ms"`
	CPUPerAgentUs float64 `json:"cpu_us_per_agent_per_announcement"` // user and system, of the whole process
	JoinSeconds   float64 `json:"join_s"`
	PeakRSSBytes  int64   `json:"peak_rss_bytes"`
	DiskBytes     int64   `json:"disk_bytes_allocated"`
	Missed        int     `json:"missed"`
	// Disturbed is the update during which relays died, if any did.
	Disturbed *Disturbed `json:"disturbed,omitempty"`
	// Rollback columns: the version is on every disk already, nothing is fetched.
	AnnounceP50        float64 `json:"announce_p50_ms"` // a rollback's announcement, to verified
	AnnounceP99        float64 `json:"announce_p99_ms"`
	AnnounceMax        float64 `json:"announce_max_ms"`
	RollbackP50        float64 `json:"rollback_p50_ms"`
	RollbackP99        float64 `json:"rollback_p99_ms"`
	RollbackMax        float64 `json:"rollback_max_ms"`
	RollbackCPUPerUs   float64 `json:"rollback_cpu_us_per_agent"`
	StoredPerAgentNote string  `json:"stores"`
}

// Fanout starts a fleet of one region and times updates from the signing of a
// pointer to its verification, and to its durable apply, on every agent.
func Fanout(ctx context.Context, cfg FanoutConfig) (FanoutResult, error) {
	result, publishes, rollbacks, err := fanout(ctx, cfg)
	if err == nil {
		result.fill(publishes, rollbacks)
	}
	return result, err
}

// fanout measures, and returns every update's sample.
func fanout(ctx context.Context, cfg FanoutConfig) (result FanoutResult, publishes, rollbacks samples, err error) {
	cfg.setDefaults()
	if cfg.Dir, err = os.MkdirTemp(cfg.Dir, "banyan-bench-"); err != nil {
		return result, nil, nil, err
	}
	defer os.RemoveAll(cfg.Dir)
	events := newRecorder()
	began := time.Now()
	shape := fleet.Config{Dir: cfg.Dir, Agents: cfg.Agents, Regions: []string{"bench"}, Fanout: cfg.Fanout, Link: cfg.Link, OnEvent: events.event}
	if cfg.KillRelays == 0 { // what is measured is the update: keep-alives of a thousand agents need not share its cores
		shape.KeepAlive, shape.IdleTimeout = 10*time.Second, time.Minute
	}
	f, err := fleet.Start(ctx, shape)
	if err != nil {
		return result, nil, nil, err
	}
	defer func() { err = errors.Join(err, f.Stop()) }()
	if err := f.WaitAttached(ctx); err != nil {
		return result, nil, nil, fmt.Errorf("agents did not all join: %w", err)
	}
	result = FanoutResult{Agents: cfg.Agents, Fanout: cfg.Fanout, Updates: cfg.Updates - 1, BodyBytes: cfg.Body,
		Cores: runtime.GOMAXPROCS(0), JoinSeconds: time.Since(began).Seconds(),
		StoredPerAgentNote: "each agent: one synchronous Badger commit and the version's files, fsynced; all on one disk"}
	cfg.Say("%d agents joined in %.1f s", cfg.Agents, result.JoinSeconds)
	if publishes, rollbacks, err = measureFanout(ctx, cfg, f, events); err != nil {
		return result, nil, nil, err
	}
	if cfg.KillRelays > 0 {
		if result.Disturbed, err = disturb(ctx, cfg, f, events); err != nil {
			return result, nil, nil, err
		}
	}
	result.PeakRSSBytes, result.DiskBytes = PeakRSS(), allocated(cfg.Dir)
	return result, publishes, rollbacks, nil
}

func (c *FanoutConfig) setDefaults() {
	for _, d := range []struct {
		field *int
		value int
	}{{&c.Agents, 1000}, {&c.Fanout, 16}, {&c.Updates, 7}, {&c.Rollbacks, 4}, {&c.Body, 256}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.KillRelays > 0 && c.Link == nil {
		c.Link = &emulated.Link{} // sockets that can be silenced
	}
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
}

func measureFanout(ctx context.Context, cfg FanoutConfig, f *fleet.Fleet, events *recorder) (publishes, rollbacks samples, err error) {
	for i := range cfg.Updates {
		body := make([]byte, cfg.Body)
		copy(body, fmt.Sprintf("update %d", i))
		v, err := f.Client.Publish(ctx, api.Draft{Config: "bench/fanout", Body: body, ContentType: "application/octet-stream"}, f.Key)
		if err != nil {
			return nil, nil, err
		}
		s, err := timeUpdate(ctx, f, events, v.Manifest.Version)
		if err != nil {
			return nil, nil, err
		}
		cfg.Say("update %d: verified p99 %.1f ms, applied p99 %.1f ms, %.0f µs of CPU an agent", i, s.verified.p99, s.applied.p99, s.cpuPerAgent)
		if i > 0 { // the first warms caches up
			publishes = append(publishes, s)
		}
	}
	last := uint64(cfg.Updates)
	for i := range cfg.Rollbacks {
		s, err := timeUpdate(ctx, f, events, last-uint64(1-i%2))
		if err != nil {
			return nil, nil, err
		}
		if i > 0 {
			rollbacks = append(rollbacks, s)
		}
	}
	return publishes, rollbacks, nil
}

// fill takes the medians of the samples.
func (r *FanoutResult) fill(publishes, rollbacks samples) {
	publishes.fill(&r.VerifiedP50, &r.VerifiedP99, &r.VerifiedMax, func(s sample) summary { return s.verified })
	publishes.fill(&r.AppliedP50, &r.AppliedP99, &r.AppliedMax, func(s sample) summary { return s.applied })
	rollbacks.fill(&r.AnnounceP50, &r.AnnounceP99, &r.AnnounceMax, func(s sample) summary { return s.verified })
	rollbacks.fill(&r.RollbackP50, &r.RollbackP99, &r.RollbackMax, func(s sample) summary { return s.applied })
	r.CPUPerAgentUs, r.RollbackCPUPerUs = publishes.cpu(), rollbacks.cpu()
	for _, s := range append(slices.Clone(publishes), rollbacks...) {
		r.Missed += r.Agents - s.applied.count
	}
	if d := r.Disturbed; d != nil {
		r.Missed += d.Missed
		d.RatioP99 = d.P99 / r.AppliedP99
	}
}

// sample is one update's outcome.
type sample struct {
	verified, applied summary
	cpuPerAgent       float64 // µs
}

type samples []sample

func (all samples) fill(p50, p99, most *float64, of func(sample) summary) {
	var a, b, c []float64
	for _, s := range all {
		a, b, c = append(a, of(s).p50), append(b, of(s).p99), append(c, of(s).max)
	}
	*p50, *p99, *most = median(a), median(b), median(c)
}

func (all samples) cpu() float64 {
	var v []float64
	for _, s := range all {
		v = append(v, s.cpuPerAgent)
	}
	return median(v)
}

func timeUpdate(ctx context.Context, f *fleet.Fleet, events *recorder, version uint64) (sample, error) {
	events.reset()
	runtime.GC() // so that one update does not pay for the last one's garbage
	before := cpuTime()
	epochs, err := f.Activate(ctx, "bench/fanout", version)
	if err != nil {
		return sample{}, err
	}
	deadline, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = fleet.Poll(deadline, 10*time.Millisecond, func() (bool, error) {
		return events.count(agent.EventApplied) >= len(f.Agents), nil
	})
	if err != nil && ctx.Err() != nil {
		return sample{}, err
	}
	spent := cpuTime() - before
	return sample{
		verified:    events.summary(agent.EventVerified, "bench/fanout", epochs),
		applied:     events.summary(agent.EventApplied, "bench/fanout", epochs),
		cpuPerAgent: float64(spent.Microseconds()) / float64(len(f.Agents)),
	}, nil
}

func (r *recorder) count(kind agent.EventKind) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// PeakRSS is the most memory, in bytes, that this process has held resident.
func PeakRSS() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Maxrss << 10
}

// allocated is what a directory takes on disk: Badger's files are sparse.
func allocated(dir string) (bytes int64) {
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += s.Blocks * 512
			}
		}
		return nil
	})
	return bytes
}
