// Package fleettest starts fleets for tests, and waits for what a test expects of them.
//
// Entry point: [Start]. The fleet ends with its test. A wait that lasts longer than Patience
// fails the test, and prints the state of the fleet.
package fleettest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/internal/fleet"
	"banyan/rollout"
)

// Patience is the longest time that a test waits for one condition.
const Patience = time.Minute

// Fleet is a fleet that ends with its test. Its methods fail the test on errors.
type Fleet struct {
	*fleet.Fleet
	t testing.TB

	mu     sync.Mutex
	events []agent.Event // guarded by mu
}

// Start starts a fleet, and waits until every agent has a parent and the leader counts every
// agent. The default of cfg.Dir is a directory that is removed with the test, and the default of
// cfg.HeadInterval is 200 ms.
func Start(t testing.TB, cfg fleet.Config) *Fleet {
	t.Helper()
	f := &Fleet{t: t}
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.HeadInterval == 0 {
		cfg.HeadInterval = 200 * time.Millisecond
	}
	onEvent := cfg.OnEvent
	cfg.OnEvent = func(e agent.Event) {
		f.record(e)
		if onEvent != nil {
			onEvent(e)
		}
	}
	var err error
	f.Fleet, err = fleet.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	})
	f.WaitAttached()
	f.WaitCounted()
	return f
}

// Canaries returns the configuration of a fleet for rollouts: n agents in two regions, of which
// every fifth has the label canary=true. A link to a dead peer ends after 2 s.
func Canaries(n int) fleet.Config {
	return fleet.Config{
		Agents:      n,
		Fanout:      4,
		KeepAlive:   300 * time.Millisecond,
		IdleTimeout: 2 * time.Second,
		OnAgent: func(i int, c *agent.Config) {
			if i%5 == 0 {
				c.Labels = map[string]string{"canary": "true"}
			}
		},
	}
}

func (f *Fleet) record(e agent.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
}

// Events returns the events of all agents so far, in the order in which they happened.
func (f *Fleet) Events() []agent.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events)
}

// Path returns the path of a file that agent i shows in the directory of config, such as "value".
func (f *Fleet) Path(i int, config string, file ...string) string {
	return filepath.Join(f.AgentDir(i), "configs", config, filepath.Join(file...))
}

// Store publishes a text as a new version of config, without a rollout, and returns the number of
// the version.
func (f *Fleet) Store(config, text string) uint64 {
	f.t.Helper()
	d := api.Draft{Config: config, Body: []byte(text), ContentType: draft.TypeText}
	v, err := f.Client.Publish(f.t.Context(), d, f.Key)
	if err != nil {
		f.t.Fatal(err)
	}
	return v.Manifest.Version
}

// Announce publishes body as a new version of config, and activates the version in every region
// without a rollout. It returns the version and the new epoch of each region.
func (f *Fleet) Announce(config string, body []byte) (api.Version, map[string]uint64) {
	f.t.Helper()
	d := api.Draft{Config: config, Body: body, ContentType: "application/octet-stream"}
	v, epochs, err := f.Publish(f.t.Context(), d)
	if err != nil {
		f.t.Fatal(err)
	}
	return v, epochs
}

// Spread is Announce, and waits until every agent shows the version.
func (f *Fleet) Spread(config string, body []byte) api.Version {
	f.t.Helper()
	v, epochs := f.Announce(config, body)
	f.WaitApplied(config, epochs)
	for i := range f.Agents {
		got, err := os.ReadFile(f.Path(i, config, "value"))
		if err != nil || !bytes.Equal(got, body) {
			f.t.Fatalf("agent %d shows %d bytes of %s, want %d: %v", i, len(got), config, len(body), err)
		}
	}
	return v
}

// RollOut starts a rollout of a version.
func (f *Fleet) RollOut(config string, version uint64, plan string) {
	f.t.Helper()
	_, err := f.Client.StartRollout(f.t.Context(), config, api.StartRollout{Version: version, Plan: plan})
	if err != nil {
		f.t.Fatal(err)
	}
}

