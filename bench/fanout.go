package bench

import (
	"cmp"
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
	"banyan/coordinator/api"
	"banyan/internal/fleet"
	"banyan/transport/emulated"
)

// FanoutConfig configures Fanout. A zero field has the default that its comment names.
type FanoutConfig struct {
	// Dir is where a temporary directory is made; default the system's temporary directory.
	Dir string
	// Agents is the number of agents; default 1000.
	Agents int
	// Fanout is the number of children of each node; default 16.
	Fanout int
	// Updates is the number of new versions, of which the first is not counted; default 7.
	Updates int
	// Rollbacks is the number of rollbacks, of which the first is not counted; default 4.
	Rollbacks int
	// Body is the size of each version's body in bytes; default 256.
	Body int
	Say  func(format string, args ...any)
	// KillRelays is the share of the relays that are killed when one more update is
	// announced.
	KillRelays float64
	// Link emulates a network; nil means plain loopback.
	Link *emulated.Link
}

// FanoutResult is the result of Fanout: medians over the updates. All agents share the cores
// and the one disk of this machine.
type FanoutResult struct {
	Agents      int     `json:"agents"`
	Fanout      int     `json:"fanout"`
	Updates     int     `json:"updates"`
	BodyBytes   int     `json:"body_bytes"`
	Cores       int     `json:"cores"`
	VerifiedP50 float64 `json:"verified_p50_ms"`
	VerifiedP99 float64 `json:"verified_p99_ms"`
	VerifiedMax float64 `json:"verified_max_ms"`
	AppliedP50  float64 `json:"applied_p50_ms"`
	AppliedP99  float64 `json:"applied_p99_ms"`
	AppliedMax  float64 `json:"applied_max_ms"`
	// CPUPerAgentUs is the user and system time of the whole process divided by the agents.
	CPUPerAgentUs float64 `json:"cpu_us_per_agent_per_announcement"`
	JoinSeconds   float64 `json:"join_s"`
	PeakRSSBytes  int64   `json:"peak_rss_bytes"`
	DiskBytes     int64   `json:"disk_bytes_allocated"`
	Missed        int     `json:"missed"`
	// Disturbed is the update during which relays were killed; nil if none were.
	Disturbed *Disturbed `json:"disturbed,omitempty"`
	// The times of rollbacks: up to the check of the pointer's signature (Announce), and to
	// the durable apply (Rollback). The version is on every disk, so no agent fetches a body.
	AnnounceP50        float64 `json:"announce_p50_ms"`
	AnnounceP99        float64 `json:"announce_p99_ms"`
	AnnounceMax        float64 `json:"announce_max_ms"`
	RollbackP50        float64 `json:"rollback_p50_ms"`
	RollbackP99        float64 `json:"rollback_p99_ms"`
	RollbackMax        float64 `json:"rollback_max_ms"`
	RollbackCPUPerUs   float64 `json:"rollback_cpu_us_per_agent"`
	StoredPerAgentNote string  `json:"stores"`
}

// Fanout starts a fleet of one region and times updates. A time runs from the signature of
// the pointer to the check of the signature, and to the durable apply, at every agent.
func Fanout(ctx context.Context, cfg FanoutConfig) (FanoutResult, error) {
	result, publishes, rollbacks, err := fanout(ctx, cfg)
	if err == nil {
		result.fill(publishes, rollbacks)
	}
	return result, err
}

