package agent_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
)

// settings returns a text of n lines, which compresses well. Texts with different edited differ
// in at most that many lines.
func settings(n, edited int) []byte {
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

func TestAnEditTravelsAsADeltaAlsoToOtherRegions(t *testing.T) {
	const config = "app/table"
	f := fleettest.Start(t, fleet.Config{Agents: 8})
	f.Spread(config, settings(60_000, 0))
	v := f.Spread(config, settings(60_000, 100))
	if len(v.Forms) != 2 || v.Forms[1].Size*10 > v.Forms[0].Size {
		t.Fatalf("forms %+v", v.Forms)
	}
	for i := range f.Agents {
		if found, err := filepath.Glob(f.Path(i, config, "..v2-*", "form1")); err != nil || len(found) != 1 {
			t.Errorf("agent %d did not take the delta: %v", i, err)
		}
	}
	h, err := f.Client.Holders(t.Context(), config, 2, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, region := range f.Config.Regions {
		if heard := h.Regions[region]; heard.Heard != 4 || len(h.Holders) != 8 {
			t.Errorf("a survey heard of %+v in %s, and of %d holders", heard, region, len(h.Holders))
		}
	}
	// A new agent has no version to which a delta could apply.
	late, err := f.StartAgent(8)
	if err != nil {
		t.Fatal(err)
	}
	f.Until("version 2 at an agent without version 1", func() bool {
		applied, ok := late.Applied(config)
		return ok && applied.Version == 2
	})
}
