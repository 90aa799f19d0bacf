package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/internal/fleet"
)

// Disturbed is the result of an update that was announced when relays were killed. The
// latencies run to the durable apply at live agents.
type Disturbed struct {
	Killed   int     `json:"killed_relays"`
	Live     int     `json:"live_agents"`
	P50      float64 `json:"applied_p50_ms"`
	P90      float64 `json:"applied_p90_ms"`
	P99      float64 `json:"applied_p99_ms"`
	Max      float64 `json:"applied_max_ms"`
	RatioP99 float64 `json:"p99_to_undisturbed"`
	Missed   int     `json:"missed"`
}

// disturbTimeout is the time within which every live agent must apply the update.
const disturbTimeout = 2 * time.Minute

// disturb kills a share of the relays and announces an update at once.
func disturb(ctx context.Context, cfg FanoutConfig, f *fleet.Fleet, events *recorder) (*Disturbed, error) {
	body := make([]byte, cfg.Body)
	copy(body, "while relays die")
	v, err := f.Client.Publish(ctx, api.Draft{
		Config:      "bench/fanout",
		Body:        body,
		ContentType: "application/octet-stream",
	}, f.Key)
	if err != nil {
		return nil, err
	}
	doomed, err := relays(ctx, f, cfg.KillRelays)
	if err != nil {
		return nil, err
	}
	cfg.Say("%d relays are killed when the next update is announced", len(doomed))
	dead := map[string]bool{}
	events.reset()
	for _, a := range doomed {
		dead[a.Name()] = true
		f.Kill(a)
	}
	epochs, err := f.Activate(ctx, "bench/fanout", v.Manifest.Version)
	if err != nil {
		return nil, err
	}
	d := &Disturbed{Killed: len(doomed), Live: len(f.Agents) - len(doomed)}
	deadline, cancel := context.WithTimeout(ctx, disturbTimeout)
	defer cancel()
	err = fleet.Poll(deadline, 10*time.Millisecond, func() (bool, error) {
		return events.countLive(agent.EventApplied, epochs, dead) >= d.Live, nil
	})
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	s := events.summaryLive(agent.EventApplied, "bench/fanout", epochs, dead)
	d.P50 = s.p50
	d.P90 = s.p90
	d.P99 = s.p99
	d.Max = s.max
	d.Missed = d.Live - s.count
	return d, nil
}

// relays returns a random share of the agents that have children.
func relays(ctx context.Context, f *fleet.Fleet, share float64) ([]*agent.Agent, error) {
	r := rand.New(rand.NewPCG(1, 1))
	var parents []*agent.Agent
	for _, a := range f.Agents {
		s, ok := a.Status(ctx)
		if !ok {
			return nil, fmt.Errorf("agent %s does not answer", a.Name())
		}
		if s.Children > 0 {
			parents = append(parents, a)
		}
	}
	r.Shuffle(len(parents), func(i, j int) { parents[i], parents[j] = parents[j], parents[i] })
	return parents[:int(share*float64(len(parents)))], nil
}
