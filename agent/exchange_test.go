package agent_test

import (
	"math/rand/v2"
	"testing"

	"banyan/agent"
	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
	"banyan/mesh/step"
)

// randomBody returns a body that no compression makes smaller.
func randomBody(size int, seed byte) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// Agent 5 sends only poisoned shards. The agents of both regions get every body, and blame no
// other agent.
func TestALargeBodyIsTradedInEveryRegionThoughSomeSendPoison(t *testing.T) {
	const liar = 5
	f := fleettest.Start(t, fleet.Config{
		Agents: 16,
		Fanout: 4,
		Tamper: func(i int) func([]byte) {
			if i != liar {
				return nil
			}
			return func(shard []byte) { shard[0] ^= 1 }
		},
	})
	for v := range byte(2) {
		f.Spread("app/model", randomBody(2<<20+int(v), v))
	}
	traded := uint64(0)
	for _, a := range f.Agents {
		shards, _ := a.Shards()
		traded += shards
	}
	if traded == 0 {
		t.Error("agents traded no shard: the test shows nothing")
	}
	blamed := map[string]int{}
	for _, e := range f.Events() {
		if e.Kind == agent.EventRefused && e.Reason == step.ReasonPoison {
			blamed[e.Peer]++
		}
	}
	for name, n := range blamed {
		if name != f.Agents[liar].Name() {
			t.Errorf("%s is blamed for %d poisoned shards, but %s sent them", name, n, f.Agents[liar].Name())
		}
	}
	t.Logf("%d shards traded, poison %v", traded, blamed)
}