// Install rolls out a text as a new version of config with the default plan, waits for the end of
// the rollout, and returns the number of the version.
func (f *Fleet) Install(config, text string) uint64 {
	f.t.Helper()
	version := f.Store(config, text)
	f.RollOut(config, version, "{}")
	f.WaitRollout(config, rollout.Done)
	return version
}

// Until waits until fn returns true.
func (f *Fleet) Until(what string, fn func() bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), Patience)
	defer cancel()
	err := fleet.Poll(ctx, 10*time.Millisecond, func() (bool, error) { return fn(), nil })
	if err != nil {
		f.t.Fatalf("waiting for %s: %v\n%s", what, err, f.describe())
	}
}

// WaitAttached waits until every agent has a parent.
func (f *Fleet) WaitAttached() {
	f.t.Helper()
	f.wait("every agent to have a parent", f.Fleet.WaitAttached)
}

// WaitApplied waits until every agent runs config at the epoch of the agent's region, or at a
// newer epoch.
func (f *Fleet) WaitApplied(config string, epochs map[string]uint64) {
	f.t.Helper()
	f.wait("every agent to run "+config, func(ctx context.Context) error {
		return f.Fleet.WaitApplied(ctx, config, epochs)
	})
}

func (f *Fleet) wait(what string, fn func(context.Context) error) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), Patience)
	defer cancel()
	if err := fn(ctx); err != nil {
		f.t.Fatalf("waiting for %s: %v\n%s", what, err, f.describe())
	}
}

// WaitCounted waits until the census of the leader has every agent. A rollout that starts earlier
// counts too few hosts.
func (f *Fleet) WaitCounted() {
	f.t.Helper()
	f.Until("the leader to count every agent", func() bool {
		status, err := f.Client.Status(f.t.Context())
		sum := 0
		for _, n := range status.Agents {
			sum += n
		}
		return err == nil && sum == len(f.Agents)
	})
}

// WaitShown waits until every agent shows a text as config.
func (f *Fleet) WaitShown(config, text string) {
	f.t.Helper()
	f.Until(fmt.Sprintf("%q everywhere", text), func() bool {
		for i := range f.Agents {
			got, err := os.ReadFile(f.Path(i, config, "value"))
			if err != nil || string(got) != text {
				return false
			}
		}
		return true
	})
}

// WaitBaking waits until the newest rollout of config bakes a wave.
func (f *Fleet) WaitBaking(config string) {
	f.t.Helper()
	f.Until("the bake of "+config, func() bool {
		r, _ := f.Client.Rollout(f.t.Context(), config)
		return r.Part == rollout.Baking
	})
}

// WaitRollout waits until the newest rollout of config ends, with a status that must be want.
func (f *Fleet) WaitRollout(config string, want rollout.Status) api.Rollout {
	f.t.Helper()
	var r api.Rollout
	f.Until("the end of the rollout of "+config, func() bool {
		got, err := f.Client.Rollout(f.t.Context(), config)
		if err == nil {
			r = got
		}
		return err == nil && r.Status.Over()
	})
	if r.Status != want {
		f.t.Fatalf("the rollout ended as %s, want %s: %s\n%s", r.Status, want, r.Why, Log(r))
	}
	return r
}

// Log returns the log of a rollout, a line for each entry.
func Log(r api.Rollout) string {
	var b strings.Builder
	for _, e := range r.Log {
		fmt.Fprintf(&b, "%s %s\n", e.At.Format("05.000"), e.What)
	}
	return b.String()
}

// describe returns the state of the leader, its rollouts and all agents.
func (f *Fleet) describe() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var b strings.Builder
	status, err := f.Client.Status(ctx)
	fmt.Fprintf(&b, "%+v %v\n", status, err)
	rollouts, _ := f.Client.Rollouts(ctx, "")
	for _, r := range rollouts {
		fmt.Fprintf(&b, "%s: %s, seen %+v\n%s", r.Config, r.Title, r.Seen, Log(r))
	}
	places, _ := f.Client.Agents(ctx)
	for _, p := range places {
		fmt.Fprintf(&b, "%+v\n", p)
	}
	for _, a := range f.Agents {
		s, _ := a.Status(ctx)
		fmt.Fprintf(&b, "%+v\n", s)
	}
	return b.String()
}
