package coordinator

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"banyan/coordinator/api"
	"banyan/internal/embeddb"
	"banyan/rollout"
	"banyan/versionstore"
)

// With more rollouts in the store than one listing returns, a restarted leader goes on with the last
// of them, and lists them all.
func TestTruthEveryRolloutGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	f := newFixture(t, func(c *Config) { c.DataDir = dir })
	r := f.baking("z/last")
	f.stop()
	fill(t, dir, versionstore.MaxPage+1)
	f.start(dir, nil)
	f.connect()
	all, err := f.alice.Rollouts(f.ctx, "")
	if err != nil || len(all) != versionstore.MaxPage+2 {
		t.Fatalf("%d rollouts are listed (%v), want %d", len(all), err, versionstore.MaxPage+2)
	}
	if last := all[len(all)-1]; last.Config != "z/last" || last.ID != r.ID {
		t.Errorf("the last of them is rollout %d of %s", last.ID, last.Config)
	}
	f.eventually("the promotion", func() bool {
		_, err := f.alice.AskRollout(f.ctx, "z/last", rollout.Promote, api.RolloutRequest{})
		return err == nil
	})
	f.reaches("z/last", "the next wave", func(r2 api.Rollout) bool { return r2.Wave > r.Wave || r2.Status == rollout.Done })
}

// fill stores rollouts of n configs that have ended.
func fill(t *testing.T, dir string, n int) {
	t.Helper()
	store, err := versionstore.OpenBadger(filepath.Join(dir, "store"), embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var writes []versionstore.DocumentWrite
	for i := range n {
		s := rollout.State{Config: fmt.Sprintf("a/%06d", i), ID: 1, Version: 1, Status: rollout.Done}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		writes = append(writes, versionstore.DocumentWrite{Kind: kindRollout, Name: s.Config, Raw: raw})
		if len(writes) < 100 && i < n-1 {
			continue
		}
		_, err = store.Commit(t.Context(), versionstore.Transaction{Term: 1, Documents: writes, By: "test"})
		if err != nil {
			t.Fatal(err)
		}
		writes = nil
	}
}

// A config for which a region has no room is refused before its version is stored.
func TestTruthAConfigTooManyIsNotStored(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.limits.Configs = maxRollouts + 1 })
	f.rollOut("first", f.publish("first", "{}"), "")
	f.reaches("first", "its end", isDone)
	draft := api.Draft{Config: "second", Body: []byte("{}"), ContentType: "application/json"}
	_, err := f.alice.PublishAndStart(f.ctx, draft, &api.StartRollout{}, f.key)
	f.refuses("a config too many", err, api.CodeRejected)
	if configs, err := f.alice.Configs(f.ctx, ""); err != nil || len(configs) != 1 {
		t.Errorf("the store has the configs %v (%v)", configs, err)
	}
	f.rollOut("first", f.publish("first", `{"n": 2}`), "")
	f.reaches("first", "its end", func(r api.Rollout) bool { return r.ID == 2 && isDone(r) })
}
