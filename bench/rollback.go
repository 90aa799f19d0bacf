package bench

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/internal/fleet"
)

// RollbackConfig configures Rollback. A zero field has the default that its comment names.
type RollbackConfig struct {
	// Dir is where a temporary directory is made; default the system's temporary directory.
	Dir string
	// Agents is the number of agents, each of which keeps two versions of the large body;
	// default 8.
	Agents int
	// Small is the size of the small body in bytes; default 1 KiB.
	Small int64
	// Large is the size of the large body in bytes; default 64 MiB.
	Large int64
	// Rounds is the number of rollbacks of each size, of which the medians are reported;
	// default 15.
	Rounds int
	Say    func(format string, args ...any)
}

// RollbackResult compares rollbacks of a small and of a large body. A time runs from the
// signature of the pointer to the durable apply at an agent.
type RollbackResult struct {
	Agents   int     `json:"agents"`
	Small    int64   `json:"small_bytes"`
	Large    int64   `json:"large_bytes"`
	Rounds   int     `json:"rounds"`
	SmallP50 float64 `json:"small_p50_ms"`
	SmallP99 float64 `json:"small_p99_ms"`
	LargeP50 float64 `json:"large_p50_ms"`
	LargeP99 float64 `json:"large_p99_ms"`
	// Ratio is LargeP50 / SmallP50.
	Ratio float64 `json:"ratio"`
}

// Rollback times rollbacks of a small and of a large body in turn.
func Rollback(ctx context.Context, cfg RollbackConfig) (r RollbackResult, err error) {
	cfg.setDefaults()
	cfg.Dir, err = os.MkdirTemp(cfg.Dir, "banyan-bench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(cfg.Dir)
	events := newRecorder()
	f, err := fleet.Start(ctx, fleet.Config{
		Dir:     cfg.Dir,
		Agents:  cfg.Agents,
		Regions: []string{"bench"},
		OnEvent: events.event,
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.Stop()) }()
	if err := f.WaitAttached(ctx); err != nil {
		return r, fmt.Errorf("agents did not all join: %w", err)
	}
	r = RollbackResult{Agents: cfg.Agents, Small: cfg.Small, Large: cfg.Large, Rounds: cfg.Rounds}
	bodies := []*rolledBody{{config: "bench/small", size: cfg.Small}, {config: "bench/large", size: cfg.Large}}
	for _, b := range bodies {
		for range 2 {
			if err := publishRandom(ctx, f, b.config, b.size); err != nil {
				return r, err
			}
		}
		cfg.Say("every agent holds two versions of %d bytes", b.size)
	}
	for round := range cfg.Rounds {
		// The sizes take turns, so that a noisy minute disturbs both.
		for _, b := range bodies {
			s, err := move(ctx, f, events, b.config, uint64(1+round%2))
			if err != nil {
				return r, err
			}
			b.rollbacks = append(b.rollbacks, sample{applied: s})
		}
	}
	small := bodies[0].rollbacks.medians(appliedOf)
	r.SmallP50 = small.p50
	r.SmallP99 = small.p99
	large := bodies[1].rollbacks.medians(appliedOf)
	r.LargeP50 = large.p50
	r.LargeP99 = large.p99
	r.Ratio = r.LargeP50 / r.SmallP50
	return r, nil
}

// rolledBody is a config with two versions of one size, and its rollbacks.
type rolledBody struct {
	config    string
	size      int64
	rollbacks samples
}

func (c *RollbackConfig) setDefaults() {
	c.Agents = cmp.Or(c.Agents, 8)
	c.Small = cmp.Or(c.Small, 1<<10)
	c.Large = cmp.Or(c.Large, 64<<20)
	c.Rounds = cmp.Or(c.Rounds, 15)
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
}

// publishRandom publishes a body of random bytes and waits until every agent has applied it.
func publishRandom(ctx context.Context, f *fleet.Fleet, config string, size int64) error {
	body := make([]byte, size)
	rand.Read(body)
	_, epochs, err := f.Publish(ctx, api.Draft{
		Config:      config,
		Body:        body,
		ContentType: "application/octet-stream",
	})
	if err != nil {
		return err
	}
	return f.WaitApplied(ctx, config, epochs)
}

// move moves a config to a version that every agent holds, and returns the latencies of the
// applies.
func move(ctx context.Context, f *fleet.Fleet, events *recorder, config string, version uint64) (summary, error) {
	epochs, err := f.Activate(ctx, config, version)
	if err != nil {
		return summary{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := f.WaitApplied(ctx, config, epochs); err != nil {
		return summary{}, err
	}
	return events.summary(agent.EventApplied, config, epochs), nil
}
