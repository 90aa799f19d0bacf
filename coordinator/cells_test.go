package coordinator_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"banyan/coordinator"
	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
	"banyan/transport/identity"
)

// openSecond opens a second coordinator of region eu, which follows the coordinator of f.
func openSecond(t *testing.T, f *fleettest.Fleet) *coordinator.Coordinator {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "second")
	id := identity.Identity{Role: identity.RoleCoordinator, Region: "eu", Name: "coordinator-eu-2"}
	if err := f.Home.Issue(dir, id, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	bundle, err := identity.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := coordinator.Open(t.Context(), coordinator.Config{
		Identity:  bundle,
		DataDir:   t.TempDir(),
		Cell:      1,
		Listen:    "127.0.0.1:0",
		API:       "127.0.0.1:0",
		Leader:    f.Coordinators[0].MeshAddr(),
		LeaderAPI: f.Coordinators[0].APIAddr(),
		Log:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Two coordinators of a region share the agents. The leader counts the acknowledgements of
// both cells. When the second coordinator ends, the first takes the agents of the second.
func TestASecondCoordinatorTakesTheAgentsOfOneThatDies(t *testing.T) {
	const (
		agents = 16
		config = "web/flags"
	)
	f := fleettest.Start(t, fleet.Config{Regions: []string{"eu"}})
	second := openSecond(t, f)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- second.Run(ctx) }()
	f.Join = []string{f.Coordinators[0].MeshAddr(), second.MeshAddr()}
	for i := range agents {
		if _, err := f.StartAgent(i); err != nil {
			t.Fatal(err)
		}
	}
	f.WaitAttached()
	f.Spread(config, []byte("one"))
	f.Until("the acknowledgements of both cells", func() bool {
		s, err := f.Client.ConfigStatus(t.Context(), config)
		return err == nil && s.Regions[0].Agents == agents && s.Regions[0].Applied == agents
	})
	children := map[string]int{}
	for _, a := range f.Agents {
		if s, ok := a.Status(t.Context()); ok {
			children[s.Parent]++
		}
	}
	if children["coordinator-eu-2"] == 0 || children["coordinator-eu"] == 0 {
		t.Errorf("a coordinator has no agent below it: %v", children)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	f.Spread(config, []byte("two"))
}
