package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"banyan/agent"
	"banyan/bench/fleet"
	"banyan/coordinator/api"
)

// DemoConfig shapes the demo. A zero value means the default where one is named.
type DemoConfig struct {
	Dir     string // default: a temporary directory, removed at the end
	Agents  int    // default 50
	Regions []string
	// Examples are the drafts to publish; the first is then changed and rolled back.
	Examples []api.Draft
	// Changed is the body of the first example's second version.
	Changed []byte
	// Say, if set, is told what happens as it does.
	Say func(format string, args ...any)
}

// DemoStep is one thing the demo did and how long it took to reach everybody.
type DemoStep struct {
	Name    string            `json:"name"`
	Config  string            `json:"config"`
	Version uint64            `json:"version"`
	Epochs  map[string]uint64 `json:"epochs"`
	Applied int               `json:"applied"`
	P50Ms   float64           `json:"p50_ms"`
	P99Ms   float64           `json:"p99_ms"`
	MaxMs   float64           `json:"max_ms"`
}

// DemoResult is what the demo found.
type DemoResult struct {
	Agents  int        `json:"agents"`
	Regions []string   `json:"regions"`
	Steps   []DemoStep `json:"steps"`
	Refused Refusals   `json:"refused"`
}

// Refusals says of each attack whether the agent refused it and kept what it ran.
type Refusals struct {
	TamperedBody         bool `json:"tampered_body"`
	TamperedAnnouncement bool `json:"tampered_announcement"`
	ReplayedPointer      bool `json:"replayed_pointer"`
}

// All tells whether every attack was refused.
func (r Refusals) All() bool {
	return r.TamperedBody && r.TamperedAnnouncement && r.ReplayedPointer
}

// Demo runs a fleet through the life of a config: publish, change, roll back,
// then attacks by a parent that lies. It leaves nothing running.
func Demo(ctx context.Context, cfg DemoConfig) (result DemoResult, err error) {
	if cfg.Agents == 0 {
		cfg.Agents = 50
	}
	if cfg.Say == nil {
		cfg.Say = func(string, ...any) {}
	}
	if cfg.Dir == "" {
		if cfg.Dir, err = os.MkdirTemp("", "banyan-demo-"); err != nil {
			return result, err
		}
		defer os.RemoveAll(cfg.Dir)
	}
	timings := newRecorder()
	f, err := fleet.Start(ctx, fleet.Config{Dir: cfg.Dir, Agents: cfg.Agents, Regions: cfg.Regions, Fanout: 8, OnEvent: timings.event})
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, f.Stop()) }()
	result.Agents, result.Regions = cfg.Agents, f.Config.Regions
	cfg.Say("started %d coordinators and %d agents, each with its own socket and store", len(f.Coordinators), cfg.Agents)
	if err := f.WaitAttached(ctx); err != nil {
		return result, fmt.Errorf("agents did not all join: %w", err)
	}
	d := &demo{ctx: ctx, fleet: f, timings: timings, say: cfg.Say, result: &result}
	if err := d.life(cfg.Examples, cfg.Changed); err != nil {
		return result, err
	}
	result.Refused, err = attack(ctx, f, cfg.Examples[0].Config, cfg.Say)
	return result, err
}

type demo struct {
	ctx     context.Context
	fleet   *fleet.Fleet
	timings *recorder
	say     func(string, ...any)
	result  *DemoResult
}

// life publishes every example, changes the first and rolls it back.
func (d *demo) life(examples []api.Draft, changed []byte) error {
	for _, draft := range examples {
		if err := d.publish("publish "+draft.Config, draft); err != nil {
			return err
		}
	}
	second := examples[0]
	second.Body, second.Message = changed, "a change"
	if err := d.publish("change "+second.Config, second); err != nil {
		return err
	}
	return d.activate("roll back "+second.Config, second.Config, 1)
}

func (d *demo) publish(name string, draft api.Draft) error {
	v, err := d.fleet.Client.Publish(d.ctx, draft, d.fleet.Key)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return d.activate(name, draft.Config, v.Manifest.Version)
}

func (d *demo) activate(name, config string, version uint64) error {
	epochs, err := d.fleet.Activate(d.ctx, config, version)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := d.fleet.WaitApplied(d.ctx, config, epochs); err != nil {
		return fmt.Errorf("%s: not applied everywhere: %w", name, err)
	}
	if err := d.checkFiles(config, version); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	// An agent shows a version a moment before it reports the event.
	var applied summary
	err = fleet.Poll(d.ctx, time.Millisecond, func() (bool, error) {
		applied = d.timings.summary(agent.EventApplied, config, epochs)
		return applied.count == len(d.fleet.Agents), nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	d.result.Steps = append(d.result.Steps, DemoStep{Name: name, Config: config, Version: version, Epochs: epochs,
		Applied: applied.count, P50Ms: applied.p50, P99Ms: applied.p99, MaxMs: applied.max})
	d.say("%s: version %d on all %d hosts after %.0f ms", name, version, applied.count, applied.max)
	return nil
}

// checkFiles reads what programs on each host would read.
func (d *demo) checkFiles(config string, version uint64) error {
	v, err := d.fleet.Client.Version(d.ctx, config, version)
	if err != nil {
		return err
	}
	for i := range d.fleet.Agents {
		path := filepath.Join(d.fleet.AgentDir(i), "configs", filepath.FromSlash(config), "value")
		if err := checkFile(path, v.Manifest.BodySHA256); err != nil {
			return err
		}
	}
	return nil
}

// recorder gathers the agents' events.
type recorder struct {
	mu     sync.Mutex
	events []agent.Event // guarded by mu
}

func newRecorder() *recorder { return &recorder{} }

func (r *recorder) event(e agent.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = r.events[:0]
}
