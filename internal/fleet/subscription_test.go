package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/mesh/wire"
	"banyan/transport/emulated"
)

// audience are a fleet whose relays subscribe to nothing, and whose leaves do to some.
type audience struct {
	t       *testing.T
	f       *Fleet
	configs map[int]string // what each leaf subscribes to
}

const (
	relayCount = 2
	leafCount  = 8 // that subscribe to web; one more subscribes to db
	dbLeaf     = relayCount + leafCount
)

func newAudience(t *testing.T) (*audience, func(config string, body []byte) api.Version) {
	a := &audience{t: t, configs: map[int]string{dbLeaf: "db"}}
	f, ctx := start(t, Config{Agents: relayCount, Regions: []string{"eu"}, Fanout: relayCount, OnAgent: func(i int, c *agent.Config) {
		c.Subscriptions, c.MaxChildren = wire.SubscribeNothing, leafCount/relayCount+2
		if i >= relayCount {
			c.Subscriptions, c.Leaf = wire.Subscribe("web"), true
			if scope := a.configs[i]; scope != "" {
				c.Subscriptions = wire.Subscribe(scope)
			}
		}
	}})
	a.f = f
	for i := range leafCount + 1 {
		if _, err := f.StartAgent(relayCount + i); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.WaitAttached(ctx); err != nil {
		t.Fatal(err)
	}
	return a, func(config string, body []byte) api.Version {
		t.Helper()
		v, _, err := f.Publish(ctx, api.Draft{Config: config, Body: body, ContentType: "application/octet-stream"})
		if err != nil {
			t.Fatal(err)
		}
		// Everyone who subscribes has it, and the coordinator waits for nobody else.
		err = Poll(ctx, 20*time.Millisecond, func() (bool, error) {
			s, err := f.Client.ConfigStatus(ctx, config)
			return err == nil && s.Regions[0].Agents == leafCount && s.Regions[0].Applied == leafCount, err
		})
		if err != nil {
			s, _ := f.Client.ConfigStatus(t.Context(), config)
			t.Fatalf("%s of %d bytes: %v: %+v", config, len(body), err, s.Regions)
		}
		for i := relayCount; i < dbLeaf; i++ {
			a.shows(i, config, body)
		}
		for _, i := range []int{0, 1, dbLeaf} {
			a.shows(i, config, nil)
		}
		return v
	}
}

// shows checks what an agent's file of a config is; nil: there is none, nor a trace of one.
func (a *audience) shows(i int, config string, body []byte) {
	a.t.Helper()
	dir := filepath.Join(a.f.AgentDir(i), "configs", config)
	if body == nil {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.t.Errorf("agent %d does not subscribe to %s and has %v of it: %v", i, config, entries, err)
		}
		return
	}
	if got, err := os.ReadFile(filepath.Join(dir, "value")); err != nil || !bytes.Equal(got, body) {
		a.t.Errorf("agent %d shows %d bytes of %s, not %d: %v", i, len(got), config, len(body), err)
	}
}

