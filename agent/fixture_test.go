package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"banyan/body"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport/identity"
)

// newPolicy trusts signer for every config.
func newPolicy(t *testing.T) *record.Policy {
	t.Helper()
	root := record.KeyFromSeed([32]byte{6})
	document := record.PolicyDocument{
		Version:    1,
		ExpiresSec: time.Now().Add(time.Hour).Unix(),
		Publishers: []record.PublisherEntry{{Name: "p", Public: signer.Public(), Scopes: []string{"*"}}},
	}
	signed, err := record.SignPolicy(document, root)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := record.OpenPolicy(signed, []ed25519.PublicKey{root.Public()}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// host is a directory in which an agent runs. An agent that is opened again finds what the
// one before has left there.
type host struct {
	t      *testing.T
	dir    string
	home   *identity.Home
	bundle *identity.Bundle
	key    record.Key // of the publisher
	active record.Key // the activation key of region eu

	mu     sync.Mutex
	events []Event // guarded by mu
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, dir: t.TempDir()}
	var err error
	if h.home, err = identity.InitHome(filepath.Join(h.dir, "home"), []string{"eu"}, "admin"); err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(h.dir, "identity")
	if err := h.home.Issue(bundle, identity.Identity{Role: identity.RoleAgent, Region: "eu", Name: "host-1"}); err != nil {
		t.Fatal(err)
	}
	if h.bundle, err = identity.Load(bundle); err != nil {
		t.Fatal(err)
	}
	if h.key, err = record.LoadKey(h.home.PublisherKey("admin")); err != nil {
		t.Fatal(err)
	}
	if h.active, err = record.LoadKey(h.home.ActivationKey("eu")); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) config() Config {
	return Config{
		Identity:      h.bundle,
		Coordinators:  []string{"127.0.0.1:1"}, // nobody listens there
		Listen:        "127.0.0.1:0",
		OutputDir:     filepath.Join(h.dir, "out"),
		StateDir:      filepath.Join(h.dir, "state"),
		DriftInterval: -1,
		DiskReserve:   1,
		OnEvent: func(e Event) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.events = append(h.events, e)
		},
	}
}

// start opens and runs an agent. stop ends it and waits for its end.
func (h *host) start(change func(*Config)) (a *Agent, stop func()) {
	h.t.Helper()
	cfg := h.config()
	if change != nil {
		change(&cfg)
	}
	a, err := Open(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Run(ctx)
	}()
	if _, ok := a.Status(ctx); !ok {
		h.t.Fatal("the agent did not start")
	}
	stop = func() {
		cancel()
		<-ended
	}
	h.t.Cleanup(stop)
	return a, stop
}

// store gives the agent a version as a peer would send it.
func (h *host) store(a *Agent, config string, version uint64, content string) error {
	h.t.Helper()
	m, _ := manifestOf(h.t, config, version, []byte(content))
	signed, err := record.SignManifest(m, h.key)
	if err != nil {
		h.t.Fatal(err)
	}
	o := body.Offer{Signed: signed, What: body.ContentBody, Size: int64(len(content)), Bytes: bytes.NewReader([]byte(content))}
	_, err = a.bodies.StoreBody(h.t.Context(), key(config, version), o)
	return err
}

// activate applies a pointer and waits for its outcome.
func (h *host) activate(a *Agent, config string, epoch, version uint64) error {
	h.t.Helper()
	return h.activateLater(a, config, epoch, version)()
}

// activateLater starts to apply a pointer; the result waits for its outcome.
func (h *host) activateLater(a *Agent, config string, epoch, version uint64) func() error {
	h.t.Helper()
	p := record.Pointer{
		Config:     config,
		Region:     "eu",
		Term:       1,
		Epoch:      epoch,
		Baseline:   key(config, version).Ref(),
		Phase:      record.PhaseActive,
		TimeMicros: time.Now().UnixMicro(),
	}
	if version == 0 {
		p.Candidate = key(config, 1).Ref() // of a wave that does not include this host
	}
	return h.applyLater(a, p)
}

// applyLater starts to apply a pointer; the result waits for its outcome.
func (h *host) applyLater(a *Agent, p record.Pointer) func() error {
	h.t.Helper()
	raw, err := record.SignPointer(p, h.active)
	if err != nil {
		h.t.Fatal(err)
	}
	outcome := make(chan step.Failure, 1)
	a.driver.Do(h.t.Context(), func(*mesh.Node) {
		a.applied.setNamed(&p)
		a.hooks.supersede(&p)
		announcement := wire.NewAnnouncement(p.Epoch, raw, p)
		a.Activate(announcement, p.Baseline, func(why step.Failure, _ int64) { outcome <- why })
	})
	return func() error {
		if why := <-outcome; !why.OK() {
			return &failed{why}
		}
		return nil
	}
}

// failed is a failed activation.
type failed struct{ step.Failure }

func (f *failed) Error() string { return f.Reason }

// run stores and activates version v of config, in epoch v.
func (h *host) run(a *Agent, config string, v uint64, content string) {
	h.t.Helper()
	if err := h.store(a, config, v, content); err != nil {
		h.t.Fatal(err)
	}
	if err := h.activate(a, config, v, v); err != nil {
		h.t.Fatal(err)
	}
}

// shows returns what a program reads of config; "" if there is no file.
func (h *host) shows(config string) string {
	b, err := os.ReadFile(filepath.Join(h.dir, "out", config, valueFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
	return string(b)
}

// count returns the number of events of a kind.
func (h *host) count(kind EventKind) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}
