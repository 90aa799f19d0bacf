package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"banyan/agent"
	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"

	"banyan/body"
	"banyan/coordinator/api"
	"banyan/internal/fleet"
	"banyan/mesh"
	"banyan/record"
	"banyan/transport"
	"banyan/transport/identity"
)

// attack adds an agent, the victim, under a lying parent: a node with a good certificate and
// no signing key. The liar first relays the true pointer, so that the victim runs a version.
// Then it sends a tampered announcement, an old pointer, and a tampered body.
func attack(ctx context.Context, f *fleet.Fleet, config string, say func(string, ...any)) (Refusals, error) {
	region := f.Config.Regions[0]
	events := newRecorder()
	liar, err := startLiar(ctx, f, region)
	if err != nil {
		return Refusals{}, err
	}
	defer liar.stop()
	victim, err := startVictim(ctx, f, liar.ep.Addr().String(), events)
	if err != nil {
		return Refusals{}, err
	}
	defer victim.stop()
	s := &siege{
		ctx:    ctx,
		fleet:  f,
		config: config,
		region: region,
		liar:   liar,
		victim: victim,
		events: events,
	}
	result, err := s.run()
	if err == nil {
		say("a lying parent: tampered announcement refused %v, replayed pointer refused %v, tampered body refused %v",
			result.TamperedAnnouncement, result.ReplayedPointer, result.TamperedBody)
	}
	return result, err
}

// siege is an attack in progress.
type siege struct {
	ctx            context.Context
	fleet          *fleet.Fleet
	config, region string
	liar           *liar
	victim         *victim
	events         *recorder
}

// run performs the attacks one after another.
func (s *siege) run() (Refusals, error) {
	var r Refusals
	old, current, err := s.settle()
	if err != nil {
		return r, err
	}
	// Change one byte of the signed pointer.
	tampered := bytes.Clone(current.Signed)
	tampered[len(tampered)/2] ^= 1
	r.TamperedAnnouncement, err = s.refuses(current.Epoch, tampered, current.Revision+1, "bad_signature", "malformed")
	if err != nil {
		return r, err
	}
	r.ReplayedPointer, err = s.refuses(current.Epoch, old.Signed, current.Revision+2, "stale_epoch")
	if err != nil {
		return r, err
	}
	// Publish a new epoch and serve a wrong body: the pointer is good, the bytes are not.
	next, err := s.fleet.Client.Publish(s.ctx, api.Draft{
		Config:      s.config,
		Body:        []byte(`{"tampered": "no"}`),
		ContentType: "application/json",
	}, s.fleet.Key)
	if err != nil {
		return r, err
	}
	s.liar.tamper(true)
	moved, err := s.activate(next.Manifest.Version)
	if err != nil {
		return r, err
	}
	r.TamperedBody, err = s.refuses(current.Epoch, moved.Signed, moved.Revision, "checksum")
	if err != nil {
		return r, err
	}
	// The victim applies the right body: it had refused only the wrong bytes.
	s.liar.tamper(false)
	return r, s.victim.waitEpoch(s.ctx, s.config, moved.Epoch)
}

// settle makes the victim run the true current pointer, and returns an older pointer too.
func (s *siege) settle() (old, current api.Pointer, err error) {
	for _, version := range []uint64{2, 1} {
		old = current
		current, err = s.activate(version)
		if err != nil {
			return old, current, err
		}
	}
	s.liar.announce(current.Signed, current.Revision)
	return old, current, s.victim.waitEpoch(s.ctx, s.config, current.Epoch)
}

// activate moves the config to a version and returns the new pointer.
func (s *siege) activate(version uint64) (api.Pointer, error) {
	move := api.Activate{Version: version, Regions: []string{s.region}}
	pointers, err := s.fleet.Client.Activate(s.ctx, s.config, move)
	if err != nil {
		return api.Pointer{}, err
	}
	return pointers[0], nil
}

// refuses announces a pointer to the victim and waits for a refusal with one of the reasons.
// It reports whether the victim refused the pointer and still runs the epoch running.
func (s *siege) refuses(running uint64, signed []byte, revision uint64, reasons ...string) (bool, error) {
	s.events.reset()
	s.liar.announce(signed, revision)
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	err := fleet.Poll(ctx, time.Millisecond, func() (bool, error) { return s.events.refused(reasons), nil })
	if errors.Is(err, context.DeadlineExceeded) && s.ctx.Err() == nil {
		return false, nil
	}
	applied, _ := s.victim.agent.Applied(s.config)
	return err == nil && applied.Epoch == running, err
}

