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

	"banyan/bench/fleet"
	"banyan/body"
	"banyan/coordinator/api"
	"banyan/mesh"
	"banyan/record"
	"banyan/transport"
	"banyan/transport/identity"
)

// attack puts one more agent of the fleet under a parent that lies: a node with
// a good certificate and no signing key. It passes on the true state first, so
// that the victim has something to lose, then a tampered announcement, an old
// pointer, and a tampered body.
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
	s := &siege{ctx: ctx, fleet: f, config: config, region: region, liar: liar, victim: victim, events: events}
	result, err := s.run()
	if err == nil {
		say("a parent that lies: tampered announcement refused %v, replayed pointer refused %v, tampered body refused %v",
			result.TamperedAnnouncement, result.ReplayedPointer, result.TamperedBody)
	}
	return result, err
}

type siege struct {
	ctx            context.Context
	fleet          *fleet.Fleet
	config, region string
	liar           *liar
	victim         *victim
	events         *recorder
}

func (s *siege) run() (Refusals, error) {
	var r Refusals
	old, current, err := s.settle()
	if err != nil {
		return r, err
	}
	// One byte of the signed pointer changed.
	tampered := bytes.Clone(current.Signed)
	tampered[len(tampered)/2] ^= 1
	if r.TamperedAnnouncement, err = s.refuses(current.Epoch, tampered, current.Revision+1, "bad_signature", "malformed"); err != nil {
		return r, err
	}
	if r.ReplayedPointer, err = s.refuses(current.Epoch, old.Signed, current.Revision+2, "stale_epoch"); err != nil {
		return r, err
	}
	// A new epoch whose body is tampered with: the pointer is good, the bytes are not.
	next, err := s.fleet.Client.Publish(s.ctx, api.Draft{Config: s.config, Body: []byte(`{"tampered": "no"}`), ContentType: "application/json"}, s.fleet.Key)
	if err != nil {
		return r, err
	}
	s.liar.tamper(true)
	moved, err := s.activate(next.Manifest.Version)
	if err != nil {
		return r, err
	}
	if r.TamperedBody, err = s.refuses(current.Epoch, moved.Signed, moved.Revision, "checksum"); err != nil {
		return r, err
	}
	// The same body, honestly served, is applied: what was refused was the lie.
	s.liar.tamper(false)
	return r, s.victim.waitEpoch(s.ctx, s.config, moved.Epoch)
}

// settle gives the victim the true current pointer, and returns an older one beside it.
func (s *siege) settle() (old, current api.Pointer, err error) {
	for _, version := range []uint64{2, 1} {
		old = current
		if current, err = s.activate(version); err != nil {
			return old, current, err
		}
	}
	s.liar.announce(current.Signed, current.Revision)
	return old, current, s.victim.waitEpoch(s.ctx, s.config, current.Epoch)
}

func (s *siege) activate(version uint64) (api.Pointer, error) {
	pointers, err := s.fleet.Client.Activate(s.ctx, s.config, api.Activate{Version: version, Regions: []string{s.region}})
	if err != nil {
		return api.Pointer{}, err
	}
	return pointers[0], nil
}

// refuses sends a pointer and waits until the victim has refused something for
// one of the reasons; it reports whether the victim still runs the epoch it ran.
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

func (r *recorder) refused(reasons []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		for _, reason := range reasons {
			if e.Kind == agent.EventRefused && e.Reason == reason {
				return true
			}
		}
	}
	return false
}

// victim is an agent under the liar.
type victim struct {
	agent *agent.Agent
	stop  func()
}

func startVictim(ctx context.Context, f *fleet.Fleet, parent string, events *recorder) (*victim, error) {
	cfg, err := f.AgentConfig(len(f.Agents) * len(f.Config.Regions)) // of the first region
	if err != nil {
		return nil, err
	}
	cfg.Coordinators, cfg.OnEvent = []string{parent}, events.event
	a, err := agent.Open(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { a.Run(ctx); close(done) }()
	return &victim{a, func() { cancel(); <-done }}, nil
}

func (v *victim) waitEpoch(ctx context.Context, config string, epoch uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err := fleet.Poll(ctx, time.Millisecond, func() (bool, error) {
		applied, ok := v.agent.Applied(config)
		return ok && applied.Epoch == epoch, nil
	})
	if err != nil {
		return fmt.Errorf("victim did not come to epoch %d of %s: %w", epoch, config, err)
	}
	return nil
}

// liar is a coordinator's endpoint with a node of its own that relays whatever
// it is told to, verifying nothing.
type liar struct {
	ep     *transport.Endpoint
	driver *transport.Driver
	ctx    context.Context
	stop   func()
	client *api.Client

	mu       sync.Mutex
	tampers  bool   // guarded by mu
	revision uint64 // guarded by mu; makes each announcement new to its own node
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
	node := mesh.NewNode(mesh.Config{Self: id.Mesh(), Description: wire.Description{Relay: true}, HoldsAll: true, Root: &mesh.RootConfig{Planner: tree.PlannerConfig{}}})
	l := &liar{ep: ep, client: f.Client}
	l.driver = transport.NewDriver(node, ep, transport.Handlers{Bodies: l, Observe: func(step.Output) {}}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(ctx)
	l.ctx = ctx
	done := make(chan struct{})
	go func() { l.driver.Run(ctx); close(done) }()
	l.stop = func() { cancel(); <-done; ep.Close() }
	return l, nil
}

// announce relays bytes to the victim. The liar's node is told that each is a
// new epoch of a config of its own, and so passes on what an honest one would not.
func (l *liar) announce(signed []byte, revision uint64) {
	l.mu.Lock()
	l.revision++
	fake := record.Pointer{Config: "liar", Region: l.region(), Epoch: l.revision}
	l.mu.Unlock()
	a := &wire.Announcement{Revision: revision, Raw: signed, Pointer: fake}
	l.driver.Input(l.ctx, step.Input{Kind: step.InPublish, Pointer: step.Pointer{Announcement: a}})
}

func (l *liar) region() string { return l.ep.Identity().Region }

func (l *liar) tamper(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tampers = on
}

// OpenBody implements transport.BodyServer: the true manifest, and a body with one
// byte changed if it tampers.
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
