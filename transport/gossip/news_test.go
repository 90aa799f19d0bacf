package gossip_test

import (
	"testing"

	"banyan/agent"
	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
	"banyan/transport/emulated"
)

// Agent 0 is cut off from the tree, but not from the gossip pool. It learns that there is a newer
// revision, and catches up when the tree is whole again. A tree without gossip works, too: the
// fleets of all other tests have no gossip.
func TestGossipRevealsWhatABrokenTreeHides(t *testing.T) {
	f := fleettest.Start(t, fleet.Config{
		Agents: 4,
		Fanout: 4,
		Gossip: true,
		Link:   &emulated.Link{},
	})
	f.Spread("web/flags", []byte("one"))
	a := f.Agents[0]
	status := func() agent.Status {
		s, _ := a.Status(t.Context())
		return s
	}
	f.Until("the agent to be in the gossip pool", func() bool {
		s := status()
		return s.Gossip >= 3 && s.Known > 0
	})
	before := status()
	f.Socket(a).Cut(true)
	f.Announce("web/flags", []byte("two"))
	f.Until("gossip to reveal the new revision", func() bool {
		s := status()
		return s.Known > before.Known && s.Revision == before.Revision
	})
	f.Socket(a).Cut(false)
	f.Until("the agent to catch up", func() bool {
		s := status()
		return s.Known > before.Known && s.Revision == s.Known
	})
}
