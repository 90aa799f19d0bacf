package fleet

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/mesh/step"
)

func randomBody(size int, seed byte) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// lines is a text that compresses, of which edited changes a little.
func lines(n, edited int) []byte {
	var b bytes.Buffer
	for i := range n {
		value := uint32(i) * 2654435769
		if i < edited {
			value++
		}
		fmt.Fprintf(&b, "setting-%06d = %08x\n", i, value)
	}
	return b.Bytes()
}

// spread publishes a body and waits until every agent shows it.
func spread(t *testing.T, ctx context.Context, f *Fleet, config string, body []byte) api.Version {
	t.Helper()
	v, epochs, err := f.Publish(ctx, api.Draft{Config: config, Body: body, ContentType: "application/octet-stream"})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WaitApplied(ctx, config, epochs); err != nil {
		t.Fatal(err)
	}
	for i := range f.Agents {
		got, err := os.ReadFile(filepath.Join(f.AgentDir(i), "configs", config, "value"))
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("agent %d shows %d bytes: %v", i, len(got), err)
		}
	}
	return v
}

func TestALargeBodyIsTradedInEveryRegionThoughSomeSendPoison(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var (
		mu     sync.Mutex
		blamed = map[string]int{}
	)
	f, err := Start(ctx, Config{Dir: t.TempDir(), Agents: 16, Fanout: 4, Tamper: func(i int) func([]byte) {
		if i != 5 {
			return nil
		}
		return func(shard []byte) { shard[0] ^= 1 }
	}, OnEvent: func(e agent.Event) {
		if e.Kind == agent.EventRefused && e.Reason == step.ReasonPoison {
			mu.Lock()
			defer mu.Unlock()
			blamed[e.Peer]++
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Stop()
	if err := f.WaitAttached(ctx); err != nil {
		t.Fatal(err)
	}
	for v := range byte(2) {
		spread(t, ctx, f, "app/model", randomBody(2<<20+int(v), v))
	}
	traded := uint64(0)
	for _, a := range f.Agents {
		shards, _ := a.Shards()
		traded += shards
	}
	if traded == 0 {
		t.Error("no shard was traded: the test shows nothing")
	}
	mu.Lock()
	defer mu.Unlock()
	liar := f.Agents[5].Name()
	for name, n := range blamed {
		if name != liar {
			t.Errorf("%s is blamed for %d shards of poison, the liar is %s", name, n, liar)
		}
	}
	t.Logf("%d shards traded, poison %v", traded, blamed)
}

func TestAnEditTravelsAsADeltaAlsoToOtherRegions(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	f, err := Start(ctx, Config{Dir: t.TempDir(), Agents: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Stop()
	if err := f.WaitAttached(ctx); err != nil {
		t.Fatal(err)
	}
	spread(t, ctx, f, "app/table", lines(60_000, 0))
	v := spread(t, ctx, f, "app/table", lines(60_000, 100))
	if len(v.Forms) != 2 || v.Forms[1].Size*10 > v.Forms[0].Size {
		t.Fatalf("forms %+v", v.Forms)
	}
	for i := range f.Agents {
		if _, err := os.Stat(filepath.Join(f.AgentDir(i), "configs", "app", "table", "..v2", "form1")); err != nil {
			t.Errorf("agent %d did not take the delta: %v", i, err)
		}
	}
	h, err := f.Client.Holders(ctx, "app/table", 2, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, region := range f.Config.Regions {
		if heard := h.Regions[region]; heard.Heard != 4 || len(h.Holders) != 8 {
			t.Errorf("a survey heard of %+v in %s, and of %d holders", heard, region, len(h.Holders))
		}
	}
	late, err := f.StartAgent(8) // has no base
	if err != nil {
		t.Fatal(err)
	}
	err = Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		applied, ok := late.Applied("app/table")
		return ok && applied.Version == 2, nil
	})
	if err != nil {
		t.Errorf("an agent without the base did not get the version: %v", err)
	}
}

func TestAQuotaEvictsTheOldestAndNeverWhatRuns(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	f, err := Start(ctx, Config{Dir: t.TempDir(), Agents: 2, Regions: []string{"eu"}, DiskQuota: 5 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Stop()
	if err := f.WaitAttached(ctx); err != nil {
		t.Fatal(err)
	}
	for v := range byte(4) {
		spread(t, ctx, f, "app/model", randomBody(2<<20, v))
	}
	kept, err := filepath.Glob(filepath.Join(f.AgentDir(0), "configs", "app", "model", "..v*"))
	if err != nil || len(kept) != 2 {
		t.Errorf("with room for two of them, %d versions are kept: %v, %v", len(kept), kept, err)
	}
	// One that fits only if what runs went is refused, and what runs goes on.
	_, epochs, err := f.Publish(ctx, api.Draft{Config: "app/model", Body: randomBody(4<<20, 9), ContentType: "application/octet-stream"})
	if err != nil {
		t.Fatal(err)
	}
	err = Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		s, err := f.Client.ConfigStatus(ctx, "app/model")
		return err == nil && s.Regions[0].Epoch == epochs["eu"] && s.Regions[0].Failed > 0, err
	})
	if err != nil {
		t.Fatalf("nobody says that there is no room: %v", err)
	}
	if applied, _ := f.Agents[0].Applied("app/model"); applied.Version != 4 {
		t.Errorf("version %d runs, want 4", applied.Version)
	}
}
