package bench

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/internal/fleet"
	"banyan/rollout"
)

// StagedConfig configures Staged. A zero field has the default that its comment names.
type StagedConfig struct {
	// Dir is where a temporary directory is made; default the system's temporary directory.
	Dir string
	// Agents is the number of agents; default 1000.
	Agents int
	// Body is the size of the staged body in bytes; default 1 MiB.
	Body int64
	// Tiny is the size of the yardstick's body in bytes; default 256.
	Tiny int64
	// Rounds is the number of rounds, after one that is not counted; default 15.
	Rounds int
	Say    func(format string, args ...any)
}

// StagedResult holds the times that moves of a pointer take, from the signature of the pointer
// to the durable apply at an agent. The times are medians over the rounds.
type StagedResult struct {
	Agents int   `json:"agents"`
	Body   int64 `json:"body_bytes"`
	Rounds int   `json:"rounds"`
	// Announce is the yardstick: a tiny version is announced, pushed and applied.
	AnnounceP50 float64 `json:"announce_p50_ms"`
	AnnounceP99 float64 `json:"announce_p99_ms"`
	// Activate is the second step of a rollout: a staged version goes live.
	ActivateP50 float64 `json:"activate_p50_ms"`
	ActivateP99 float64 `json:"activate_p99_ms"`
	// Rollback is the rollback of the staged version.
	RollbackP50 float64 `json:"rollback_p50_ms"`
	RollbackP99 float64 `json:"rollback_p99_ms"`
	// Skew is the time between the activation at the first and at the last host.
	Skew float64 `json:"skew_ms"`
	// ActivateRatio is ActivateP99 / AnnounceP99.
	ActivateRatio float64 `json:"activate_ratio"`
	// RollbackRatio is RollbackP99 / AnnounceP99.
	RollbackRatio float64 `json:"rollback_ratio"`
	// StageSeconds is the time until the body was on every disk and active, the first time.
	StageSeconds float64 `json:"stage_s"`
}

const (
	tinyConfig   = "bench/tiny"
	stagedConfig = "bench/staged"
	// stageWait is the time within which a body must be on every disk.
	stageWait = 10 * time.Minute
)

