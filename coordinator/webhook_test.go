package coordinator_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"banyan/internal/fleet/fleettest"
	"banyan/rollout"
)

// A wave waits while its webhook answers 503, goes on after 200, and fails after any other
// answer, or when nobody has answered within the limit.
func TestAWebhookHoldsAndFailsAWave(t *testing.T) {
	var status, asked atomic.Int64
	status.Store(http.StatusServiceUnavailable)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.WriteHeader(int(status.Load()))
		fmt.Fprint(w, "error budget is spent")
	}))
	defer server.Close()
	f := fleettest.Start(t, fleettest.Canaries(5))
	f.Install("a", "one")
	plan := fmt.Sprintf(`
waves:
- share: 50%%
  gates: {webhooks: [{name: budget, url: '%s/', every: 20ms, limit: 30s}]}
- share: 100%%
`, server.URL)
	f.RollOut("a", f.Store("a", "two"), plan)
	f.Until("several questions", func() bool { return asked.Load() > 5 })
	if r, _ := f.Client.Rollout(t.Context(), "a"); r.Part != rollout.Baking || r.Wave != 0 {
		t.Fatalf("without an answer the rollout is %s", r.Title)
	}
	status.Store(http.StatusOK)
	f.WaitRollout("a", rollout.Done)

	status.Store(http.StatusTeapot)
	f.RollOut("a", f.Store("a", "three"), plan)
	if r := f.WaitRollout("a", rollout.RolledBack); !strings.Contains(r.Why, "error budget is spent") {
		t.Errorf("why: %s", r.Why)
	}
	server.Close()
	f.RollOut("a", f.Store("a", "four"), strings.Replace(plan, "limit: 30s", "limit: 300ms", 1))
	if r := f.WaitRollout("a", rollout.RolledBack); !strings.Contains(r.Why, "could not be asked") {
		t.Errorf("why: %s", r.Why)
	}
	f.WaitShown("a", "two")
}
