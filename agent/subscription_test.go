package agent_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
	"banyan/mesh/wire"
)

// The agents of an audience.
const (
	relayCount = 2                      // agents 0 and 1 subscribe to nothing
	leafCount  = 8                      // agents 2 to 9 subscribe to web
	dbLeaf     = relayCount + leafCount // agent 10 subscribes to db
)

// audience is a fleet whose relays subscribe to nothing. Only its leaves subscribe to configs.
type audience struct {
	*fleettest.Fleet
	t       *testing.T
	dbScope string // what agent dbLeaf subscribes to
}

func newAudience(t *testing.T) *audience {
	t.Helper()
	a := &audience{t: t, dbScope: "db"}
	a.Fleet = fleettest.Start(t, fleet.Config{
		Agents:  relayCount,
		Regions: []string{"eu"},
		Fanout:  relayCount,
		OnAgent: a.subscribe,
	})
	for i := relayCount; i <= dbLeaf; i++ {
		if _, err := a.StartAgent(i); err != nil {
			t.Fatal(err)
		}
	}
	a.WaitAttached()
	return a
}

func (a *audience) subscribe(i int, c *agent.Config) {
	c.MaxChildren = leafCount/relayCount + 2
	c.Leaf = i >= relayCount
	switch {
	case i < relayCount:
		c.Subscriptions = wire.SubscribeNothing
	case i == dbLeaf:
		c.Subscriptions = wire.Subscribe(a.dbScope)
	default:
		c.Subscriptions = wire.Subscribe("web")
	}
}

// publishWeb publishes a version of a config under web, and waits until every subscriber has
// acknowledged the version. The coordinator must count no other agent, and the other agents
// must have no trace of the config.
func (a *audience) publishWeb(config string, body []byte) api.Version {
	a.t.Helper()
	v, _ := a.Announce(config, body)
	a.Until("the subscribers to run "+config, func() bool {
		s, err := a.Client.ConfigStatus(a.t.Context(), config)
		return err == nil && s.Regions[0].Agents == leafCount && s.Regions[0].Applied == leafCount
	})
	for i := relayCount; i < dbLeaf; i++ {
		a.shows(i, config, body)
	}
	for _, i := range []int{0, 1, dbLeaf} {
		a.hasNone(i, config)
	}
	return v
}

// shows checks that agent i shows body as config.
func (a *audience) shows(i int, config string, body []byte) {
	a.t.Helper()
	got, err := os.ReadFile(a.Path(i, config, "value"))
	if err != nil || !bytes.Equal(got, body) {
		a.t.Errorf("agent %d shows %d bytes of %s, want %d: %v", i, len(got), config, len(body), err)
	}
}

// hasNone checks that agent i has no file of config.
func (a *audience) hasNone(i int, config string) {
	a.t.Helper()
	entries, err := os.ReadDir(a.Path(i, config))
	if len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.t.Errorf("agent %d does not subscribe to %s and has the files %v: %v", i, config, entries, err)
	}
}

func TestRelaysThatDoNotSubscribePassEverythingOn(t *testing.T) {
	const table = "web/table"
	a := newAudience(t)
	a.publishWeb("web/flags", []byte("pushed"))
	a.publishWeb("web/page", randomBody(200<<10, 1)) // fetched in one piece
	a.publishWeb("web/model", randomBody(3<<20, 2))  // fetched in shards
	a.publishWeb(table, settings(60_000, 0))         // compressed
	v := a.publishWeb(table, settings(60_000, 40))   // a delta
	if len(v.Forms) != 2 {
		t.Fatalf("the version has no delta: %+v", v.Forms)
	}
	for i := relayCount; i < dbLeaf; i++ {
		if found, err := filepath.Glob(a.Path(i, table, "..v2-*", "form1")); err != nil || len(found) != 1 {
			t.Errorf("agent %d did not take the delta: %v", i, err)
		}
	}
	for i := range relayCount {
		cached, err := filepath.Glob(a.Path(i, "..cache", "*"))
		if err != nil || len(cached) == 0 {
			t.Errorf("relay %d has no shards for other hosts in its cache: %v", i, err)
		}
	}
	a.expectHolders(table, 2)

	// A new agent has no version to which the delta could apply, and its parent has only the delta.
	const late = dbLeaf + 1
	newcomer, err := a.StartAgent(late)
	if err != nil {
		t.Fatal(err)
	}
	a.Until("version 2 at an agent without version 1", func() bool {
		applied, ok := newcomer.Applied(table)
		return ok && applied.Version == 2
	})
	a.shows(late, table, settings(60_000, 40))
	s, ok := newcomer.Status(t.Context())
	if !ok || s.Parent != a.Agents[0].Name() && s.Parent != a.Agents[1].Name() {
		t.Errorf("the parent of the new agent is %q, and no relay", s.Parent)
	}
}