// fanout starts the fleet, measures, and returns the samples of all updates.
func fanout(ctx context.Context, cfg FanoutConfig) (result FanoutResult, publishes, rollbacks samples, err error) {
	cfg.setDefaults()
	cfg.Dir, err = os.MkdirTemp(cfg.Dir, "banyan-bench-")
	if err != nil {
		return result, nil, nil, err
	}
	defer os.RemoveAll(cfg.Dir)
	events := newRecorder()
	began := time.Now()
	shape := fleet.Config{
		Dir:     cfg.Dir,
		Agents:  cfg.Agents,
		Regions: []string{"bench"},
		Fanout:  cfg.Fanout,
		Link:    cfg.Link,
		OnEvent: events.event,
	}
	if cfg.KillRelays == 0 {
		// The keep-alives of a thousand agents would take cores from the update. They are
		// only needed to notice relays that were killed.
		shape.KeepAlive = 10 * time.Second
		shape.IdleTimeout = time.Minute
	}
	f, err := fleet.Start(ctx, shape)
	if err != nil {
		return result, nil, nil, err
	}
	defer func() { err = errors.Join(err, f.Stop()) }()
	if err := f.WaitAttached(ctx); err != nil {
		return result, nil, nil, fmt.Errorf("agents did not all join: %w", err)
	}
	result = FanoutResult{
		Agents:      cfg.Agents,
		Fanout:      cfg.Fanout,
		Updates:     cfg.Updates - 1,
		BodyBytes:   cfg.Body,
		Cores:       runtime.GOMAXPROCS(0),
		JoinSeconds: time.Since(began).Seconds(),
		StoredPerAgentNote: "each agent: one synchronous Badger commit and the version's files, fsynced; " +
			"all on one disk",
	}
	cfg.Say("%d agents joined in %.1f s", cfg.Agents, result.JoinSeconds)
	publishes, rollbacks, err = measureFanout(ctx, cfg, f, events)
	if err != nil {
		return result, nil, nil, err
	}
	if cfg.KillRelays > 0 {
		result.Disturbed, err = disturb(ctx, cfg, f, events)
		if err != nil {
			return result, nil, nil, err
		}
	}
	result.PeakRSSBytes = PeakRSS()
	result.DiskBytes = allocated(cfg.Dir)
	return result, publishes, rollbacks, nil
}

func (c *FanoutConfig) setDefaults() {
	c.Agents = cmp.Or(c.Agents, 1000)
	c.Fanout = cmp.Or(c.Fanout, 16)
	c.Updates = cmp.Or(c.Updates, 7)
	c.Rollbacks = cmp.Or(c.Rollbacks, 4)
	c.Body = cmp.Or(c.Body, 256)
	if c.KillRelays > 0 && c.Link == nil {
		c.Link = &emulated.Link{} // to kill a relay is to silence its emulated socket
	}
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
}

// measureFanout times new versions, and then rollbacks between the last two versions. The
// first of each fills caches and is not counted.
func measureFanout(
	ctx context.Context,
	cfg FanoutConfig,
	f *fleet.Fleet,
	events *recorder,
) (publishes, rollbacks samples, err error) {
	for i := range cfg.Updates {
		body := make([]byte, cfg.Body)
		copy(body, fmt.Sprintf("update %d", i))
		v, err := f.Client.Publish(ctx, api.Draft{
			Config:      "bench/fanout",
			Body:        body,
			ContentType: "application/octet-stream",
		}, f.Key)
		if err != nil {
			return nil, nil, err
		}
		s, err := timeUpdate(ctx, f, events, v.Manifest.Version)
		if err != nil {
			return nil, nil, err
		}
		cfg.Say("update %d: verified p99 %.1f ms, applied p99 %.1f ms, %.0f µs of CPU per agent",
			i, s.verified.p99, s.applied.p99, s.cpuPerAgent)
		if i > 0 {
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

// fill sets the fields that are medians of samples.
func (r *FanoutResult) fill(publishes, rollbacks samples) {
	m := publishes.medians(verifiedOf)
	r.VerifiedP50 = m.p50
	r.VerifiedP99 = m.p99
	r.VerifiedMax = m.max
	m = publishes.medians(appliedOf)
	r.AppliedP50 = m.p50
	r.AppliedP99 = m.p99
	r.AppliedMax = m.max
	m = rollbacks.medians(verifiedOf)
	r.AnnounceP50 = m.p50
	r.AnnounceP99 = m.p99
	r.AnnounceMax = m.max
	m = rollbacks.medians(appliedOf)
	r.RollbackP50 = m.p50
	r.RollbackP99 = m.p99
	r.RollbackMax = m.max
	r.CPUPerAgentUs = publishes.cpu()
	r.RollbackCPUPerUs = rollbacks.cpu()
	for _, s := range append(slices.Clone(publishes), rollbacks...) {
		r.Missed += r.Agents - s.applied.count
	}
	if d := r.Disturbed; d != nil {
		r.Missed += d.Missed
		d.RatioP99 = d.P99 / r.AppliedP99
	}
}

// timeUpdate activates a version and waits, at most for a minute, until every agent has
// applied it.
func timeUpdate(ctx context.Context, f *fleet.Fleet, events *recorder, version uint64) (sample, error) {
	events.reset()
	runtime.GC() // an update must not pay for the garbage of the update before
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

// cpuTime returns the user and system time that this process has spent.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// PeakRSS returns the largest resident memory that this process has had, in bytes.
func PeakRSS() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Maxrss << 10
}

// allocated returns the bytes that the files of a directory occupy on disk. The sizes of the
// files would mislead, because Badger's files are sparse.
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
