package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"banyan/agent"
	"banyan/bench/fleet"
	"banyan/coordinator/api"
)

// Disturbed is how an update fared while relays died in the moment in which it was
// announced. Latencies are to the durable apply, of the agents that live.
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

// disturbTimeout is how long the update may take to all that live.
const disturbTimeout = 2 * time.Minute

// disturb kills a share of the relays as an update is announced.
func disturb(ctx context.Context, cfg FanoutConfig, f *fleet.Fleet, events *recorder) (*Disturbed, error) {
	body := make([]byte, cfg.Body)
	copy(body, "while relays die")
	v, err := f.Client.Publish(ctx, api.Draft{Config: "bench/fanout", Body: body, ContentType: "application/octet-stream"}, f.Key)
	if err != nil {
		return nil, err
	}
	doomed, err := relays(ctx, f, cfg.KillRelays)
	if err != nil {
		return nil, err
	}
	cfg.Say("%d relays die as the next update is announced", len(doomed))
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
		return events.countOf(agent.EventApplied, epochs, dead) >= d.Live, nil
	})
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	s := events.summaryWithout(agent.EventApplied, "bench/fanout", epochs, dead)
	d.P50, d.P90, d.P99, d.Max, d.Missed = s.p50, s.p90, s.p99, s.max, d.Live-s.count
	return d, nil
}

// relays picks a share of the agents that have children.
func relays(ctx context.Context, f *fleet.Fleet, share float64) ([]*agent.Agent, error) {
	r := rand.New(rand.NewPCG(1, 1))
	var with, picked []*agent.Agent
	for _, a := range f.Agents {
		s, ok := a.Status(ctx)
		if !ok {
			return nil, fmt.Errorf("agent %s does not answer", a.Name())
		}
		if s.Children > 0 {
			with = append(with, a)
		}
	}
	r.Shuffle(len(with), func(i, j int) { with[i], with[j] = with[j], with[i] })
	picked = with[:int(share*float64(len(with)))]
	return picked, nil
}

func (r *recorder) countOf(kind agent.EventKind, epochs map[string]uint64, dead map[string]bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == kind && e.Pointer.Epoch == epochs[e.Pointer.Region] && !dead[e.Agent] {
			n++
		}
	}
	return n
}
