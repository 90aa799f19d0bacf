package scale

import (
	"fmt"
	"runtime"
	"time"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/rollout"
)

// LeaderResult is what a leader needs for the pointers of many regions.
type LeaderResult struct {
	Regions, Configs int
	// Refused is the number of pointers that the node did not take.
	Refused int
	// Bytes is the memory that the leader's node and the counting of acknowledgements need.
	Bytes int64
	// PerPointer is the processor time to take one pointer.
	PerPointer time.Duration
}

// Leader measures the node of a leader that publishes a pointer of each config in each region.
func Leader(regions, configs int) LeaderResult {
	r := LeaderResult{Regions: regions, Configs: configs}
	before := heap()
	n := mesh.NewNode(mesh.Config{
		Self:        wire.Identity{Role: wire.RoleCoordinator, Region: region, Name: "leader"},
		Description: wire.Description{Addr: "leader:1", Relay: true},
		Root:        &mesh.RootConfig{},
		HoldsAll:    true,
		Verifier:    trusting{},
	})
	tracker := rollout.NewTracker()
	var took time.Duration
	signed := rawPointer(pointerOf("config/000000", region, 1)) // each has as many bytes
	for i := range configs {
		for j := range regions {
			p := pointerOf(fmt.Sprintf("config/%06d", i), fmt.Sprintf("region-%03d", j), 1)
			raw := append([]byte(nil), signed...)
			revision := uint64(i*regions + j + 1)
			began := cpuTime()
			tracker.Moved(p)
			r.Refused += publish(n, wire.NewAnnouncement(revision, raw, p))
			took += cpuTime() - began
		}
	}
	r.PerPointer = took / time.Duration(regions*configs)
	r.Bytes = heap() - before
	runtime.KeepAlive(n)
	runtime.KeepAlive(tracker)
	return r
}

// publish gives the node a pointer of its store. It returns 1 if the node refuses the pointer.
func publish(n *mesh.Node, a *wire.Announcement) (refused int) {
	in := step.Input{Kind: step.InPublish, Pointer: step.Pointer{Announcement: a}}
	for _, o := range n.Step(0, in, nil) {
		if o.Op == step.OpRefused {
			refused++
		}
	}
	return refused
}

// heap returns the number of bytes in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
