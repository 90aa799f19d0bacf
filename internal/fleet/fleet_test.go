package fleet

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/draft"
)

func TestConfigReachesEveryAgentOfBothRegionsAndComesBack(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f, err := Start(ctx, Config{Dir: t.TempDir(), Agents: 12, Fanout: 3, HeadInterval: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Stop()
	if err := f.WaitAttached(ctx); err != nil {
		t.Fatal(err)
	}
	const config = "payments/limits"
	bodies := []string{`{"limit": 1}`, `{"limit": 2}`}
	for _, body := range bodies {
		_, epochs, err := f.Publish(ctx, api.Draft{Config: config, Body: []byte(body), ContentType: draft.TypeJSON})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.WaitApplied(ctx, config, epochs); err != nil {
			t.Fatal(err)
		}
		expectFiles(t, f, config, body)
	}
	epochs, err := f.Activate(ctx, config, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WaitApplied(ctx, config, epochs); err != nil {
		t.Fatal(err)
	}
	expectFiles(t, f, config, bodies[0])

	err = Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		s, err := f.Client.ConfigStatus(ctx, config)
		if err != nil {
			return false, err
		}
		for _, r := range s.Regions {
			if r.Epoch != 3 || r.Applied != 6 || r.Agents != 6 || r.Version != 1 {
				return false, nil
			}
		}
		return len(s.Regions) == 2, nil
	})
	if err != nil {
		s, _ := f.Client.ConfigStatus(context.Background(), config)
		t.Errorf("acknowledgements did not all arrive: %+v", s)
	}
}

func expectFiles(t *testing.T, f *Fleet, config, want string) {
	t.Helper()
	for i := range f.Agents {
		got, err := os.ReadFile(filepath.Join(f.AgentDir(i), "configs", config, "value"))
		if err != nil || string(got) != want {
			t.Fatalf("agent %d: value is %q, %v; want %q", i, got, err, want)
		}
	}
}