// victim is the agent under the liar.
type victim struct {
	agent *agent.Agent
	stop  func()
}

func startVictim(ctx context.Context, f *fleet.Fleet, parent string, events *recorder) (*victim, error) {
	cfg, err := f.AgentConfig(len(f.Agents) * len(f.Config.Regions)) // of the first region
	if err != nil {
		return nil, err
	}
	cfg.Coordinators = []string{parent}
	cfg.OnEvent = events.event
	a, err := agent.Open(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { a.Run(ctx); close(done) }()
	return &victim{a, func() { cancel(); <-done }}, nil
}

// waitEpoch waits until the victim has applied an epoch of a config.
func (v *victim) waitEpoch(ctx context.Context, config string, epoch uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err := fleet.Poll(ctx, time.Millisecond, func() (bool, error) {
		applied, ok := v.agent.Applied(config)
		return ok && applied.Epoch == epoch, nil
	})
	if err != nil {
		return fmt.Errorf("the victim did not apply epoch %d of %s: %w", epoch, config, err)
	}
	return nil
}

// liar is an endpoint with the identity of a coordinator. Its node announces any bytes and
// verifies none.
type liar struct {
	ep     *transport.Endpoint
	driver *transport.Driver
	ctx    context.Context
	stop   func()
	client *api.Client

	mu       sync.Mutex
	tampers  bool   // guarded by mu
	revision uint64 // guarded by mu; makes each announcement new to the liar's node
}

func startLiar(ctx context.Context, f *fleet.Fleet, region string) (*liar, error) {
	dir := filepath.Join(f.Config.Dir, "liar")
	id := identity.Identity{Role: identity.RoleCoordinator, Region: region, Name: "liar"}
	if err := f.Home.Issue(dir, id); err != nil && !errors.Is(err, identity.ErrExists) {
		return nil, err
	}
	bundle, err := identity.Load(dir)
	if err != nil {
		return nil, err
	}
	ep, err := transport.Open(transport.Config{Listen: f.Config.Listen + ":0", Identity: bundle})
	if err != nil {
		return nil, err
	}
	node := mesh.NewNode(mesh.Config{
		Self:        id.Mesh(),
		Description: wire.Description{Relay: true},
		HoldsAll:    true,
		Verifier:    bundle.Policy, // for what the victim sends up
		Root:        &mesh.RootConfig{Planner: tree.PlannerConfig{}},
	})
	l := &liar{ep: ep, client: f.Client}
	handlers := transport.Handlers{Bodies: l, Observe: func(step.Output) {}}
	l.driver = transport.NewDriver(node, ep, handlers, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(ctx)
	l.ctx = ctx
	done := make(chan struct{})
	go func() { l.driver.Run(ctx); close(done) }()
	l.stop = func() { cancel(); <-done; ep.Close() }
	return l, nil
}

// announce sends the bytes of a pointer to the victim. The liar's node takes them for a new
// epoch of config "liar", so it relays pointers that an honest node would drop.
func (l *liar) announce(signed []byte, revision uint64) {
	l.mu.Lock()
	l.revision++
	fake := record.Pointer{Config: "liar", Region: l.region(), Epoch: l.revision}
	l.mu.Unlock()
	a := &wire.Announcement{Revision: revision, Raw: signed, Pointer: fake}
	l.driver.Input(l.ctx, step.Input{Kind: step.InPublish, Pointer: step.Pointer{Announcement: a}})
}

func (l *liar) region() string { return l.ep.Identity().Region }

// tamper makes the liar serve wrong bodies from now on, or right ones.
func (l *liar) tamper(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tampers = on
}

// OpenBody implements transport.BodyServer. It serves the true manifest. If the liar tampers,
// one byte of the body is wrong.
func (l *liar) OpenBody(ctx context.Context, want record.VersionKey, _ body.Wish) (body.Offer, error) {
	v, err := l.client.Version(ctx, want.Config, want.Version)
	if err != nil {
		return body.Offer{}, err
	}
	content, err := l.client.Body(ctx, want.Config, want.Version)
	if err != nil {
		return body.Offer{}, err
	}
	defer content.Close()
	raw, err := io.ReadAll(content)
	if err != nil {
		return body.Offer{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tampers {
		raw[0] ^= 1
	}
	return body.Offer{Signed: v.Signed, Size: int64(len(raw)), Bytes: bytes.NewReader(raw)}, nil
}

// GetShard implements transport.BodyServer. A liar has no shards.
func (l *liar) GetShard(record.FormKey, int, []byte) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
