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
	"banyan/bench/fleet"
	"banyan/coordinator/api"
	"banyan/rollout"
)

// DemoRolloutConfig shapes the demo of a rollout. A zero value means the default where one
// is named.
type DemoRolloutConfig struct {
	Dir    string // default: a temporary directory, removed at the end
	Agents int    // default 60, a tenth of them canaries
	Say    func(format string, args ...any)
}

// DemoEvent is a line of the timeline.
type DemoEvent struct {
	Seconds float64 `json:"s"` // since the start of the bad version's rollout
	What    string  `json:"what"`
}

// DemoRolloutResult is what became of a bad version.
type DemoRolloutResult struct {
	Agents   int         `json:"agents"`
	Canaries int         `json:"canaries"`
	Refused  int         `json:"refused"` // hosts whose check refused it
	Ran      int         `json:"ran"`     // hosts that ever ran it
	Status   string      `json:"status"`
	Why      string      `json:"why"`
	Timeline []DemoEvent `json:"timeline"`
	// DecideMs and BackMs are from the first refusal to the decision, and from that to the
	// last host's return.
	DecideMs float64 `json:"decide_ms"`
	BackMs   float64 `json:"back_ms"`
}

// Contained tells whether the version was taken back before it left the canaries.
func (r DemoRolloutResult) Contained() bool {
	return r.Status == string(rollout.RolledBack) && r.Ran < r.Canaries && r.Refused > 0
}

// demoPlan is the plan of the demo: canaries, then a quarter, then everybody.
const demoPlan = `
waves:
- {labels: {canary: true}, bake: 2s}
- {share: 25%, bake: 2s}
- {share: 100%, bake: 1s}
gates: {minSuccess: 90%}
`

const demoConfig = "edge/proxy"

// DemoRollout rolls out a good version, then one that a third of the hosts' checks refuse.
func DemoRollout(ctx context.Context, cfg DemoRolloutConfig) (r DemoRolloutResult, err error) {
	if cfg.Agents == 0 {
		cfg.Agents = 60
	}
	if cfg.Say == nil {
		cfg.Say = func(string, ...any) {}
	}
	if cfg.Dir == "" {
		if cfg.Dir, err = os.MkdirTemp("", "banyan-demo-"); err != nil {
			return r, err
		}
		defer os.RemoveAll(cfg.Dir)
	}
	d := &demoRollout{cfg: cfg, ran: map[string]bool{}, refused: map[string]bool{}, left: map[string]bool{}}
	d.Fleet, err = fleet.Start(ctx, fleet.Config{Dir: cfg.Dir, Agents: cfg.Agents, Fanout: 8, OnEvent: d.event, OnAgent: d.configure})
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
	cfg.Say("%d agents in two regions, %d of them canaries; a third of them can't use what is deprecated", cfg.Agents, r.Canaries)
	good, err := d.roll(ctx, "listen 443\nproto h2\n")
	if err != nil {
		return r, err
	}
	cfg.Say("version 1 is %s, everywhere", good.Status)
	bad, err := d.roll(ctx, "listen 443\nproto spdy # deprecated\n")
	if err != nil {
		return r, err
	}
	d.fill(&r, bad)
	return r, nil
}

// demoRollout watches what hosts do with the bad version, which is the second.
type demoRollout struct {
	*fleet.Fleet
	cfg DemoRolloutConfig

	mu           sync.Mutex
	ran, refused map[string]bool // by agent; guarded by mu, like all below
	left         map[string]bool
	events       []agent.Event
}

// isCanary is so of a tenth of the agents, in both regions.
func isCanary(i int) bool { return i%20 == 0 || i%20 == 11 }

// configure makes every tenth agent a canary, and gives a third a check that refuses what
// is deprecated, as an old release of the program would.
func (d *demoRollout) configure(i int, c *agent.Config) {
	if isCanary(i) {
		c.Labels = map[string]string{"canary": "true"}
	}
	check := "true"
	if (i/2)%3 == 0 {
		check = `! grep deprecated "$BANYAN_PATH" || { echo "unknown protocol"; exit 1; }`
	}
	c.Hooks, _ = agent.NewHooks(agent.Rule{Config: "*", Check: &agent.Check{Command: []string{"/bin/sh", "-c", check}}})
}

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
	v, err := d.Client.Publish(ctx, api.Draft{Config: demoConfig, Body: []byte(body), ContentType: "text/plain"}, d.Key)
	if err != nil {
		return r, err
	}
	if _, err := d.Client.StartRollout(ctx, demoConfig, api.StartRollout{Version: v.Manifest.Version, Plan: demoPlan}); err != nil {
		return r, err
	}
	err = fleet.Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		got, err := d.Client.Rollout(ctx, demoConfig)
		if r = got; err != nil || !r.Status.Over() {
			return false, err
		}
		return d.settled(), nil
	})
	return r, err
}

// settled tells whether every host shows what its pointer says.
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

// fill makes the timeline of what the controller and the hosts did.
func (d *demoRollout) fill(r *DemoRolloutResult, bad api.Rollout) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.Ran, r.Refused, r.Status, r.Why = len(d.ran), len(d.refused), string(bad.Status), bad.Why
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
			all = append(all, moment{e.At, "  " + e.Agent + " refuses it: " + e.Reason})
		case e.Version == 2:
			all = append(all, moment{e.At, "  " + e.Agent + " runs it"})
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
