package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"banyan/agent"
	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
	"banyan/mesh/wire"
)

// Many configs change at once, so that their pointers travel in batches. Each host shows what it subscribes
// to, the leader says so, and a host that is away in between misses nothing.
func TestTruthManyChangesAtOnceAreShownAndSaid(t *testing.T) {
	const webAgent, configs = 1, 40
	f := fleettest.Start(t, fleet.Config{
		Agents:      4,
		Regions:     []string{"eu"},
		Fanout:      2,
		KeepAlive:   200 * time.Millisecond,
		IdleTimeout: time.Second,
		OnAgent: func(i int, c *agent.Config) {
			if i == webAgent {
				c.Subscriptions = wire.Subscribe("web")
			}
		},
		Metrics: "127.0.0.1:0",
	})
	name := func(i int) string { return fmt.Sprintf("%s/%02d", []string{"web", "db"}[i%2], i) }
	changeAll := func(text string) { changeAtOnce(t, f, configs, name, text) }
	isRight := func(text string) bool {
		for i := range configs {
			status, err := f.Client.ConfigStatus(t.Context(), name(i))
			want := 4 - i%2 // one host does not subscribe to db
			if err != nil || int(status.Regions[0].Agents) != want || int(status.Regions[0].Applied) != want {
				return false
			}
			for host := range 4 {
				shown, err := os.ReadFile(f.Path(host, name(i), "value"))
				if host == webAgent && i%2 == 1 {
					if !errors.Is(err, fs.ErrNotExist) {
						t.Fatalf("a host without a subscription has %s: %v", name(i), err)
					}
				} else if string(shown) != text {
					return false
				}
			}
		}
		return true
	}
	changeAll("one")
	f.Until("all hosts to show the first versions", func() bool { return isRight("one") })
	if batches(t, f.Coordinators[0].MetricsAddr()) == 0 {
		t.Error("no pointers travelled in a batch")
	}

	away := f.Agents[webAgent]
	f.StopAgent(away)
	f.Agents = append(f.Agents[:webAgent], f.Agents[webAgent+1:]...)
	changeAll("two")
	if _, err := f.StartAgent(webAgent); err != nil {
		t.Fatal(err)
	}
	f.Until("all hosts to show the second versions", func() bool { return isRight("two") })
	changeAll("three")
	f.Until("all hosts to show the third versions", func() bool { return isRight("three") })
}

// changeAtOnce stores a version of each config, and activates all of them at once.
func changeAtOnce(t *testing.T, f *fleettest.Fleet, configs int, name func(int) string, text string) {
	t.Helper()
	versions := make([]uint64, configs)
	for i := range versions {
		versions[i] = f.Store(name(i), text)
	}
	var group sync.WaitGroup
	for i, v := range versions {
		group.Go(func() {
			if _, err := f.Activate(t.Context(), name(i), v); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// A follower stores the pointers of a batch one by one, and has them after a restart.
func TestTruthAFollowerKeepsWhatCameInABatch(t *testing.T) {
	const configs = 20
	f := fleettest.Start(t, fleet.Config{
		Agents:      2,
		Regions:     []string{"eu", "us"},
		KeepAlive:   200 * time.Millisecond,
		IdleTimeout: time.Second,
		Metrics:     "127.0.0.1:0",
	})
	name := func(i int) string { return fmt.Sprintf("config/%02d", i) }
	for _, text := range []string{"one", "two"} {
		changeAtOnce(t, f, configs, name, text)
		for i := range configs {
			f.WaitShown(name(i), text)
		}
		if err := f.RestartCoordinator(1); err != nil {
			t.Fatal(err)
		}
		f.WaitAttached()
	}
	if batches(t, f.Coordinators[0].MetricsAddr()) == 0 {
		t.Error("no pointers travelled in a batch")
	}
	f.Until("the leader to say what the hosts show", func() bool {
		for i := range configs {
			status, err := f.Client.ConfigStatus(t.Context(), name(i))
			if err != nil || status.Regions[0].Applied != 1 || status.Regions[1].Applied != 1 {
				return false
			}
		}
		return true
	})
}

// batches returns the number of batches that a coordinator has signed.
func batches(t *testing.T, addr string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), "GET", "http://"+addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^banyan_coordinator_batches_total (\d+)$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no batches in %s", text)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
