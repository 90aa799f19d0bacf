package scale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"banyan/coordinator"
	"banyan/fec"
	"banyan/internal/embeddb"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// How long a leader is measured, after the time in which it reads its store.
const (
	warmUp  = 20 * time.Second
	measure = 10 * time.Second
)

// plan has every rollout of Rollouts wait for hosts.
const plan = "stage: {timeout: 1h}\nwaves: [{share: 10%, bake: 1h}, {share: 100%, bake: 1h}]\n"

// RolloutsResult is what a leader needs for rollouts in progress.
type RolloutsResult struct {
	// Share is the processor time in a second, in seconds.
	Share float64
}

// Rollouts measures a leader that goes on with rollouts which it finds in its store in dir. No host is
// attached, so the rollouts wait.
func Rollouts(ctx context.Context, dir string, rollouts, regions int) (r RolloutsResult, err error) {
	cfg, err := crowded(ctx, dir, rollouts, regions)
	if err != nil {
		return r, err
	}
	leader, err := coordinator.Open(ctx, cfg)
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- leader.Run(ctx) }()
	err = sleep(ctx, warmUp)
	before := cpuTime()
	if err == nil {
		err = sleep(ctx, measure)
	}
	r.Share = (cpuTime() - before).Seconds() / measure.Seconds()
	cancel()
	return r, errors.Join(err, <-ended)
}

// crowded returns the configuration of a leader whose store has rollouts in progress.
func crowded(ctx context.Context, dir string, rollouts, regions int) (cfg coordinator.Config, err error) {
	names := make([]string, regions)
	for i := range names {
		names[i] = fmt.Sprintf("region-%03d", i)
	}
	home, err := identity.InitHome(filepath.Join(dir, "home"), names, "bench")
	if err != nil {
		return cfg, err
	}
	cfg = coordinator.Config{
		DataDir: filepath.Join(dir, "data"),
		Listen:  "127.0.0.1:0",
		API:     "127.0.0.1:0",
	}
	cfg.Identity, err = identity.Load(home.CoordinatorDir(names[0]))
	if err != nil {
		return cfg, err
	}
	keys := map[string]record.Key{}
	for _, name := range names {
		keys[name], err = record.LoadKey(home.ActivationKey(name))
		if err != nil {
			return cfg, err
		}
		cfg.ActivationKeys = append(cfg.ActivationKeys, keys[name])
	}
	publisher, err := record.LoadKey(home.PublisherKey("bench"))
	if err != nil {
		return cfg, err
	}
	store, err := versionstore.OpenBadger(filepath.Join(cfg.DataDir, "store"), embeddb.Options{})
	if err != nil {
		return cfg, err
	}
	defer store.Close()
	for i := range rollouts {
		t, err := beginning(fmt.Sprintf("config/%06d", i), publisher, keys)
		if err != nil {
			return cfg, err
		}
		if _, err := store.Commit(ctx, t); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

// beginning returns the transaction that stores a version and the first step of its rollout.
func beginning(
	config string, publisher record.Key, keys map[string]record.Key,
) (t versionstore.Transaction, err error) {
	body := []byte("{}")
	form, _, err := fec.FormOf(body)
	if err != nil {
		return t, err
	}
	m := record.Manifest{
		Config:      config,
		Version:     1,
		BodySize:    int64(len(body)),
		BodySHA256:  record.Sum(body),
		ContentType: "application/json",
		Forms:       []record.Form{form},
		TimeMillis:  time.Now().UnixMilli(),
	}
	raw, err := record.SignManifest(m, publisher)
	if err != nil {
		return t, err
	}
	parsed, err := rollout.ParsePlan([]byte(plan))
	if err != nil {
		return t, err
	}
	pointers := map[string]record.Pointer{}
	view := rollout.View{Regions: map[string]rollout.Region{}}
	for region := range keys {
		pointers[region] = record.Pointer{}
		view.Regions[region] = rollout.Region{}
	}
	s, err := rollout.Start(1, config, m.Ref(), parsed, pointers, nil, "bench", "", time.Now())
	if err != nil {
		return t, err
	}
	next, moves, _ := rollout.Decide(s, view, 0)
	t = versionstore.Transaction{
		Term:     1,
		Versions: []versionstore.SignedManifest{{Manifest: m, Raw: raw, By: "bench"}},
		By:       "bench",
	}
	for _, p := range moves {
		p.Term = 1
		p.TimeMicros = time.Now().UnixMicro()
		raw, err := record.SignPointer(p, keys[p.Region])
		if err != nil {
			return t, err
		}
		t.Pointers = append(t.Pointers, versionstore.SignedPointer{Pointer: p, Raw: raw})
	}
	state, err := json.Marshal(next)
	t.Documents = []versionstore.DocumentWrite{{Kind: kindRollout, Name: config, Raw: state}}
	return t, err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