func TestRelaysThatDoNotSubscribePassEverythingOn(t *testing.T) {
	a, publish := newAudience(t)
	publish("web/flags", []byte("pushed"))
	publish("web/page", randomBody(200<<10, 1))  // fetched in one piece
	publish("web/model", randomBody(3<<20, 2))   // by the shard
	publish("web/table", lines(60_000, 0))       // encoded
	v := publish("web/table", lines(60_000, 40)) // as a delta
	if len(v.Forms) != 2 {
		t.Fatalf("there is no delta: %+v", v.Forms)
	}
	for i := relayCount; i < dbLeaf; i++ {
		if _, err := os.Stat(filepath.Join(a.f.AgentDir(i), "configs", "web", "table", "..v2", "form1")); err != nil {
			t.Errorf("agent %d did not take the delta: %v", i, err)
		}
	}
	for i := range relayCount {
		cached, err := filepath.Glob(filepath.Join(a.f.AgentDir(i), "configs", "..cache", "*"))
		if err != nil || len(cached) == 0 {
			t.Errorf("relay %d keeps nothing for others: %v", i, err)
		}
	}
	holders, err := a.f.Client.Holders(t.Context(), "web/table", 2, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if want := (api.Heard{Agents: dbLeaf + 1, Subscribers: leafCount, Heard: dbLeaf + 1}); holders.Regions["eu"] != want {
		t.Errorf("heard of %+v, want %+v", holders.Regions["eu"], want)
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
		t.Errorf("%d hold it and %d keep shards of the delta for others, want %d and %d: %+v", whole, cached, leafCount, relayCount, holders.Holders)
	}
	// One that has no base comes under a relay that has kept the delta alone.
	late, err := a.f.StartAgent(dbLeaf + 1)
	if err != nil {
		t.Fatal(err)
	}
	err = Poll(t.Context(), 20*time.Millisecond, func() (bool, error) {
		applied, ok := late.Applied("web/table")
		return ok && applied.Version == 2, nil
	})
	if err != nil {
		t.Error("an agent without the base did not get the version: ", err)
	}
	a.shows(dbLeaf+1, "web/table", lines(60_000, 40))
	if s, ok := late.Status(t.Context()); !ok || s.Parent != a.f.Agents[0].Name() && s.Parent != a.f.Agents[1].Name() {
		t.Errorf("its parent is %q, and no relay", s.Parent)
	}
}

func TestASurveyTellsHowFarABodyIs(t *testing.T) {
	f, ctx := start(t, Config{Agents: 2, Regions: []string{"eu"}, Link: &emulated.Link{Rate: 4e6, DownRate: 4e6}})
	if _, _, err := f.Publish(ctx, api.Draft{Config: "app/model", Body: randomBody(2<<20, 1), ContentType: "application/octet-stream"}); err != nil {
		t.Fatal(err)
	}
	err := Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		h, err := f.Client.Holders(ctx, "app/model", 0, 10*time.Second)
		if err != nil || len(h.Holders) != 2 {
			return false, err
		}
		a := h.Holders[0]
		return !a.Whole && !a.Cached && a.Shards > 0 && a.Shards < a.Of && a.Of == 64, nil
	})
	if err != nil {
		t.Error("nobody was seen with a part of it: ", err)
	}
}

func TestAnAgentFollowsItsSubscriptionsWhenTheyChange(t *testing.T) {
	a, publish := newAudience(t)
	publish("web/flags", []byte("flags"))
	if _, _, err := a.f.Publish(t.Context(), api.Draft{Config: "db/main", Body: []byte("main"), ContentType: "text/plain"}); err != nil {
		t.Fatal(err)
	}
	holds := func(config string, agents uint64) {
		t.Helper()
		err := Poll(t.Context(), 20*time.Millisecond, func() (bool, error) {
			s, err := a.f.Client.ConfigStatus(t.Context(), config)
			applied, _ := a.f.Agents[len(a.f.Agents)-1].Applied(config)
			return err == nil && applied.Version == 1 && uint64(s.Regions[0].Agents) == agents && s.Regions[0].Applied >= agents, err
		})
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", config, err))
		}
	}
	restart := func(scope string) {
		t.Helper()
		old := a.f.Agents[len(a.f.Agents)-1]
		a.f.stops[old.Name()]()
		if err := Poll(t.Context(), 10*time.Millisecond, func() (bool, error) { return a.f.Ended(old), nil }); err != nil {
			t.Fatal(err)
		}
		a.configs[dbLeaf] = scope
		if _, err := a.f.StartAgent(dbLeaf); err != nil {
			t.Fatal(err)
		}
	}
	holds("db/main", 1)
	restart("web")
	holds("web/flags", leafCount+1)
	a.shows(dbLeaf, "web/flags", []byte("flags"))
	a.shows(dbLeaf, "db/main", nil)
	if _, err := os.Stat(filepath.Join(a.f.AgentDir(dbLeaf), "configs", "db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory is left of what is subscribed to no more: %v", err)
	}
	// And back, without any pointer having moved.
	restart("db")
	holds("db/main", 1)
	a.shows(dbLeaf, "db/main", []byte("main"))
	a.shows(dbLeaf, "web/flags", nil)
}
