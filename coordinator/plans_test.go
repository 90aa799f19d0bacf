package coordinator_test

import (
	"strings"
	"testing"

	"banyan/coordinator/api"
	"banyan/internal/fleet/fleettest"
)

// A plan with a region or a label that the fleet lacks is neither stored nor followed. The
// error names the mistake.
func TestPlansAreRefusedThatTheFleetCantFollow(t *testing.T) {
	f := fleettest.Start(t, fleettest.Canaries(5))
	version := f.Store("a", "one")
	for plan, want := range map[string]string{
		"regions: [[mars]]": "mars",
		"waves: [{labels: {canary: maybe}}, {share: 100%}]": "canary=maybe",
		"waves: [{share: 10%}]":                             "100%",
		"waves: nonsense":                                   "/waves",
	} {
		_, err := f.Client.StartRollout(t.Context(), "a", api.StartRollout{Version: version, Plan: plan})
		if !api.IsCode(err, api.CodeRejected) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", plan, err)
		}
		if err := f.Client.PutPlan(t.Context(), "p", plan); !api.IsCode(err, api.CodeRejected) {
			t.Errorf("stored: %s: %v", plan, err)
		}
	}
	if r, err := f.Client.Rollout(t.Context(), "a"); err == nil {
		t.Errorf("a refused plan left a rollout: %s", r.Title)
	}
}
