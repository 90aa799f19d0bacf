package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/internal/diskspace"
	"banyan/internal/usage"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport"
	"banyan/transport/identity"
)

// An agent runs whole versions, one epoch after another, and again after a restart.
func TestAnAgentShowsWhatItAppliesAndRemembersIt(t *testing.T) {
	h := newHost(t)
	a, stop := h.start(nil)
	if a.Name() != "host-1" || a.LocalAddr() != nil {
		t.Errorf("name %q, local API %v", a.Name(), a.LocalAddr())
	}
	h.run(a, "app/flags", 1, "one")
	h.run(a, "app/flags", 2, "two")
	h.run(a, "other", 1, "other")
	if got := h.shows("app/flags"); got != "two" {
		t.Errorf("app/flags shows %q", got)
	}
	applied, ok := a.Applied("app/flags")
	if !ok || applied.Version != 2 || applied.Epoch != 2 || applied.Size != 3 || applied.SHA256 != record.Sum([]byte("two")).String() {
		t.Errorf("applied: %+v", applied)
	}
	if n := h.count(EventApplied); n != 3 {
		t.Errorf("%d events of versions applied", n)
	}
	if err := h.activate(a, "app/flags", 1, 1); err == nil || !strings.Contains(err.Error(), "stale") {
		t.Errorf("an older epoch: %v", err)
	}
	if h.count(EventFailed) != 1 || h.shows("app/flags") != "two" {
		t.Error("an older epoch took effect, or was not reported")
	}
	// A rollback is a newer epoch of an older version.
	if err := h.activate(a, "app/flags", 3, 1); err != nil || h.shows("app/flags") != "one" {
		t.Errorf("rolled back to %q: %v", h.shows("app/flags"), err)
	}
	stop()
	a, _ = h.start(nil)
	if applied, ok := a.Applied("app/flags"); !ok || applied.Version != 1 || applied.Epoch != 3 {
		t.Errorf("after a restart: %+v", applied)
	}
	if s, ok := a.Status(t.Context()); !ok || s.Configs != 2 || s.Attached || s.Staleness != -1 {
		t.Errorf("status: %+v", s)
	}
	// The pointer may take the config away from this host.
	if err := h.activate(a, "app/flags", 4, 0); err != nil || h.shows("app/flags") != "" {
		t.Errorf("a config without a version shows %q: %v", h.shows("app/flags"), err)
	}
}

// A crash image of the host's disk is opened: nothing was closed, as after a power cut.
func TestACrashedAgentFindsWhatItCommitted(t *testing.T) {
	h := newHost(t)
	a, _ := h.start(nil)
	h.run(a, "app/flags", 1, "one")
	if err := h.store(a, "app/flags", 2, "two"); err != nil {
		t.Fatal(err)
	}
	crashed := newHost(t)
	if err := os.CopyFS(filepath.Join(crashed.dir, "state"), os.DirFS(filepath.Join(h.dir, "state"))); err != nil {
		t.Fatal(err)
	}
	copyTree(t, filepath.Join(h.dir, "out"), filepath.Join(crashed.dir, "out"))
	half := filepath.Join(crashed.dir, "out", "app", "flags", stagingPrefix+"3")
	if err := os.MkdirAll(half, 0o755); err != nil {
		t.Fatal(err)
	}
	b, _ := crashed.start(nil)
	if applied, ok := b.Applied("app/flags"); !ok || applied.Version != 1 || crashed.shows("app/flags") != "one" {
		t.Errorf("after a crash: %+v, shows %q", applied, crashed.shows("app/flags"))
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a half-written version is still there: %v", err)
	}
	if held := b.output.held("app/flags"); len(held) != 2 {
		t.Errorf("versions on disk: %v", held)
	}
}

// copyTree copies files and links.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.Walk(from, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case info.IsDir():
			return os.MkdirAll(target, 0o755)
		case info.Mode()&os.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, raw, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The agent dies after the commit and before the rename.
