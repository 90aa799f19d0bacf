package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"banyan/coordinator"
	"banyan/coordinator/api"
	"banyan/transport/emulated"
	"banyan/transport/identity"
)

func start(t *testing.T, cfg Config) (*Fleet, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	cfg.Dir = t.TempDir()
	if cfg.HeadInterval == 0 {
		cfg.HeadInterval = 200 * time.Millisecond
	}
	f, err := Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := f.WaitAttached(ctx); err != nil {
		t.Fatal(err)
	}
	return f, ctx
}

func publish(t *testing.T, ctx context.Context, f *Fleet, n int) map[string]uint64 {
	t.Helper()
	_, epochs, err := f.Publish(ctx, api.Draft{Config: "web/flags", Body: fmt.Appendf(nil, `{"n": %d}`, n), ContentType: "application/json"})
	if err != nil {
		t.Fatal(err)
	}
	return epochs
}

func applied(t *testing.T, ctx context.Context, f *Fleet, epochs map[string]uint64) {
	t.Helper()
	if err := f.WaitApplied(ctx, "web/flags", epochs); err != nil {
		t.Fatal("not everyone applied it: ", err)
	}
}

// A relay dies, as by a power cut, at the moment of an announcement.
func TestADeadRelaysChildrenGoToTheirBackups(t *testing.T) {
	f, ctx := start(t, Config{Agents: 20, Regions: []string{"eu"}, Fanout: 3, Link: &emulated.Link{}})
	applied(t, ctx, f, publish(t, ctx, f, 1))
	for i, a := range f.Agents {
		if s, ok := a.Status(ctx); ok && s.Children > 0 {
			f.Kill(a)
			f.Agents = append(f.Agents[:i], f.Agents[i+1:]...)
			break
		}
	}
	applied(t, ctx, f, publish(t, ctx, f, 2))
}

// One packet in five is lost, one in twenty comes late, one in a hundred twice.
func TestABadNetworkLosesNoUpdate(t *testing.T) {
	f, ctx := start(t, Config{Agents: 12, Regions: []string{"eu"}, Fanout: 3,
		Link: &emulated.Link{Loss: 0.2, Reorder: 0.05, Duplicate: 0.01, Delay: time.Millisecond, Seed: 1}})
	for n := range 5 {
		applied(t, ctx, f, publish(t, ctx, f, n))
	}
}

func TestAFleetOnIPv6(t *testing.T) {
	f, ctx := start(t, Config{Agents: 6, Regions: []string{"eu"}, Fanout: 2, Listen: "[::1]"})
	applied(t, ctx, f, publish(t, ctx, f, 1))
}

// A region has two coordinators that share its agents out; one dies.
func TestASecondCoordinatorTakesTheAgentsOfOneThatDies(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	f, err := Start(context.Background(), Config{Dir: dir, Regions: []string{"eu"}, HeadInterval: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Stop()
	bundleDir := filepath.Join(dir, "second")
	if err := f.Home.Issue(bundleDir, identity.Identity{Role: identity.RoleCoordinator, Region: "eu", Name: "coordinator-eu-2"}, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	bundle, err := identity.Load(bundleDir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := coordinator.Open(coordinator.Config{Identity: bundle, DataDir: filepath.Join(dir, "second-data"), Cell: 1, Log: slog.New(slog.DiscardHandler),
		Listen: "127.0.0.1:0", API: "127.0.0.1:0", Leader: f.Coordinators[0].MeshAddr(), LeaderAPI: f.Coordinators[0].APIAddr()})
	if err != nil {
		t.Fatal(err)
	}
	running, kill := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- second.Run(running) }()
	defer func() { kill() }()
	f.Join = []string{f.Coordinators[0].MeshAddr(), second.MeshAddr()}
	const agents = 16
	for i := range agents {
		if _, err := f.StartAgent(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.WaitAttached(ctx); err != nil {
		t.Fatal(err)
	}
	applied(t, ctx, f, publish(t, ctx, f, 1))
	acked := func(want int) func() (bool, error) {
		return func() (bool, error) {
			s, err := f.Client.ConfigStatus(ctx, "web/flags")
			if err != nil {
				return false, err
			}
			r := s.Regions[0]
			return r.Agents == want && int(r.Applied) == want, nil
		}
	}
	if err := Poll(ctx, 50*time.Millisecond, acked(agents)); err != nil {
		t.Fatal("the acknowledgements of both cells are not counted: ", err)
	}
	under := map[string]int{}
	for _, a := range f.Agents {
		if s, ok := a.Status(ctx); ok {
			under[s.Parent]++
		}
	}
	if under["coordinator-eu-2"] == 0 || under["coordinator-eu"] == 0 {
		t.Errorf("agents are not shared out: %v", under)
	}
	kill()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	applied(t, ctx, f, publish(t, ctx, f, 2))
}

// The tree is cut; gossip still tells that there is news. With gossip down the tree
// works: every other test runs so.
func TestGossipRevealsWhatABrokenTreeHides(t *testing.T) {
	f, ctx := start(t, Config{Agents: 4, Regions: []string{"eu", "us"}, Fanout: 4, Gossip: true, Link: &emulated.Link{}})
	applied(t, ctx, f, publish(t, ctx, f, 1))
	a := f.Agents[0] // of eu
	err := Poll(ctx, 50*time.Millisecond, func() (bool, error) {
		s, ok := a.Status(ctx)
		return ok && s.Gossip >= 3 && s.Known > 0, nil
	})
	if err != nil {
		t.Fatal("the agent is not in the gossip pool: ", err)
	}
	before, _ := a.Status(ctx)
	f.Conn(a.Name()).Cut(true)
	publish(t, ctx, f, 2)
	err = Poll(ctx, 50*time.Millisecond, func() (bool, error) {
		s, ok := a.Status(ctx)
		return ok && s.Known > before.Known && s.Revision == before.Revision, nil
	})
	if err != nil {
		t.Fatal("gossip told nothing while the tree was cut: ", err)
	}
	f.Conn(a.Name()).Cut(false)
	err = Poll(ctx, 50*time.Millisecond, func() (bool, error) {
		s, ok := a.Status(ctx)
		return ok && s.Revision == s.Known, nil
	})
	if err != nil {
		t.Fatal("the agent did not catch up when the tree was whole again: ", err)
	}
}

// The host of an agent gets another address: its socket is silent, and another takes over.
func TestAnAgentThatRestartsElsewhereIsBackAtOnce(t *testing.T) {
	f, ctx := start(t, Config{Agents: 8, Regions: []string{"eu"}, Fanout: 2, Link: &emulated.Link{}})
	applied(t, ctx, f, publish(t, ctx, f, 1))
	moved := f.Agents[0]
	f.Kill(moved)
	f.Agents = f.Agents[1:]
	if err := Poll(ctx, 20*time.Millisecond, func() (bool, error) { return f.Ended(moved), nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := f.StartAgent(0); err != nil { // another port
		t.Fatal(err)
	}
	applied(t, ctx, f, publish(t, ctx, f, 2))
}
