package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/internal/fleet"
	"banyan/rollout"
)

// DemoRolloutConfig configures DemoRollout. A zero field has the default that its comment
// names.
type DemoRolloutConfig struct {
	// Dir is the directory of the fleet; default a temporary directory, which DemoRollout
	// removes.
	Dir string
	// Agents is the number of agents, of which a tenth are canaries; default 60.
	Agents int
	Say    func(format string, args ...any)
}

// DemoEvent is a line of the timeline.
type DemoEvent struct {
	// Seconds is the time since the start of the bad version's rollout.
	Seconds float64 `json:"s"`
	What    string  `json:"what"`
}

// DemoRolloutResult is the result of DemoRollout: how the bad version fared.
type DemoRolloutResult struct {
	Agents   int `json:"agents"`
	Canaries int `json:"canaries"`
	// Refused counts the hosts whose check refused the version.
	Refused int `json:"refused"`
	// Ran counts the hosts that ran the version at any time.
	Ran      int         `json:"ran"`
	Status   string      `json:"status"`
	Why      string      `json:"why"`
	Timeline []DemoEvent `json:"timeline"`
	// DecideMs is the time from the first refusal to the decision to roll back.
	DecideMs float64 `json:"decide_ms"`
	// BackMs is the time from the decision to the return of the last host.
	BackMs float64 `json:"back_ms"`
}

// Contained reports whether the version was rolled back before it left the canaries.
func (r DemoRolloutResult) Contained() bool {
	return r.Status == string(rollout.RolledBack) && r.Ran < r.Canaries && r.Refused > 0
}

// demoPlan is the plan of the demo: canaries, then a quarter of the hosts, then all hosts.
const demoPlan = `
waves:
- {labels: {canary: true}, bake: 2s}
- {share: 25%, bake: 2s}
- {share: 100%, bake: 1s}
gates: {minSuccess: 90%}
`

const demoConfig = "edge/proxy"

// DemoRollout rolls out a good version, and then a bad version, which the checks of a third of
// the hosts refuse.
func DemoRollout(ctx context.Context, cfg DemoRolloutConfig) (r DemoRolloutResult, err error) {
	if cfg.Agents == 0 {
		cfg.Agents = 60
	}
	if cfg.Say == nil {
		cfg.Say = func(string, ...any) {}
	}
	if cfg.Dir == "" {
		cfg.Dir, err = os.MkdirTemp("", "banyan-demo-")
		if err != nil {
			return r, err
		}
		defer os.RemoveAll(cfg.Dir)
	}
	d := &demoRollout{
		cfg:     cfg,
		ran:     map[string]bool{},
		refused: map[string]bool{},
		left:    map[string]bool{},
	}
	d.Fleet, err = fleet.Start(ctx, fleet.Config{
		Dir:     cfg.Dir,
		Agents:  cfg.Agents,
		Fanout:  8,
		OnEvent: d.event,
		OnAgent: d.configure,
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	if err := d.WaitAttached(ctx); err != nil {
		return r, fmt.Errorf("agents did not all join: %w", err)
	}
	r.Agents = cfg.Agents
	for i := range cfg.Agents {
		if isCanary(i) {
			r.Canaries++
		}
	}
	cfg.Say("%d agents in two regions, %d of them canaries; a third of them refuse deprecated settings",
		cfg.Agents, r.Canaries)
	good, err := d.roll(ctx, "listen 443\nproto h2\n")
	if err != nil {
		return r, err
	}
	cfg.Say("version 1 is %s on all hosts", good.Status)
	bad, err := d.roll(ctx, "listen 443\nproto spdy # deprecated\n")
	if err != nil {
		return r, err
	}
	d.fill(&r, bad)
	return r, nil
}

// demoRollout is a fleet, and what its hosts do with the bad version, which is version 2.
type demoRollout struct {
	*fleet.Fleet
	cfg DemoRolloutConfig

	mu      sync.Mutex // guards the fields below
	ran     map[string]bool
	refused map[string]bool
	left    map[string]bool
	events  []agent.Event
}

// isCanary reports whether agent number i is a canary: a tenth of the agents of each region.
func isCanary(i int) bool { return i%20 == 0 || i%20 == 11 }

// configure makes every tenth agent a canary. It gives a third of the agents a check that
// refuses a deprecated setting, as an old release of a program does.
func (d *demoRollout) configure(i int, c *agent.Config) {
	if isCanary(i) {
		c.Labels = map[string]string{"canary": "true"}
	}
	check := "true"
	if (i/2)%3 == 0 {
		check = `! grep deprecated "$BANYAN_PATH" || { echo "unknown protocol"; exit 1; }`
	}
	c.Hooks, _ = agent.NewHooks(agent.Rule{
		Config: "*",
		Check:  &agent.Check{Command: []string{"/bin/sh", "-c", check}},
	})
}

// event keeps the first refusal, the first apply of version 2 and the return of each host.
func (d *demoRollout) event(e agent.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case e.Kind == agent.EventApplied && e.Version == 2:
		d.ran[e.Agent] = true
	case e.Kind == agent.EventFailed && e.Version == 2:
		if d.refused[e.Agent] {
			return
		}
		d.refused[e.Agent] = true
	case e.Kind == agent.EventApplied && d.ran[e.Agent] && e.Version == 1 && !d.left[e.Agent]:
		d.left[e.Agent] = true
	default:
		return
	}
	d.events = append(d.events, e)
}

// roll publishes a version and follows its rollout to the end.
func (d *demoRollout) roll(ctx context.Context, body string) (r api.Rollout, err error) {
	draft := api.Draft{Config: demoConfig, Body: []byte(body), ContentType: "text/plain"}
	v, err := d.Client.Publish(ctx, draft, d.Key)
	if err != nil {
		return r, err
	}
	start := api.StartRollout{Version: v.Manifest.Version, Plan: demoPlan}
	if _, err := d.Client.StartRollout(ctx, demoConfig, start); err != nil {
		return r, err
	}
	err = fleet.Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		got, err := d.Client.Rollout(ctx, demoConfig)
		r = got
		if err != nil || !r.Status.Over() {
			return false, err
		}
		return d.settled(), nil
	})
	return r, err
}

