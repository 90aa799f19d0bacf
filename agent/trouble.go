package agent

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"banyan/internal/episode"
)

// trouble is why an agent has no parent. A host that can't resolve, reach, or be accepted by its
// coordinator says so once for each cause, and what to do about it.
type trouble struct {
	log     *slog.Logger
	metrics *agentMetrics
	episode episode.Set[string]

	mu     sync.Mutex
	causes map[string]bool // since the agent was attached last
	reason string          // of the last attempt; "" while the agent is attached
	since  time.Time       // when the agent was alone first
}

// cause is a class of reasons why an attempt to find a parent fails.
type cause struct {
	name  string // label of the metric
	signs []string
	hint  string
}

// causes lists what can be told from a reason. The first match counts.
var causes = []cause{
	{"name", []string{"lookup ", "no such host"},
		"the name of the coordinator does not resolve: check --join, and the resolver of this host"},
	{"authority", []string{"certificate signed by unknown authority", "unknown certificate authority", "bad certificate"},
		"this host and the coordinator do not trust each other: its identity may be of another fleet, or expired; issue it again (banyan cert agent)"},
	{"identity", []string{"identity refused", "certificate has expired", "certificate required", "not yet valid"},
		"the coordinator does not accept the identity of this host: issue it again (banyan cert agent), and check the clocks"},
	{"protocol", []string{"no application protocol"},
		"this build and the coordinator's speak no common version of the protocol: update the older of the two"},
	{"region", []string{"serves region", "is of region"},
		"the identity of this host is of another region: check --join, or issue an identity of that region (banyan cert agent)"},
	{"role", []string{"answers, and no coordinator"},
		"another host answers at the address of the coordinator: check --join; if it is right, find out what runs on that host"},
	{"busy", []string{"too many join at once", "no place at the moment"},
		"many hosts join at once: this host asks again by itself"},
	{"full", []string{"tree is full"},
		"the coordinator has as many hosts as it takes: add a coordinator to the region"},
	{"refused", []string{"join refused", "attach refused"},
		"see the log of the coordinator"},
	{"unreachable", []string{"timeout", "no recent network activity", "unreachable", "refused", "lost", "timed out"},
		"no answer over UDP: check that a coordinator listens there, the firewalls, and that packets of 1,280 bytes pass"},
}

// causeOf returns the cause for a reason.
func causeOf(reason string) cause {
	for _, c := range causes {
		for _, sign := range c.signs {
			if strings.Contains(reason, sign) {
				return c
			}
		}
	}
	return cause{name: "other", hint: "the agent goes on trying, and serves what it has"}
}

// alone notes an attempt to find a parent that failed.
func (t *trouble) alone(coordinator, reason string) {
	c := causeOf(reason)
	t.metrics.alone(c.name)
	first := slog.LevelWarn
	if c.name == "busy" {
		first = slog.LevelInfo
	}
	level := t.episode.Level(c.name, first)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.causes == nil {
		t.causes = map[string]bool{}
		t.since = time.Now()
	}
	t.causes[c.name] = true
	t.reason = reason
	t.log.Log(context.Background(), level, "no parent; this host serves what it has, and goes on trying",
		"coordinator", coordinator, "reason", reason, "hint", c.hint)
}

// attached ends the trouble.
func (t *trouble) attached() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.causes {
		t.episode.End(name)
	}
	t.causes = nil
	t.reason = ""
}

// String describes the trouble in one line; "" if there is none.
func (t *trouble) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reason == "" {
		return ""
	}
	return fmt.Sprintf("no parent for %s: %s (%s)", time.Since(t.since).Round(time.Second), t.reason, causeOf(t.reason).hint)
}
