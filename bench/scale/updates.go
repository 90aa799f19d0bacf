package scale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"banyan/agent"
	"banyan/body"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport"
	"banyan/transport/identity"
)

// How agents are measured that pass the pointers of other configs on.
const (
	updateRate    = 1000 // a second
	updateConfigs = 1000
	updateAgents  = 4
	updateWarmUp  = updateConfigs // pointers before the measurement
)

// UpdatesResult is what an agent needs for the pointers of configs that it does not subscribe to.
type UpdatesResult struct {
	Updates int
	// PerUpdate is the processor time of an agent and of its link, at both ends, for each pointer.
	PerUpdate time.Duration
}

// Updates measures agents under a leader's node that announces pointers, updateRate in a second, each with
// a signature of its own or in batches. The agents have disks and real links, and subscribe to other
// configs. What the leader's node needs without agents, and what agents need without pointers, does not
// count. dir is a directory for the agents.
func Updates(ctx context.Context, dir string, updates int, batches bool) (r UpdatesResult, err error) {
	u := updatesRun{updates: updates, batches: batches}
	var took [3]time.Duration
	for i, run := range []struct{ agents, updates int }{{0, updates}, {updateAgents, 0}, {updateAgents, updates}} {
		u.agents, u.moving = run.agents, run.updates > 0
		took[i], err = u.measure(ctx, filepath.Join(dir, fmt.Sprintf("run-%d", i)))
		if err != nil {
			return r, err
		}
	}
	leader := took[0]
	idle := took[1]
	all := took[2]
	return UpdatesResult{Updates: updates, PerUpdate: (all - leader - idle) / time.Duration(updates*updateAgents)}, nil
}

// updatesRun is one measurement: of a leader's node, of agents, or of both.
type updatesRun struct {
	agents  int
	updates int
	moving  bool // the updates are published; else the time of as many passes
	batches bool
}

// measure returns the processor time of the process, after the agents have attached.
func (u *updatesRun) measure(ctx context.Context, dir string) (time.Duration, error) {
	home, err := identity.InitHome(filepath.Join(dir, "home"), []string{region}, "bench")
	if err != nil {
		return 0, err
	}
	p, err := newPublisher(home, u.batches)
	if err != nil {
		return 0, err
	}
	defer p.ep.Close()
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { p.driver.Run(ctx) })
	for i := range u.agents {
		a, err := p.agent(home, filepath.Join(dir, fmt.Sprint(i)), i)
		if err != nil {
			return 0, err
		}
		group.Go(func() { a.Run(ctx) })
	}
	warmUp, err := p.sign(updateWarmUp)
	if err != nil {
		return 0, err
	}
	if err := p.publish(ctx, warmUp, u.agents); err != nil {
		return 0, err
	}
	signed, err := p.sign(u.updates)
	if err != nil {
		return 0, err
	}
	began := cpuTime()
	if u.moving {
		err = p.publish(ctx, signed, u.agents)
	} else {
		err = sleep(ctx, time.Duration(u.updates)*time.Second/updateRate)
	}
	return cpuTime() - began, err
}

// publisher is a leader's node that announces pointers which nobody has stored.
type publisher struct {
	ep     *transport.Endpoint
	driver *transport.Driver
	key    record.Key
	sent   int
	heads  uint64
	heard  atomic.Int64 // pointers that agents have verified
}