// expectHolders checks the survey of a version: every subscriber has the whole version, and every
// relay has shards of the delta in its cache.
func (a *audience) expectHolders(config string, version uint64) {
	a.t.Helper()
	holders, err := a.Client.Holders(a.t.Context(), config, version, 10*time.Second)
	if err != nil {
		a.t.Fatal(err)
	}
	want := api.Heard{Agents: dbLeaf + 1, Subscribers: leafCount, Heard: dbLeaf + 1}
	if holders.Regions["eu"] != want {
		a.t.Errorf("the survey heard of %+v, want %+v", holders.Regions["eu"], want)
	}
	whole, cached := 0, 0
	for _, h := range holders.Holders {
		if h.Whole {
			whole++
		}
		if h.Cached && h.Shards > 0 && h.Form == 1 {
			cached++
		}
	}
	if whole != leafCount || cached != relayCount {
		a.t.Errorf("%d agents have the version, want %d; %d have shards of the delta in the cache, want %d: %+v",
			whole, leafCount, cached, relayCount, holders.Holders)
	}
}

// An agent restarts with other subscriptions, from db to web and back. It takes the configs
// of the new subscriptions, and deletes the configs of the old. No pointer moves meanwhile.
func TestAnAgentFollowsItsSubscriptionsWhenTheyChange(t *testing.T) {
	a := newAudience(t)
	a.publishWeb("web/flags", []byte("flags"))
	a.Announce("db/main", []byte("main"))
	a.dbLeafRuns("db/main", 1)
	a.resubscribe("web")
	a.dbLeafRuns("web/flags", leafCount+1)
	a.shows(dbLeaf, "web/flags", []byte("flags"))
	a.hasNone(dbLeaf, "db/main")
	if _, err := os.Stat(a.Path(dbLeaf, "db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory db is left, without a subscription: %v", err)
	}
	a.resubscribe("db")
	a.dbLeafRuns("db/main", 1)
	a.shows(dbLeaf, "db/main", []byte("main"))
	a.hasNone(dbLeaf, "web/flags")
}

// dbLeafRuns waits until agent dbLeaf runs version 1 of config, and the coordinator counts
// the given number of subscribers, each with an acknowledgement.
func (a *audience) dbLeafRuns(config string, subscribers int) {
	a.t.Helper()
	a.Until("agent dbLeaf to run "+config, func() bool {
		s, err := a.Client.ConfigStatus(a.t.Context(), config)
		applied, _ := a.Agents[len(a.Agents)-1].Applied(config)
		return err == nil && applied.Version == 1 &&
			int(s.Regions[0].Agents) == subscribers && int(s.Regions[0].Applied) >= subscribers
	})
}

// resubscribe restarts agent dbLeaf with another subscription.
func (a *audience) resubscribe(scope string) {
	a.t.Helper()
	a.StopAgent(a.Agents[len(a.Agents)-1])
	a.dbScope = scope
	if _, err := a.StartAgent(dbLeaf); err != nil {
		a.t.Fatal(err)
	}
}