// Staged times, in each round, the announcement of a tiny version, the activation of a staged
// version, and the rollback of the staged version.
func Staged(ctx context.Context, cfg StagedConfig) (r StagedResult, err error) {
	cfg.setDefaults()
	cfg.Dir, err = os.MkdirTemp(cfg.Dir, "banyan-bench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(cfg.Dir)
	b := stagedBench{cfg: cfg, events: newRecorder()}
	b.Fleet, err = fleet.Start(ctx, fleet.Config{
		Dir:     cfg.Dir,
		Agents:  cfg.Agents,
		Regions: []string{"bench"},
		OnEvent: b.events.event,
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.Stop()) }()
	if err := b.WaitAttached(ctx); err != nil {
		return r, fmt.Errorf("agents did not all join: %w", err)
	}
	cfg.Say("%d agents are attached", cfg.Agents)
	r = StagedResult{Agents: cfg.Agents, Body: cfg.Body, Rounds: cfg.Rounds}
	r.StageSeconds, err = b.prepare(ctx)
	if err != nil {
		return r, err
	}
	cfg.Say("a version of %d bytes is on every disk, after %.1f s", cfg.Body, r.StageSeconds)
	steps := []func(context.Context) (sample, error){b.announce, b.activate, b.rollback}
	var results [3]samples // by step
	for round := range cfg.Rounds + 1 {
		// The steps take turns, so that a noisy minute disturbs all of them.
		var p99 [3]float64
		for i, step := range steps {
			s, err := step(ctx)
			if err != nil {
				return r, err
			}
			if round > 0 {
				results[i] = append(results[i], s)
			}
			p99[i] = s.applied.p99
		}
		cfg.Say("round %d: p99 %.1f, %.1f, %.1f ms", round, p99[0], p99[1], p99[2])
	}
	r.fill(results[0], results[1], results[2])
	return r, nil
}

// fill sets the fields that are medians of samples.
func (r *StagedResult) fill(announce, activate, rollback samples) {
	m := announce.medians(appliedOf)
	r.AnnounceP50 = m.p50
	r.AnnounceP99 = m.p99
	m = activate.medians(appliedOf)
	r.ActivateP50 = m.p50
	r.ActivateP99 = m.p99
	m = rollback.medians(appliedOf)
	r.RollbackP50 = m.p50
	r.RollbackP99 = m.p99
	var skews []float64
	for _, s := range activate {
		skews = append(skews, s.applied.max-s.applied.min)
	}
	r.Skew = median(skews)
	r.ActivateRatio = r.ActivateP99 / r.AnnounceP99
	r.RollbackRatio = r.RollbackP99 / r.AnnounceP99
}

func (c *StagedConfig) setDefaults() {
	c.Agents = cmp.Or(c.Agents, 1000)
	c.Body = cmp.Or(c.Body, 1<<20)
	c.Tiny = cmp.Or(c.Tiny, 256)
	c.Rounds = cmp.Or(c.Rounds, 15)
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
}

// stagedBench is a measurement of staged activations in progress.
type stagedBench struct {
	*fleet.Fleet
	cfg    StagedConfig
	events *recorder
}

// prepare makes every agent run version 1 of the staged config and hold version 2. It returns
// the time until version 2 was on every disk and active.
func (b *stagedBench) prepare(ctx context.Context) (seconds float64, err error) {
	if err := publishRandom(ctx, b.Fleet, stagedConfig, b.cfg.Tiny); err != nil {
		return 0, err
	}
	body := routes(b.cfg.Body)
	draft := api.Draft{Config: stagedConfig, Body: body, ContentType: "application/octet-stream"}
	if _, err := b.Client.Publish(ctx, draft, b.Key); err != nil {
		return 0, err
	}
	began := time.Now()
	_, err = b.activate(ctx)
	seconds = time.Since(began).Seconds()
	if err == nil {
		_, err = b.rollback(ctx)
	}
	return seconds, err
}

// routes returns a body of size bytes that resembles a config: many similar lines, which
// compress well.
func routes(size int64) []byte {
	var body bytes.Buffer
	for i := 0; int64(body.Len()) < size; i++ {
		fmt.Fprintf(&body, `{"route": "/api/v1/items/%d", "backend": "pool-%02d", "weight": %d, "timeout_ms": 1500}`+"\n",
			i, i%37, 10+i%90)
	}
	return body.Bytes()[:size]
}

// announce publishes a tiny version and times the move of the pointer to that version.
func (b *stagedBench) announce(ctx context.Context) (sample, error) {
	body := make([]byte, b.cfg.Tiny)
	rand.Read(body)
	draft := api.Draft{Config: tinyConfig, Body: body, ContentType: "application/octet-stream"}
	v, err := b.Client.Publish(ctx, draft, b.Key)
	if err != nil {
		return sample{}, err
	}
	b.settle()
	epochs, err := b.Activate(ctx, tinyConfig, v.Manifest.Version)
	if err != nil {
		return sample{}, err
	}
	return b.timed(ctx, tinyConfig, epochs)
}

// activate stages and activates version 2 by a rollout, and times the activation.
func (b *stagedBench) activate(ctx context.Context) (sample, error) {
	b.settle()
	ctx, cancel := context.WithTimeout(ctx, stageWait)
	defer cancel()
	plan := "stage: {share: 100%, timeout: 15m}\ngates: {minSuccess: 100%, timeout: 5m}"
	if _, err := b.Client.StartRollout(ctx, stagedConfig, api.StartRollout{Version: 2, Plan: plan}); err != nil {
		return sample{}, err
	}
	epochs := map[string]uint64{}
	err := fleet.Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		got, err := b.Client.Rollout(ctx, stagedConfig)
		for region, s := range got.Regions {
			epochs[region] = s.Epoch
		}
		if err == nil && got.Status != rollout.Done && got.Status.Over() {
			err = fmt.Errorf("the rollout was %s: %s", got.Status, got.Why)
		}
		return got.Status == rollout.Done, err
	})
	if err != nil {
		return sample{}, err
	}
	return b.timed(ctx, stagedConfig, epochs)
}

// rollback times the rollback to version 1.
func (b *stagedBench) rollback(ctx context.Context) (sample, error) {
	b.settle()
	back, err := b.Client.Rollback(ctx, stagedConfig, api.Rollback{To: 1})
	if err != nil {
		return sample{}, err
	}
	epochs := map[string]uint64{}
	for _, p := range back.Pointers {
		epochs[p.Region] = p.Epoch
	}
	return b.timed(ctx, stagedConfig, epochs)
}

// settle collects the garbage of the step before, so that the next step does not pay for it.
func (b *stagedBench) settle() {
	b.events.reset()
	runtime.GC()
}

// timed waits until every agent has applied the epochs and returns the latencies.
func (b *stagedBench) timed(ctx context.Context, config string, epochs map[string]uint64) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := b.WaitApplied(ctx, config, epochs); err != nil {
		return sample{}, err
	}
	return sample{applied: b.events.summary(agent.EventApplied, config, epochs)}, nil
}
