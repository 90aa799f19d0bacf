package coordinator

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/transport/identity"
	"banyan/versionstore"
	"banyan/versionstore/etcdstore"
	"banyan/versionstore/etcdstore/etcdtest"
)

// onEtcd makes a leader keep its store in etcd.
func onEtcd(c *etcdtest.Cluster) func(*Config) {
	return func(cfg *Config) {
		cfg.OpenStore = func(ctx context.Context, _ string, _ int64) (versionstore.Store, error) {
			s, err := etcdstore.Open(ctx, etcdstore.Config{Endpoints: c.Endpoints(), LeadTTL: 2 * time.Second})
			if err != nil {
				return nil, err
			}
			return s, nil
		}
	}
}

// Two coordinators share a store in etcd. One leads, the other waits; when the first one ends, the other
// goes on where it was.
func TestTruthACoordinatorTakesOverTheStoreInEtcd(t *testing.T) {
	c := etcdtest.Start(t, 1)
	f := newFixture(t, onEtcd(c))
	version := f.publish("a", `{"n": 1}`)
	f.rollOut("a", version, "")
	f.reaches("a", "its end", isDone)
	second := &fixture{t: t, ctx: f.ctx, home: f.home, key: f.key}
	began := make(chan struct{})
	go func() {
		defer close(began)
		second.start(t.TempDir(), onEtcd(c))
	}()
	if _, err := f.alice.Hold(f.ctx, api.Hold{Scope: "b", Reason: "sale"}); err != nil {
		t.Errorf("a write while another coordinator waits: %v", err)
	}
	select {
	case <-began:
		t.Error("two coordinators lead")
	default:
	}
	f.stop()
	<-began
	second.connect()
	state, err := second.ledger.Pointer(f.ctx, "a", "eu")
	if err != nil || state.Pointer.Baseline.Version != version {
		t.Fatalf("the pointer at the second leader: %+v, %v", state.Pointer, err)
	}
	_, err = second.alice.StartRollout(f.ctx, "b", api.StartRollout{Version: 1})
	second.refuses("a version that there is not", err, api.CodeNotFound)
	if holds, err := second.alice.Holds(f.ctx); err != nil || len(holds) != 1 {
		t.Errorf("the holds at the second leader: %v, %v", holds, err)
	}
	next := second.publish("a", `{"n": 2}`)
	second.rollOut("a", next, "")
	second.reaches("a", "its end", isDone)
	state, err = second.ledger.Pointer(f.ctx, "a", "eu")
	if err != nil || next != version+1 || state.Pointer.Baseline.Version != next {
		t.Errorf("version %d after %d, pointer %+v, %v", next, version, state.Pointer, err)
	}
}

// A leader whose lead has passed on ends, and says why.
func TestTruthALeaderThatLosesItsLeadEnds(t *testing.T) {
	c := etcdtest.Start(t, 1)
	home, err := identity.InitHome(filepath.Join(t.TempDir(), "home"), []string{"eu"}, "dev")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, ctx: t.Context(), home: home}
	leader, err := Open(t.Context(), f.config(t.TempDir(), onEtcd(c)))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- leader.Run(t.Context()) }()
	if err := leader.lead.Resign(t.Context()); err != nil { // as if the lease had run out
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, errLeadLost) {
		t.Errorf("the leader ended with %v, want errLeadLost", err)
	}
}
