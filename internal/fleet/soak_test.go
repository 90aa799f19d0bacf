package fleet_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"banyan/internal/fleet"
	"banyan/internal/fleet/fleettest"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport"
	"banyan/transport/identity"
)

var soakJoins = flag.Int("joins", 600, "joins and leaves of the soak; make soak runs 10,000")

// soakTime is the longest time of a soak with 10,000 joins.
const soakTime = 20 * time.Minute

// visitor is the protocol of an agent without a store and files. A visitor joins the tree,
// gets a parent, and leaves.
type visitor struct {
	endpoint *transport.Endpoint
	leader   string
	policy   mesh.Verifier
}

// newVisitors makes visitors with identities of their own.
func newVisitors(t *testing.T, f *fleettest.Fleet, n int) []*visitor {
	t.Helper()
	var visitors []*visitor
	for i := range n {
		id := identity.Identity{Role: identity.RoleAgent, Region: "eu", Name: fmt.Sprintf("visitor-%d", i)}
		dir := filepath.Join(f.Config.Dir, id.Name)
		if err := f.Home.Issue(dir, id); err != nil {
			t.Fatal(err)
		}
		bundle, err := identity.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		endpoint, err := transport.Open(transport.Config{Listen: "127.0.0.1:0", Identity: bundle})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { endpoint.Close() })
		leader := f.Coordinators[0]
		visitors = append(visitors, &visitor{endpoint, leader.MeshAddr(), leader.Policy()})
	}
	return visitors
}

// idle ignores pointers: a visitor applies nothing.
type idle struct{}

func (idle) Activate(*wire.Announcement, record.Ref, func(step.Failure, int64)) {}

// visit runs a visitor until ctx ends. attached is called once the visitor has a parent. visit
// returns an error if the visitor gets no parent.
func (v *visitor) visit(ctx context.Context, attached func()) error {
	node := mesh.NewNode(mesh.Config{
		Self:        v.endpoint.Identity().Mesh(),
		Description: wire.Description{Addr: v.endpoint.Addr().String()},
		Seeds:       []string{v.leader},
		Verifier:    v.policy,
	})
	handlers := transport.Handlers{Pointers: idle{}, Observe: func(step.Output) {}}
	driver := transport.NewDriver(node, v.endpoint, handlers, slog.New(slog.DiscardHandler))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		driver.Run(ctx)
	}()
	err := fleet.Poll(ctx, 2*time.Millisecond, func() (bool, error) {
		found := false
		driver.Do(ctx, func(n *mesh.Node) { found = n.Attached() })
		return found, nil
	})
	if err == nil {
		attached()
	}
	<-ended
	return err
}

// usage is what the process holds.
type usage struct {
	goroutines int
	files      int
	heap       uint64 // bytes after a garbage collection
}

func measure(t *testing.T) usage {
	t.Helper()
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc on this machine: ", err)
	}
	return usage{runtime.NumGoroutine(), len(files), m.HeapAlloc}
}

// steady waits until two measurements in a row have the same goroutines and files: closed
// links are then forgotten.
func steady(ctx context.Context, t *testing.T) usage {
	t.Helper()
	var now, last usage
	fleet.Poll(ctx, 500*time.Millisecond, func() (bool, error) {
		now = measure(t)
		same := now.goroutines == last.goroutines && now.files == last.files
		last = now
		return same, nil
	})
	return now
}

// visitAll runs every visitor until it has a parent.
func visitAll(ctx context.Context, t *testing.T, visitors []*visitor) {
	t.Helper()
	errs := make(chan error, len(visitors))
	for _, v := range visitors {
		go func() {
			ctx, leave := context.WithCancel(ctx)
			defer leave()
			errs <- v.visit(ctx, leave)
		}()
	}
	for range visitors {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

// However many agents come and go, no goroutine, no socket and no memory stays behind.
func TestJoinsAndLeavesLeaveNothingBehind(t *testing.T) {
	const (
		extraGoroutines = 20
		extraFiles      = 8
		extraHeap       = 8 << 20
		heapPerJoin     = 1 << 10
	)
	f := fleettest.Start(t, fleet.Config{Agents: 2, Regions: []string{"eu"}, Fanout: 16})
	ctx, cancel := context.WithTimeout(t.Context(), soakTime)
	defer cancel()
	visitors := newVisitors(t, f, 24)
	for range 4 { // the first rounds fill pools and caches
		visitAll(ctx, t, visitors)
	}
	before := steady(ctx, t)
	joins := 0
	for joins < *soakJoins {
		visitAll(ctx, t, visitors)
		joins += len(visitors)
	}
	var after usage
	fleet.Poll(ctx, 200*time.Millisecond, func() (bool, error) { // closed links are forgotten after a moment
		after = measure(t)
		return after.goroutines <= before.goroutines+extraGoroutines && after.files <= before.files+extraFiles, nil
	})
	t.Logf("%d joins: goroutines %d → %d, files %d → %d, heap %d → %d KiB", joins,
		before.goroutines, after.goroutines, before.files, after.files, before.heap>>10, after.heap>>10)
	if after.goroutines > before.goroutines+extraGoroutines || after.files > before.files+extraFiles {
		t.Errorf("goroutines %d → %d, open files %d → %d", before.goroutines, after.goroutines, before.files, after.files)
	}
	growth := int64(after.heap) - int64(before.heap)
	if growth > extraHeap+int64(joins)*heapPerJoin {
		t.Errorf("the heap grew by %d KiB over %d joins", growth>>10, joins)
	}
}

// A child has two links, to its parent and to its standby. The child and the other ends of both
// links together hold at most 300 KiB of heap, once the handshakes are over and their buffers
// are collected. About 100 KiB for each link with both ends is usual.
func TestAChildCostsLittleMemory(t *testing.T) {
	const (
		children = 100
		limit    = 300 << 10
	)
	if raced {
		t.Skip("the race detector multiplies the memory")
	}
	f := fleettest.Start(t, fleet.Config{Agents: 1, Regions: []string{"eu"}, Fanout: 2 * children})
	ctx, leave := context.WithTimeout(t.Context(), 2*fleettest.Patience)
	defer leave()
	visitors := newVisitors(t, f, children)
	before := measure(t)
	attached := make(chan struct{})
	ended := make(chan error, children)
	for _, v := range visitors { // one after another: a slow machine would dial twice in a rush
		go func() { ended <- v.visit(ctx, func() { attached <- struct{}{} }) }()
		select {
		case <-attached:
		case err := <-ended:
			t.Fatal(err)
		}
	}
	each := int64(0)
	f.Until("the memory of a child to fall to the limit", func() bool {
		each = (int64(measure(t).heap) - int64(before.heap)) / children
		return each <= limit
	})
	t.Logf("a child and the other ends of its links hold %d KiB of heap", each>>10)
	leave()
	for range children {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