func TestACommittedSwapIsFinishedAtTheNextStart(t *testing.T) {
	h := newHost(t)
	a, stop := h.start(nil)
	h.run(a, "app/flags", 1, "one")
	h.run(a, "app/flags", 2, "two")
	stop()
	output, err := openOutputDir(filepath.Join(h.dir, "out"), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := output.present("app/flags", 1); err != nil {
		t.Fatal(err)
	}
	if h.shows("app/flags") != "one" {
		t.Fatal("the test could not undo the swap")
	}
	h.start(nil)
	if got := h.shows("app/flags"); got != "two" {
		t.Errorf("after the restart, app/flags shows %q", got)
	}
}

func TestADamagedCommittedVersionIsNotShownAsGood(t *testing.T) {
	h := newHost(t)
	a, stop := h.start(nil)
	h.run(a, "app/flags", 1, "one")
	stop()
	value := a.output.version(key("app/flags", 1)).value()
	if err := os.WriteFile(value, []byte("bad"), 0o644); err != nil {
		t.Fatal(err)
	}
	a, _ = h.start(nil)
	if applied, ok := a.Applied("app/flags"); ok {
		t.Errorf("a damaged version counts as applied: %+v", applied)
	}
	// Its bytes come again, and so does the pointer.
	h.run(a, "app/flags", 1, "one")
	if h.shows("app/flags") != "one" {
		t.Errorf("app/flags shows %q", h.shows("app/flags"))
	}
}

func TestAConfigThatIsNoLongerSubscribedLeavesTheDisk(t *testing.T) {
	h := newHost(t)
	a, stop := h.start(nil)
	h.run(a, "keep/a", 1, "a")
	h.run(a, "drop/deep/b", 1, "b")
	stop()
	a, stop = h.start(func(c *Config) { c.Subscriptions = wire.Subscribe("keep") })
	if h.shows("keep/a") != "a" || h.shows("drop/deep/b") != "" {
		t.Errorf("shows %q and %q", h.shows("keep/a"), h.shows("drop/deep/b"))
	}
	if _, err := os.Stat(filepath.Join(h.dir, "out", "drop")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of a config that is not subscribed to: %v", err)
	}
	if s, _ := a.Status(t.Context()); len(s.Subscriptions) != 1 || s.Subscriptions[0] != "keep" {
		t.Errorf("subscriptions: %v", s.Subscriptions)
	}
	// Its pointers are remembered and passed on, without files.
	h.passOn(a, h.other("drop/deep/b", 2, 2))
	if _, ok := a.Applied("drop/deep/b"); ok || h.shows("drop/deep/b") != "" {
		t.Error("a config that is not subscribed to is applied")
	}
	stop()
	a, _ = h.start(nil) // it subscribes again; the body must be fetched
	if applied, _ := a.Applied("drop/deep/b"); applied.Version != 0 {
		t.Error("a version without a body counts as applied")
	}
	h.run(a, "drop/deep/b", 3, "b3")
	if h.shows("drop/deep/b") != "b3" {
		t.Errorf("drop/deep/b shows %q", h.shows("drop/deep/b"))
	}
}

func TestOldVersionsAreDeletedAndNeverOneThatAPointerNames(t *testing.T) {
	h := newHost(t)
	a, _ := h.start(func(c *Config) { c.Keep = 2 })
	for v := uint64(1); v <= 5; v++ {
		h.run(a, "a", v, strings.Repeat("x", int(v)))
	}
	waitUntil(t, func() bool { return len(a.output.held("a")) == 2 })
	if held := a.output.held("a"); held[0].Version != 5 || held[1].Version != 4 {
		t.Errorf("on disk: %v", held)
	}
	if err := h.activate(a, "a", 6, 4); err != nil {
		t.Fatal(err)
	}
	for v := uint64(6); v <= 8; v++ {
		if err := h.store(a, "a", v, "x"); err != nil {
			t.Fatal(err)
		}
	}
	a.retention.prune("a")
	if err := check(a.output, "a", 4); err != nil {
		t.Errorf("the version that runs was deleted: %v", err)
	}
	// 4 runs; 5 was taken back, and 6 to 8 are in no pointer: the newest of these stays.
	if held := numbers(a.output.held("a")); !slices.Equal(held, []uint64{8, 4}) {
		t.Errorf("on disk: %v", held)
	}
}

// waitUntil polls what the agent does after it has acknowledged.
func waitUntil(t *testing.T, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatal("it did not happen within a minute")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestAQuotaDeletesTheOldestVersionsThatNobodyNeeds(t *testing.T) {
	h := newHost(t)
	a, _ := h.start(func(c *Config) {
		c.Keep = 100
		c.DiskQuota = 50_000
	})
	for v := uint64(1); v <= 8; v++ {
		h.run(a, "a", v, strings.Repeat("x", 9_000))
	}
	held := a.output.held("a")
	if held[0].Version != 8 || len(held) > 5 || len(held) < 2 {
		t.Errorf("on disk: %v", held)
	}
	if err := h.store(a, "a", 9, strings.Repeat("x", 49_000)); !errors.Is(err, ErrQuota) {
		t.Errorf("a version over the quota: %v, want ErrQuota", err)
	}
	if h.shows("a") == "" {
		t.Error("the version that runs is gone")
	}
}

func TestAnUnwritableDiskIsReportedBeforeTheAgentRuns(t *testing.T) {
	h := newHost(t)
	file := filepath.Join(h.dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"output directory": func(c *Config) { c.OutputDir = filepath.Join(file, "out") },
		"state directory":  func(c *Config) { c.StateDir = filepath.Join(file, "state") },
		"listen address":   func(c *Config) { c.Listen = "no such host:x" },
		"local API":        func(c *Config) { c.LocalAPI = "unix:" + filepath.Join(file, "sock") },
	} {
		cfg := h.config()
		change(&cfg)
		if _, err := Open(cfg); err == nil {
			t.Errorf("%s: the agent opens", name)
		}
	}
	a, _ := h.start(nil)
	a.output.reserve = 1 << 60
	if err := h.store(a, "a", 1, "x"); !errors.Is(err, diskspace.ErrFull) {
		t.Errorf("a full disk: %v, want ErrFull", err)
	}
}

func TestSettingsThatCannotBeAreUsageErrors(t *testing.T) {
	h := newHost(t)
	labels := map[string]string{}
	for i := range wire.MaxLabels + 1 {
		labels[strings.Repeat("k", i+1)] = "v"
	}
	for want, change := range map[string]func(*Config){
		"address":          func(c *Config) { c.Coordinators = nil },
		"output directory": func(c *Config) { c.OutputDir = "" },
		"state directory":  func(c *Config) { c.StateDir = "" },
		"labels":           func(c *Config) { c.Labels = labels },
		"subscriptions":    func(c *Config) { c.Subscriptions = wire.Subscriptions(strings.Repeat("a", 999)) },
		"nothing to do":    func(c *Config) { c.Leaf = true; c.Subscriptions = wire.SubscribeNothing },
		"cache limit":      func(c *Config) { c.CacheLimit = 1 },
		"loopback":         func(c *Config) { c.LocalAPI = "192.0.2.1:80" },
	} {
		cfg := h.config()
		change(&cfg)
		_, err := Open(cfg)
		var u *usage.Error
		if !errors.As(err, &u) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a usage error", want, err)
		}
	}
}

func TestAnAgentRunsOnlyWithTheIdentityOfAnAgent(t *testing.T) {
	h := newHost(t)
	coordinator := *h.bundle
	coordinator.Identity.Role = identity.RoleCoordinator
	cfg := h.config()
	cfg.Identity = &coordinator
	if _, err := Open(cfg); !errors.Is(err, identity.ErrIdentity) {
		t.Errorf("a coordinator's identity: %v, want ErrIdentity", err)
	}
}

// What the node reports is counted, and passed to OnEvent.
func TestWhatTheNodeReportsIsCounted(t *testing.T) {
	h := newHost(t)
	a, _ := h.start(nil)
	now := time.Now().UnixMicro()
	pointer := record.Pointer{Config: "a", Region: "eu", Term: 1, Epoch: 1, Baseline: key("a", 7).Ref(), TimeMicros: now}
	reports := []step.Output{
		{Op: step.OpAccepted, Pointer: step.Pointer{Announcement: &wire.Announcement{Pointer: pointer}}},
		{Op: step.OpRefused, Reason: "bad_signature", Name: "liar"},
		{Op: step.OpHead, Head: record.Head{TimeMicros: now}},
		{Op: step.OpGap},
		{Op: step.OpAttached},
		{Op: step.OpDuplicate},
		{Op: step.OpSuspect},
		{Op: step.OpSlow},
		{Op: step.OpDrop},
		{Op: step.OpGossip, Addrs: []string{"127.0.0.1:1"}},
	}
	a.driver.Do(t.Context(), func(*mesh.Node) {
		for _, o := range reports {
			a.observe(o)
		}
	})
	if h.count(EventVerified) != 1 || h.count(EventRefused) != 1 || !a.applied.needs(key("a", 7)) {
		t.Errorf("events: %+v", h.events)
	}
	if s := a.applied.staleness(); s > time.Minute {
		t.Errorf("staleness of %s after a new head", s)
	}
	if _, duplicates := a.Shards(); duplicates != 1 {
		t.Errorf("%d duplicates", duplicates)
	}
	var text strings.Builder
	a.metrics.write(&text)
	for _, line := range []string{`banyan_agent_refused_total{reason="bad_signature"} 1`, "banyan_agent_gaps_total 1",
		"banyan_agent_silent_sources_total 1", "banyan_agent_slow_children_total 1", "banyan_agent_links_dropped_total 1",
		"banyan_agent_attached 0", "banyan_agent_cache_bytes 0"} {
		if !strings.Contains(text.String(), line+"\n") {
			t.Errorf("metrics lack %q", line)
		}
	}
}

// A wrapper stands between the driver and the agent.
func TestAWrapperSeesWhatTheDriverAsksFor(t *testing.T) {
	h := newHost(t)
	var wrapped bool
	a, err := Open(h.config(), func(h transport.Handlers) transport.Handlers {
		wrapped = h.Bodies != nil && h.Receiver != nil && h.Cache != nil && h.Pointers != nil && h.Observe != nil
		return h
	})
	if err != nil {
		t.Fatal(err)
	}
	if !wrapped {
		t.Error("the wrapper was not given the agent's handlers")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func numbers(versions []record.Ref) (numbers []uint64) {
	for _, v := range versions {
		numbers = append(numbers, v.Version)
	}
	return numbers
}

// Versions that a whole region ran stay on the host, however many versions are staged and taken
// back after them. They stay after a restart of the agent, too.
func TestTruthFailedVersionsDoNotEvictProvenOnes(t *testing.T) {
	h := newHost(t)
	change := func(c *Config) { c.Keep = 3 }
	a, stop := h.start(change)
	h.run(a, "a", 1, "one")
	h.run(a, "a", 2, "two")
	for v := uint64(3); v <= 9; v++ {
		if err := h.store(a, "a", v, "bad"); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	a, _ = h.start(change)
	if err := h.activate(a, "a", 10, 2); err != nil { // back from version 9
		t.Fatal(err)
	}
	waitUntil(t, func() bool { return len(a.output.held("a")) == 3 })
	if held := numbers(a.output.held("a")); !slices.Equal(held, []uint64{9, 2, 1}) {
		t.Errorf("on disk: %v, want 9, 2, 1", held)
	}
	if err := h.activate(a, "a", 11, 1); err != nil {
		t.Fatal(err)
	}
	if got := h.shows("a"); got != "one" {
		t.Errorf("after the rollback the host shows %q", got)
	}
}

// A version that a person rolled back after the whole region ran it is not proven any more, and does
// not push out a version that ran well.
func TestTruthARolledBackVersionEvictsNoGoodOne(t *testing.T) {
	h := newHost(t)
	a, _ := h.start(func(c *Config) { c.Keep = 3 })
	epoch := uint64(0)
	run := func(version uint64, body string) {
		t.Helper()
		epoch++
		if err := h.store(a, "a", version, body); err != nil {
			t.Fatal(err)
		}
		if err := h.activate(a, "a", epoch, version); err != nil {
			t.Fatal(err)
		}
	}
	back := func(to uint64) {
		t.Helper()
		epoch++
		if err := h.activate(a, "a", epoch, to); err != nil {
			t.Fatal(err)
		}
	}
	run(1, "one")
	run(2, "two")
	for v := uint64(3); v <= 5; v++ { // each ran everywhere and was rolled back
		run(v, "bad")
		back(2)
	}
	run(6, "six")
	waitUntil(t, func() bool { return len(a.output.held("a")) == 3 })
	if held := numbers(a.output.held("a")); !slices.Equal(held, []uint64{6, 2, 1}) {
		t.Errorf("on disk: %v, want 6, 2, 1", held)
	}
	back(1)
	if got := h.shows("a"); got != "one" {
		t.Errorf("after the rollback the host shows %q", got)
	}
	// A config that is deleted has the same good versions when it comes back.
	epoch++
	gone := record.Pointer{Config: "a", Region: "eu", Term: 1, Epoch: epoch, Phase: record.PhaseDeleted, TimeMicros: time.Now().UnixMicro()}
	if err := h.applyLater(a, gone)(); err != nil {
		t.Fatal(err)
	}
	if got := numbers(a.state.proven("a")); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("proven after the deletion: %v, want 1, 2", got)
	}
	// A version that is brought live again is proven again.
	epoch++
	if err := h.activate(a, "a", epoch, 2); err != nil {
		t.Fatal(err)
	}
	if got := numbers(a.state.proven("a")); !slices.Equal(got, []uint64{2, 1}) {
		t.Errorf("proven: %v, want 2, 1", got)
	}
}

func TestProvenVersionsAreFewAndTheLatestComesFirst(t *testing.T) {
	var proven []record.Ref
	var before record.Ref
	move := func(v uint64) {
		now := key("a", v).Ref()
		proven = movedBaseline(proven, before, now)
		before = now
	}
	for v := uint64(1); v <= 3*maxProven; v++ {
		move(v)
	}
	move(3*maxProven - 2)
	if len(proven) != maxProven-1 || proven[0].Version != 3*maxProven-2 || proven[1].Version != 3*maxProven-1 {
		t.Errorf("%d versions: %v", len(proven), proven)
	}
}
