package fleet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/rollout"
)

// stage is a fleet whose rollouts a test watches.
type stage struct {
	*Fleet
	t      *testing.T
	ctx    context.Context
	mu     sync.Mutex
	ran    map[string]map[uint64]bool // versions that agents ran, by agent
	events []agent.Event
}

// newStage starts a fleet of two regions with n agents, of which every fifth is a canary.
func newStage(t *testing.T, n int, change func(c *Config)) *stage {
	t.Helper()
	ctx := t.Context()
	s := &stage{t: t, ctx: ctx, ran: map[string]map[uint64]bool{}}
	cfg := Config{Dir: t.TempDir(), Agents: n, Fanout: 4, HeadInterval: 200 * time.Millisecond, OnEvent: s.event,
		KeepAlive: 300 * time.Millisecond, IdleTimeout: 2 * time.Second}
	labels := func(i int, c *agent.Config) {
		if i%5 == 0 {
			c.Labels = map[string]string{"canary": "true"}
		}
	}
	cfg.OnAgent = labels
	if change != nil {
		change(&cfg)
		if more := cfg.OnAgent; fmt.Sprintf("%p", more) != fmt.Sprintf("%p", labels) {
			cfg.OnAgent = func(i int, c *agent.Config) { labels(i, c); more(i, c) }
		}
	}
	var err error
	if s.Fleet, err = Start(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	s.attach()
	return s
}

func (s *stage) attach() {
	s.t.Helper()
	s.until("the coordinator counts every agent", func() bool {
		status, err := s.Client.Status(s.ctx)
		sum := 0
		for _, n := range status.Agents {
			sum += n
		}
		return err == nil && sum == len(s.Agents)
	})
}

func (s *stage) event(e agent.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	if e.Kind == agent.EventApplied && e.Version != 0 {
		if s.ran[e.Agent] == nil {
			s.ran[e.Agent] = map[uint64]bool{}
		}
		s.ran[e.Agent][e.Version] = true
	}
}

// runners counts the agents that ever ran a version.
func (s *stage) runners(version uint64) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, versions := range s.ran {
		if versions[version] {
			n++
		}
	}
	return n
}

func (s *stage) until(what string, fn func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	if err := Poll(ctx, 10*time.Millisecond, func() (bool, error) { return fn(), nil }); err != nil {
		s.t.Fatalf("%s: %v\n%s", what, err, s.describe())
	}
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// describe tells how the fleet stands, for a test that waited in vain.
func (s *stage) describe() string {
	var b strings.Builder
	status, err := s.Client.Status(s.ctx)
	fmt.Fprintf(&b, "%+v %v\n", status, err)
	places, _ := s.Client.Agents(s.ctx)
	for _, p := range places {
		fmt.Fprintf(&b, "%+v\n", p)
	}
	for _, a := range s.Agents {
		got, _ := a.Status(s.ctx)
		fmt.Fprintf(&b, "%+v\n", got)
	}
	return b.String()
}

// publish stores a version without rolling it out.
func (s *stage) publish(config, body string) uint64 {
	s.t.Helper()
	v, err := s.Client.Publish(s.ctx, api.Draft{Config: config, Body: []byte(body), ContentType: draft.TypeText}, s.Key)
	if err != nil {
		s.t.Fatal(err)
	}
	return v.Manifest.Version
}

// rollOut starts a rollout.
func (s *stage) rollOut(config string, version uint64, plan string) {
	s.t.Helper()
	if _, err := s.Client.StartRollout(s.ctx, config, api.StartRollout{Version: version, Plan: plan}); err != nil {
		s.t.Fatal(err)
	}
}

// ends waits for the end of a config's rollout.
func (s *stage) ends(config string, want rollout.Status) (r api.Rollout) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	err := Poll(ctx, 10*time.Millisecond, func() (over bool, _ error) {
		got, err := s.Client.Rollout(s.ctx, config)
		if err == nil {
			r = got
		}
		return r.Status.Over(), nil
	})
	if err != nil {
		s.t.Fatalf("the rollout does not end: %s, seen %+v\n%s", r.Title, r.Seen, logOf(r))
	}
	if r.Status != want {
		s.t.Fatalf("the rollout ended as %s, want %s: %s\n%s", r.Status, want, r.Why, logOf(r))
	}
	return r
}

func logOf(r api.Rollout) string {
	var b strings.Builder
	for _, e := range r.Log {
		fmt.Fprintf(&b, "%s %s\n", e.At.Format("05.000"), e.What)
	}
	return b.String()
}

// everywhere waits until every agent's file holds body.
func (s *stage) everywhere(config, body string) {
	s.t.Helper()
	s.until(fmt.Sprintf("%q everywhere", body), func() bool {
		for i := range s.Agents {
			if got, err := os.ReadFile(filepath.Join(s.AgentDir(i), "configs", config, "value")); err != nil || string(got) != body {
				return false
			}
		}
		return true
	})
}
