package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"banyan/agent"
	"banyan/bench/fleet"
	"banyan/coordinator/api"
)

// RollbackConfig shapes a measurement of rollbacks. A zero value means the default
// where one is named.
type RollbackConfig struct {
	Dir    string // where a temporary directory is made; default the system's
	Agents int    // default 8: each keeps two versions of the large body
	Small  int64  // bytes; default 1 KiB
	Large  int64  // bytes; default 64 MiB
	Rounds int    // rollbacks of each; medians are reported; default 15
	Say    func(format string, args ...any)
}

// RollbackResult compares rollbacks of a small version and of a large one, from the
// signing of the pointer to the durable apply at every agent.
type RollbackResult struct {
	Agents   int     `json:"agents"`
	Small    int64   `json:"small_bytes"`
	Large    int64   `json:"large_bytes"`
	Rounds   int     `json:"rounds"`
	SmallP50 float64 `json:"small_p50_ms"`
	SmallP99 float64 `json:"small_p99_ms"`
	LargeP50 float64 `json:"large_p50_ms"`
	LargeP99 float64 `json:"large_p99_ms"`
	Ratio    float64 `json:"ratio"` // of the medians of the 50th percentiles, large over small
}

// Rollback measures.
func Rollback(ctx context.Context, cfg RollbackConfig) (r RollbackResult, err error) {
	cfg.setDefaults()
	if cfg.Dir, err = os.MkdirTemp(cfg.Dir, "banyan-bench-"); err != nil {
		return r, err
	}
	defer os.RemoveAll(cfg.Dir)
	events := newRecorder()
	f, err := fleet.Start(ctx, fleet.Config{Dir: cfg.Dir, Agents: cfg.Agents, Regions: []string{"bench"}, OnEvent: events.event})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.Stop()) }()
	if err := f.WaitAttached(ctx); err != nil {
		return r, fmt.Errorf("agents did not all join: %w", err)
	}
	r = RollbackResult{Agents: cfg.Agents, Small: cfg.Small, Large: cfg.Large, Rounds: cfg.Rounds}
	sizes := map[string]int64{"bench/small": cfg.Small, "bench/large": cfg.Large}
	for config, size := range sizes {
		for range 2 {
			if err := publishRandom(ctx, f, config, size); err != nil {
				return r, err
			}
		}
		cfg.Say("every agent holds two versions of %d bytes", size)
	}
	p50, p99 := map[string][]float64{}, map[string][]float64{}
	for round := range cfg.Rounds {
		for config := range sizes { // in turn, so that a noisy minute is noise for both
			s, err := move(ctx, f, events, config, uint64(1+round%2))
			if err != nil {
				return r, err
			}
			p50[config], p99[config] = append(p50[config], s.p50), append(p99[config], s.p99)
		}
	}
	r.SmallP50, r.SmallP99 = median(p50["bench/small"]), median(p99["bench/small"])
	r.LargeP50, r.LargeP99 = median(p50["bench/large"]), median(p99["bench/large"])
	r.Ratio = r.LargeP50 / r.SmallP50
	return r, nil
}

func (c *RollbackConfig) setDefaults() {
	if c.Agents == 0 {
		c.Agents = 8
	}
	if c.Small == 0 {
		c.Small = 1 << 10
	}
	if c.Large == 0 {
		c.Large = 64 << 20
	}
	if c.Rounds == 0 {
		c.Rounds = 15
	}
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
}

func publishRandom(ctx context.Context, f *fleet.Fleet, config string, size int64) error {
	body := make([]byte, size)
	rand.Read(body)
	_, epochs, err := f.Publish(ctx, api.Draft{Config: config, Body: body, ContentType: "application/octet-stream"})
	if err != nil {
		return err
	}
	return f.WaitApplied(ctx, config, epochs)
}

// move moves a config to a version that every agent holds.
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
