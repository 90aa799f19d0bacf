package agent_test

import (
	"path/filepath"
	"testing"

	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
)

// A quota of 5 MiB has room for two versions of 2 MiB. A version of 4 MiB would fit only
// without the version that runs: agents refuse the large version, and the old version goes on.
func TestAQuotaEvictsTheOldestAndNeverWhatRuns(t *testing.T) {
	const config = "app/model"
	f := fleettest.Start(t, fleet.Config{Agents: 2, Regions: []string{"eu"}, DiskQuota: 5 << 20})
	for v := range byte(4) {
		f.Spread(config, randomBody(2<<20, v))
	}
	kept, err := filepath.Glob(f.Path(0, config, "..v*"))
	if err != nil || len(kept) != 2 {
		t.Errorf("%d versions are kept, want 2: %v, %v", len(kept), kept, err)
	}
	_, epochs := f.Announce(config, randomBody(4<<20, 9))
	f.Until("the report that the disk has no room", func() bool {
		s, err := f.Client.ConfigStatus(t.Context(), config)
		return err == nil && s.Regions[0].Epoch == epochs["eu"] && len(s.Regions[0].Failures) == len(f.Agents)
	})
	// A full disk says nothing about the version.
	if s, err := f.Client.ConfigStatus(t.Context(), config); err != nil || s.Regions[0].Failed != 0 || s.Regions[0].Applied != 0 ||
		!s.Regions[0].Failures[0].Delayed {
		t.Errorf("status: %+v, %v", s, err)
	}
	if applied, _ := f.Agents[0].Applied(config); applied.Version != 4 {
		t.Errorf("version %d runs, want 4", applied.Version)
	}
}
