package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/internal/fleet"
	"banyan/record"
)

// DemoConfig configures Demo. A zero field has the default that its comment names.
type DemoConfig struct {
	// Dir is the directory of the fleet; default a temporary directory, which Demo removes.
	Dir string
	// Agents is the number of agents; default 50.
	Agents  int
	Regions []string
	// Examples are the drafts to publish. The first one is then changed and rolled back.
	Examples []api.Draft
	// Changed is the body of the first example's second version.
	Changed []byte
	// Say, if not nil, is called with every step.
	Say func(format string, args ...any)
}

// DemoStep is one step of the demo, and the time until every agent had applied it.
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

// DemoResult is the result of Demo.
type DemoResult struct {
	Agents  int        `json:"agents"`
	Regions []string   `json:"regions"`
	Steps   []DemoStep `json:"steps"`
	Refused Refusals   `json:"refused"`
}

// Refusals says, for each attack, whether the agent refused the attack and kept its version.
type Refusals struct {
	TamperedBody         bool `json:"tampered_body"`
	TamperedAnnouncement bool `json:"tampered_announcement"`
	ReplayedPointer      bool `json:"replayed_pointer"`
}

// All reports whether every attack was refused.
func (r Refusals) All() bool {
	return r.TamperedBody && r.TamperedAnnouncement && r.ReplayedPointer
}

// Demo runs a fleet through the life of a config: publish, change, roll back, and then
// attacks by a lying parent. All processes have ended when Demo returns.
func Demo(ctx context.Context, cfg DemoConfig) (result DemoResult, err error) {
	if cfg.Agents == 0 {
		cfg.Agents = 50
	}
	if cfg.Say == nil {
		cfg.Say = func(string, ...any) {}
	}
	if cfg.Dir == "" {
		cfg.Dir, err = os.MkdirTemp("", "banyan-demo-")
		if err != nil {
			return result, err
		}
		defer os.RemoveAll(cfg.Dir)
	}
	timings := newRecorder()
	f, err := fleet.Start(ctx, fleet.Config{
		Dir:     cfg.Dir,
		Agents:  cfg.Agents,
		Regions: cfg.Regions,
		Fanout:  8,
		OnEvent: timings.event,
	})
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, f.Stop()) }()
	result.Agents, result.Regions = cfg.Agents, f.Config.Regions
	cfg.Say("started %d coordinators and %d agents, each with its own socket and store",
		len(f.Coordinators), cfg.Agents)
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

// demo is a demo in progress.
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

// publish publishes a draft and activates the new version.
func (d *demo) publish(name string, draft api.Draft) error {
	v, err := d.fleet.Client.Publish(d.ctx, draft, d.fleet.Key)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return d.activate(name, draft.Config, v.Manifest.Version)
}

// activate moves the pointers of a config and waits until every agent has applied the
// version.
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
	// An agent writes the files of a version shortly before it reports the event.
	var applied summary
	err = fleet.Poll(d.ctx, time.Millisecond, func() (bool, error) {
		applied = d.timings.summary(agent.EventApplied, config, epochs)
		return applied.count == len(d.fleet.Agents), nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	d.result.Steps = append(d.result.Steps, DemoStep{
		Name:    name,
		Config:  config,
		Version: version,
		Epochs:  epochs,
		Applied: applied.count,
		P50Ms:   applied.p50,
		P99Ms:   applied.p99,
		MaxMs:   applied.max,
	})
	d.say("%s: version %d on all %d hosts after %.0f ms", name, version, applied.count, applied.max)
	return nil
}

// checkFiles returns an error if the file of a config on any host does not have the content
// of the version.
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

// checkFile returns an error if the content of a file does not have the digest want.
func checkFile(path string, want record.Digest) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, err := record.SumReader(f)
	if err != nil {
		return err
	}
	if sum != want {
		return fmt.Errorf("%s: %w", path, record.ErrChecksum)
	}
	return nil
}
