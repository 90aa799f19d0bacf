package agent_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
)

// truth is a fleet whose statements are compared with the files of its hosts.
type truth struct {
	*fleettest.Fleet
	t *testing.T
}

func newTruth(t *testing.T, cfg fleet.Config) *truth {
	t.Helper()
	cfg.Agents = 2
	cfg.Regions = []string{"eu"}
	return &truth{fleettest.Start(t, cfg), t}
}

// activate activates a version of config a and waits until the status counts every agent as
// applied. Then every agent must show the text.
func (f *truth) activate(version uint64, text string) {
	f.t.Helper()
	epochs, err := f.Activate(f.t.Context(), "a", version)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Until("every agent in the status", func() bool {
		s, err := f.Client.ConfigStatus(f.t.Context(), "a")
		return err == nil && s.Regions[0].Epoch == epochs["eu"] && s.Regions[0].Applied == uint64(len(f.Agents))
	})
	f.shows(text)
}

// shows compares what every agent says with what the agent shows.
func (f *truth) shows(text string) {
	f.t.Helper()
	for i := range f.Agents {
		got, err := os.ReadFile(f.Path(i, "a", "value"))
		if err != nil || string(got) != text {
			f.t.Errorf("agent %d shows %q, want %q: %v", i, got, text, err)
		}
		if code, said := f.says(i); code != http.StatusOK || said != text {
			f.t.Errorf("the local API of agent %d says %q (%d), want %q", i, said, code, text)
		}
	}
}

// says asks the local API of agent i for the file.
func (f *truth) says(i int) (code int, text string) {
	f.t.Helper()
	address := f.Agents[i].LocalAddr()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, address.Network(), address.String())
	}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("http://agent/v1/configs/a/value")
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

// waitRepaired waits for the report that agent i has overwritten a drift.
func (f *truth) waitRepaired(i int) {
	f.t.Helper()
	f.Until("the report of the drift", func() bool {
		all, err := f.Client.Drifts(f.t.Context())
		return err == nil && len(all) == 1 && all[0].Agent == f.Agents[i].Name() && all[0].Repaired
	})
}

// withoutWatch is a fleet with local APIs, whose agents look for drift only when they apply.
func withoutWatch() fleet.Config {
	return fleet.Config{OnAgent: func(_ int, c *agent.Config) {
		c.LocalAPI = "127.0.0.1:0"
		c.DriftInterval = -1
	}}
}

// replace puts a file in the place of whatever has the name path, as editors do.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// An editor replaces the link value by a file. Later versions and rollbacks replace the file.
func TestTruthAFileInThePlaceOfTheLinkIsReplaced(t *testing.T) {
	f := newTruth(t, withoutWatch())
	one, two := f.Store("a", "one"), f.Store("a", "two")
	f.activate(one, "one")
	replace(t, f.Path(0, "a", "value"), "by hand")
	if code, said := f.says(0); code != http.StatusServiceUnavailable {
		t.Errorf("the local API says %q (%d), and the file is \"by hand\"", said, code)
	}
	f.activate(two, "two")
	f.waitRepaired(0)
	replace(t, f.Path(0, "a", "value"), "by hand")
	f.activate(one, "one")
}