func newPublisher(home *identity.Home, batches bool) (*publisher, error) {
	bundle, err := identity.Load(home.CoordinatorDir(region))
	if err != nil {
		return nil, err
	}
	p := &publisher{}
	p.key, err = record.LoadKey(home.ActivationKey(region))
	if err != nil {
		return nil, err
	}
	p.ep, err = transport.Open(transport.Config{Listen: "127.0.0.1:0", Identity: bundle})
	if err != nil {
		return nil, err
	}
	root := &mesh.RootConfig{}
	if batches {
		root.SignBatch = func(_ string, payloads [][]byte) ([]byte, error) { return record.SignBatch(payloads, p.key) }
	}
	node := mesh.NewNode(mesh.Config{
		Self:        bundle.Identity.Mesh(),
		Description: wire.Description{Relay: true},
		HoldsAll:    true,
		Verifier:    bundle.Policy,
		Root:        root,
	})
	handlers := transport.Handlers{Bodies: noBodies{}, Observe: func(step.Output) {}}
	p.driver = transport.NewDriver(node, p.ep, handlers, slog.New(slog.DiscardHandler))
	return p, nil
}

// agent returns an agent that subscribes to nothing that is published.
func (p *publisher) agent(home *identity.Home, dir string, i int) (*agent.Agent, error) {
	id := identity.Identity{Role: identity.RoleAgent, Region: region, Name: fmt.Sprintf("agent-%d", i)}
	if err := home.Issue(filepath.Join(dir, "identity"), id); err != nil {
		return nil, err
	}
	bundle, err := identity.Load(filepath.Join(dir, "identity"))
	if err != nil {
		return nil, err
	}
	return agent.Open(agent.Config{
		Identity:      bundle,
		Coordinators:  []string{p.ep.Addr().String()},
		Listen:        "127.0.0.1:0",
		OutputDir:     filepath.Join(dir, "configs"),
		StateDir:      filepath.Join(dir, "state"),
		Subscriptions: "own",
		Leaf:          true,
		OnEvent: func(e agent.Event) {
			if e.Kind == agent.EventVerified {
				p.heard.Add(1)
			}
		},
	})
}

// sign returns the next pointers.
func (p *publisher) sign(count int) ([]*wire.Announcement, error) {
	all := make([]*wire.Announcement, count)
	for i := range all {
		n := p.sent + i
		pointer := pointerOf(fmt.Sprintf("config/%06d", n%updateConfigs), region, uint64(n/updateConfigs+1))
		raw, err := record.SignPointer(pointer, p.key)
		if err != nil {
			return nil, err
		}
		all[i] = wire.NewAnnouncement(uint64(n+1), raw, pointer)
	}
	return all, nil
}

// publish announces pointers, updateRate in a second, and waits until every agent has each of them.
func (p *publisher) publish(ctx context.Context, signed []*wire.Announcement, agents int) error {
	began := time.Now()
	for i, a := range signed {
		due := time.Duration(i) * time.Second / updateRate
		if err := sleep(ctx, due-time.Since(began)); err != nil {
			return err
		}
		pointer := step.Pointer{Announcement: a, Batchable: true}
		p.driver.Input(ctx, step.Input{Kind: step.InPublish, Pointer: pointer})
		p.sent++
		if p.sent%updateRate == 0 {
			p.beat(ctx)
		}
	}
	for p.heard.Load() < int64(p.sent*agents) {
		if err := sleep(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("agents verified %d of %d pointers: %w", p.heard.Load(), p.sent*agents, err)
		}
	}
	return nil
}

// beat signs and sends a head.
func (p *publisher) beat(ctx context.Context) {
	p.heads++
	number := p.heads
	p.driver.Decide(ctx, func(n *mesh.Node) []step.Input {
		h := record.Head{Region: region, Revision: n.Revision(region), State: n.State(region), Term: 1, Number: number}
		raw, err := record.SignHead(h, p.key)
		if err != nil {
			return nil
		}
		return []step.Input{{Kind: step.InPublishHead, Head: step.Head{Head: h, Signed: &wire.SignedHead{Raw: raw}}}}
	})
}

// noBodies has no bodies.
type noBodies struct{}

func (noBodies) OpenBody(context.Context, record.VersionKey, body.Wish) (body.Offer, error) {
	return body.Offer{}, errors.ErrUnsupported
}

func (noBodies) GetShard(record.FormKey, int, []byte) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
