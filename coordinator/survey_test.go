package coordinator_test

import (
	"crypto/rand"
	"testing"
	"time"

	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
	"banyan/transport/emulated"
)

// A body of 2 MiB crosses links of 4 Mbit/s: during the seconds of the transfer, a survey shows
// an agent with a part of the shards.
func TestASurveyTellsHowFarABodyIs(t *testing.T) {
	f := fleettest.Start(t, fleet.Config{
		Agents:  2,
		Regions: []string{"eu"},
		Link:    &emulated.Link{Rate: 4e6, DownRate: 4e6},
	})
	body := make([]byte, 2<<20)
	rand.Read(body)
	f.Announce("app/model", body)
	f.Until("an agent with a part of the body", func() bool {
		h, err := f.Client.Holders(t.Context(), "app/model", 0, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(h.Holders) != 2 {
			return false
		}
		a := h.Holders[0]
		return !a.Whole && !a.Cached && a.Shards > 0 && a.Shards < a.Of && a.Of == 64
	})
}
