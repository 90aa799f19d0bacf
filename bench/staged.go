package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"banyan/agent"
	"banyan/bench/fleet"
	"banyan/coordinator/api"
	"banyan/rollout"
)

// StagedConfig shapes a measurement of staged activations. A zero value means the default
// where one is named.
type StagedConfig struct {
	Dir    string // where a temporary directory is made; default the system's
	Agents int    // default 1000
	Body   int64  // of the staged version, in bytes; default 1 MiB
	Tiny   int64  // of the yardstick, in bytes; default 256
	Rounds int    // default 15, after one that is not counted
	Say    func(format string, args ...any)
}

// StagedResult tells how long pointers take to go live, from their signing to the durable
// apply at an agent. Times are medians over the rounds, in milliseconds.
type StagedResult struct {
	Agents int   `json:"agents"`
	Body   int64 `json:"body_bytes"`
	Rounds int   `json:"rounds"`
	// A tiny version, announced, pushed and applied: the yardstick.
	AnnounceP50 float64 `json:"announce_p50_ms"`
	AnnounceP99 float64 `json:"announce_p99_ms"`
	// The staged version, made live by a rollout's second step.
	ActivateP50 float64 `json:"activate_p50_ms"`
	ActivateP99 float64 `json:"activate_p99_ms"`
	// That taken back.
	RollbackP50 float64 `json:"rollback_p50_ms"`
	RollbackP99 float64 `json:"rollback_p99_ms"`
	// Skew is the time between the first and the last host's activation.
	Skew          float64 `json:"skew_ms"`
	ActivateRatio float64 `json:"activate_ratio"` // of the 99th percentiles, over the yardstick's
	RollbackRatio float64 `json:"rollback_ratio"`
	// StageSeconds is how long the body took to every disk, the first time.
	StageSeconds float64 `json:"stage_s"`
}

const (
	tinyConfig   = "bench/tiny"
	stagedConfig = "bench/staged"
	// stageWait is how long a body may take to every agent of one machine.
	stageWait = 10 * time.Minute
)

// Staged measures.
func Staged(ctx context.Context, cfg StagedConfig) (r StagedResult, err error) {
	cfg.setDefaults()
	if cfg.Dir, err = os.MkdirTemp(cfg.Dir, "banyan-bench-"); err != nil {
		return r, err
	}
	defer os.RemoveAll(cfg.Dir)
	b := stagedBench{cfg: cfg, events: newRecorder()}
	b.Fleet, err = fleet.Start(ctx, fleet.Config{Dir: cfg.Dir, Agents: cfg.Agents, Regions: []string{"bench"}, OnEvent: b.events.event})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.Stop()) }()
	if err := b.WaitAttached(ctx); err != nil {
		return r, fmt.Errorf("agents did not all join: %w", err)
	}
	cfg.Say("%d agents are attached", cfg.Agents)
	r = StagedResult{Agents: cfg.Agents, Body: cfg.Body, Rounds: cfg.Rounds}
	if r.StageSeconds, err = b.prepare(ctx); err != nil {
		return r, err
	}
	cfg.Say("a version of %d bytes is on every disk, after %.1f s", cfg.Body, r.StageSeconds)
	var announce, activate, rollback samples
	for round := range cfg.Rounds + 1 {
		var three [3]sample // in turn, so that a noisy minute is noise for all
		for i, step := range []func(context.Context) (sample, error){b.announce, b.activate, b.rollback} {
			if three[i], err = step(ctx); err != nil {
				return r, err
			}
		}
		if round > 0 {
			announce, activate, rollback = append(announce, three[0]), append(activate, three[1]), append(rollback, three[2])
		}
		cfg.Say("round %d: p99 %.1f, %.1f, %.1f ms", round, three[0].applied.p99, three[1].applied.p99, three[2].applied.p99)
	}
	var most float64
	applied := func(s sample) summary { return s.applied }
	announce.fill(&r.AnnounceP50, &r.AnnounceP99, &most, applied)
	rollback.fill(&r.RollbackP50, &r.RollbackP99, &most, applied)
	activate.fill(&r.ActivateP50, &r.ActivateP99, &most, applied)
	var skews []float64
	for _, s := range activate {
		skews = append(skews, s.applied.max-s.applied.min)
	}
	r.Skew = median(skews)
	r.ActivateRatio, r.RollbackRatio = r.ActivateP99/r.AnnounceP99, r.RollbackP99/r.AnnounceP99
	return r, nil
}

func (c *StagedConfig) setDefaults() {
	if c.Agents == 0 {
		c.Agents = 1000
	}
	if c.Body == 0 {
		c.Body = 1 << 20
	}
	if c.Tiny == 0 {
		c.Tiny = 256
	}
	if c.Rounds == 0 {
		c.Rounds = 15
	}
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
}

type stagedBench struct {
	*fleet.Fleet
	cfg    StagedConfig
	events *recorder
}

// prepare has every agent run a first version of the staged config, and hold a second.
func (b *stagedBench) prepare(ctx context.Context) (seconds float64, err error) {
	if err := publishRandom(ctx, b.Fleet, stagedConfig, b.cfg.Tiny); err != nil {
		return 0, err
	}
	body := routes(b.cfg.Body)
	if _, err := b.Client.Publish(ctx, api.Draft{Config: stagedConfig, Body: body, ContentType: "application/octet-stream"}, b.Key); err != nil {
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

// routes makes a body of a size such as configs are: lines of much the same.
func routes(size int64) []byte {
	var body bytes.Buffer
	for i := 0; int64(body.Len()) < size; i++ {
		fmt.Fprintf(&body, "{\"route\": \"/api/v1/items/%d\", \"backend\": \"pool-%02d\", \"weight\": %d, \"timeout_ms\": 1500}\n", i, i%37, 10+i%90)
	}
	return body.Bytes()[:size]
}

// announce publishes a tiny version and moves the pointer to it.
func (b *stagedBench) announce(ctx context.Context) (sample, error) {
	body := make([]byte, b.cfg.Tiny)
	rand.Read(body)
	v, err := b.Client.Publish(ctx, api.Draft{Config: tinyConfig, Body: body, ContentType: "application/octet-stream"}, b.Key)
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

// activate rolls the second version out: staged, then activated. Timed is the second step.
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

func (b *stagedBench) rollback(ctx context.Context) (sample, error) {
	b.settle()
	pointers, err := b.Client.Rollback(ctx, stagedConfig, api.Rollback{To: 1})
	if err != nil {
		return sample{}, err
	}
	epochs := map[string]uint64{}
	for _, p := range pointers {
		epochs[p.Region] = p.Epoch
	}
	return b.timed(ctx, stagedConfig, epochs)
}

// settle lets no step pay for the garbage of the one before.
func (b *stagedBench) settle() {
	b.events.reset()
	runtime.GC()
}

func (b *stagedBench) timed(ctx context.Context, config string, epochs map[string]uint64) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := b.WaitApplied(ctx, config, epochs); err != nil {
		return sample{}, err
	}
	return sample{applied: b.events.summary(agent.EventApplied, config, epochs)}, nil
}