// A directory in the place of a link is replaced too.
func TestTruthADirectoryInThePlaceOfTheLinkIsReplaced(t *testing.T) {
	f := newTruth(t, withoutWatch())
	one, two := f.Store("a", "one"), f.Store("a", "two")
	f.activate(one, "one")
	for _, name := range []string{"value", "meta.json", "..data"} {
		path := f.Path(0, "a", name)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(path, "deep"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f.activate(two, "two")
	f.waitRepaired(0)
}

// The body of a live version is edited through the link. The host is moved away from the version
// and back.
func TestTruthAnEditedVersionIsNotShownAgain(t *testing.T) {
	f := newTruth(t, withoutWatch())
	one, two := f.Store("a", "one"), f.Store("a", "two")
	f.activate(one, "one")
	f.activate(two, "two")
	if err := os.WriteFile(f.Path(1, "a", "value"), []byte("owt"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.activate(one, "one")
	f.waitRepaired(1)
	f.activate(two, "two")
	meta := f.Path(1, "a", "meta.json")
	before, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(meta, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.activate(one, "one")
	f.activate(two, "two")
	if after, err := os.ReadFile(meta); err != nil || string(after) != string(before) {
		t.Errorf("meta.json is %q: %v", after, err)
	}
}

// The body of the live version is edited through the link, and the host fetches the version again
// because a new pointer names it. Readers saw the edit, so it is reported.
func TestTruthAnEditThatStagingOverwritesIsReported(t *testing.T) {
	f := newTruth(t, withoutWatch())
	one := f.Store("a", "one")
	f.activate(one, "one")
	if err := os.WriteFile(f.Path(0, "a", "value"), []byte("eno"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.activate(one, "one")
	f.waitRepaired(0)
}

// Somebody deletes the directory of a version, and the host is to show that version.
func TestTruthADeletedVersionIsFetchedAgain(t *testing.T) {
	f := newTruth(t, withoutWatch())
	one, two := f.Store("a", "one"), f.Store("a", "two")
	f.activate(one, "one")
	f.activate(two, "two")
	dirs, err := filepath.Glob(f.Path(0, "a", "..v1*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("directories of version 1: %v, %v", dirs, err)
	}
	if err := os.RemoveAll(dirs[0]); err != nil {
		t.Fatal(err)
	}
	f.activate(one, "one")
}

// Somebody deletes the whole directory of a config.
func TestTruthADeletedConfigIsFetchedAgain(t *testing.T) {
	f := newTruth(t, withoutWatch())
	one, two := f.Store("a", "one"), f.Store("a", "two")
	f.activate(one, "one")
	f.activate(two, "two")
	if err := os.RemoveAll(f.Path(0, "a")); err != nil {
		t.Fatal(err)
	}
	f.activate(one, "one")
	f.waitRepaired(0)
	f.activate(two, "two")
}

// A check writes to the file that it checks. The altered file is never shown, and the status
// says why the version does not run.
func TestTruthACheckCannotChangeTheFile(t *testing.T) {
	cfg := withHooks(2, func(string) agent.Rule {
		return agent.Rule{Config: "a", Check: &agent.Check{
			Command: shell(`test "$BANYAN_VERSION" = 1 || echo evil >> "$BANYAN_PATH"`),
		}}
	})
	hooks := cfg.OnAgent
	cfg.OnAgent = func(i int, c *agent.Config) {
		hooks(i, c)
		c.LocalAPI = "127.0.0.1:0"
	}
	f := newTruth(t, cfg)
	f.activate(f.Store("a", "one"), "one")
	if _, err := f.Activate(t.Context(), "a", f.Store("a", "two")); err != nil {
		t.Fatal(err)
	}
	var s api.RegionStatus
	f.Until("the failure of both agents", func() bool {
		status, err := f.Client.ConfigStatus(t.Context(), "a")
		if err != nil {
			return false
		}
		s = status.Regions[0]
		return s.Failed == 2
	})
	if s.Applied != 0 || !strings.Contains(s.Failures[0].Reason, "changed the file") {
		t.Errorf("status: %+v", s)
	}
	f.shows("one")
}

// The local API does not vouch for a file that was altered in place, or that is gone.
func TestTruthTheLocalAPISaysWhatTheFileIs(t *testing.T) {
	f := newTruth(t, withoutWatch())
	f.activate(f.Store("a", "one"), "one")
	path := f.Path(0, "a", "value")
	if err := os.WriteFile(path, []byte("eno"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, said := f.says(0); code == http.StatusOK {
		t.Errorf("the file is altered, and the local API says %q", said)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if code, said := f.says(0); code == http.StatusOK {
		t.Errorf("the file is gone, and the local API says %q", said)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

// A leader that has started again knows which files were changed before, also if the host has not
// said so again.
func TestTruthARestartedLeaderKnowsChangedFiles(t *testing.T) {
	f := newTruth(t, fleet.Config{
		KeepAlive:   200 * time.Millisecond,
		IdleTimeout: time.Second,
		OnAgent: func(_ int, c *agent.Config) {
			c.LocalAPI = "127.0.0.1:0"
			c.DriftInterval = time.Second
		},
	})
	one := f.Store("a", "one")
	f.activate(one, "one")
	replace(t, f.Path(0, "a", "value"), "by hand")
	counted := func() bool {
		s, err := f.Client.ConfigStatus(t.Context(), "a")
		return err == nil && s.Regions[0].Applied == 1 && s.Regions[0].Drifted == 1
	}
	f.Until("the changed file to be counted", counted)
	f.StopAgent(f.Agents[0]) // it says nothing more
	if err := f.RestartCoordinator(0); err != nil {
		t.Fatal(err)
	}
	f.Until("the drift after the restart", func() bool {
		drifts, err := f.Client.Drifts(t.Context())
		return err == nil && len(drifts) == 1 && drifts[0].Config == "a" && !drifts[0].Repaired
	})
}

// The file of a host is edited by hand, and no rule says that it is repaired: status counts the host
// as changed and not as applied, until the file is right again.
func TestTruthAHostWithAChangedFileIsNotCountedAsApplied(t *testing.T) {
	f := newTruth(t, fleet.Config{OnAgent: func(_ int, c *agent.Config) {
		c.LocalAPI = "127.0.0.1:0"
		c.DriftInterval = 50 * time.Millisecond
	}})
	one := f.Store("a", "one")
	f.activate(one, "one")
	replace(t, f.Path(0, "a", "value"), "by hand")
	counts := func(applied, drifted uint64) func() bool {
		return func() bool {
			s, err := f.Client.ConfigStatus(t.Context(), "a")
			return err == nil && s.Regions[0].Applied == applied && s.Regions[0].Drifted == drifted
		}
	}
	f.Until("the changed file to be counted", counts(uint64(len(f.Agents)-1), 1))
	two := f.Store("a", "two")
	f.activate(two, "two")
	f.Until("all files to be right", counts(uint64(len(f.Agents)), 0))
}