// settled reports whether the files of the config are the same on all hosts.
func (d *demoRollout) settled() bool {
	want := ""
	for i := range d.Agents {
		got, err := os.ReadFile(filepath.Join(d.AgentDir(i), "configs", demoConfig, "value"))
		if err != nil || want != "" && string(got) != want {
			return false
		}
		want = string(got)
	}
	return true
}

// fill sets the result from the log of the bad rollout and the events of the hosts.
func (d *demoRollout) fill(r *DemoRolloutResult, bad api.Rollout) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.Ran = len(d.ran)
	r.Refused = len(d.refused)
	r.Status = string(bad.Status)
	r.Why = bad.Why
	var firstRefusal, lastReturn time.Time
	type moment struct {
		at   time.Time
		what string
	}
	var all []moment
	for _, e := range bad.Log {
		all = append(all, moment{e.At, e.What})
	}
	for _, e := range d.events {
		switch {
		case e.Kind == agent.EventFailed:
			if firstRefusal.IsZero() {
				firstRefusal = e.At
			}
			all = append(all, moment{e.At, "  " + e.Agent + " refuses version 2: " + e.Reason})
		case e.Version == 2:
			all = append(all, moment{e.At, "  " + e.Agent + " runs version 2"})
		default:
			lastReturn = e.At
			all = append(all, moment{e.At, "  " + e.Agent + " is back at version 1"})
		}
	}
	slices.SortStableFunc(all, func(a, b moment) int { return a.at.Compare(b.at) })
	for _, m := range all {
		r.Timeline = append(r.Timeline, DemoEvent{m.at.Sub(bad.Started).Seconds(), m.what})
	}
	ms := func(from, to time.Time) float64 { return float64(to.Sub(from).Microseconds()) / 1000 }
	if !firstRefusal.IsZero() && !bad.Decided.IsZero() {
		r.DecideMs = ms(firstRefusal, bad.Decided)
	}
	if !lastReturn.IsZero() {
		r.BackMs = ms(bad.Decided, lastReturn)
	}
}
