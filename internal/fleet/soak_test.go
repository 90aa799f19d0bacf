package fleet

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/transport"
	"banyan/transport/identity"
)

var soakJoins = flag.Int("joins", 600, "joins and leaves of the soak; make soak runs 10,000")

// visitor is the bare protocol of an agent, without store and files: it joins,
// attaches, and goes.
type visitor struct {
	name string
	ep   *transport.Endpoint
}

func newVisitor(t *testing.T, f *Fleet, i int) *visitor {
	t.Helper()
	name := fmt.Sprintf("visitor-%d", i)
	dir := filepath.Join(f.Config.Dir, name)
	if err := f.Home.Issue(dir, identity.Identity{Role: identity.RoleAgent, Region: "eu", Name: name}); err != nil {
		t.Fatal(err)
	}
	bundle, err := identity.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	ep, err := transport.Open(transport.Config{Listen: "127.0.0.1:0", Identity: bundle})
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{name, ep}
}

// idle does nothing for a node: visitors apply nothing.
type idle struct{}

func (idle) Activate(*wire.Announcement, uint64, func(string, int64)) {}

var idleHandlers = transport.Handlers{Pointers: idle{}, Observe: func(step.Output) {}}

// visit joins the tree, and leaves it once attached.
func (v *visitor) visit(ctx context.Context, f *Fleet) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	node := mesh.NewNode(mesh.Config{Self: v.ep.Identity().Mesh(), Description: wire.Description{Addr: v.ep.Addr().String()}, Seeds: []string{f.Coordinators[0].MeshAddr()},
		Verifier: f.policy()})
	d := transport.NewDriver(node, v.ep, idleHandlers, f.Config.Log)
	ended := make(chan struct{})
	go func() { d.Run(ctx); close(ended) }()
	err := Poll(ctx, 2*time.Millisecond, func() (attached bool, err error) {
		d.Do(ctx, func(n *mesh.Node) { attached = n.Attached() })
		return attached, nil
	})
	leave()
	<-ended
	return err
}

// used is what the process holds once garbage is collected.
type used struct {
	goroutines, files int
	heap              uint64
}

func usage(t *testing.T) used {
	t.Helper()
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc on this machine: ", err)
	}
	return used{runtime.NumGoroutine(), len(files), m.HeapAlloc}
}

// steady waits until closed links are forgotten: the process holds the same twice
// in a row.
func steady(ctx context.Context, t *testing.T) (now used) {
	t.Helper()
	last := used{}
	Poll(ctx, 500*time.Millisecond, func() (bool, error) {
		now = usage(t)
		same := now.goroutines == last.goroutines && now.files == last.files
		last = now
		return same, ctx.Err()
	})
	return now
}

// However many come and go: no goroutine, no socket and no memory stays behind.
func TestJoinsAndLeavesLeaveNothingBehind(t *testing.T) {
	f, _ := start(t, Config{Agents: 2, Regions: []string{"eu"}, Fanout: 16})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	const visitors = 24
	var all []*visitor
	for i := range visitors {
		all = append(all, newVisitor(t, f, i))
	}
	round := func() {
		errs := make(chan error, visitors)
		for _, v := range all {
			go func() { errs <- v.visit(ctx, f) }()
		}
		for range all {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
	}
	settled := func(want used) (got used) {
		Poll(ctx, 200*time.Millisecond, func() (bool, error) { // links that were closed are forgotten after a moment
			got = usage(t)
			return got.goroutines <= want.goroutines+20 && got.files <= want.files+8, ctx.Err()
		})
		return got
	}
	for range 4 { // warm up
		round()
	}
	before := steady(ctx, t)
	joins := 0
	for ; joins < *soakJoins; joins += visitors {
		round()
	}
	after := settled(before)
	t.Logf("%d joins: goroutines %d → %d, files %d → %d, heap %d → %d KiB", joins, before.goroutines, after.goroutines, before.files, after.files, before.heap>>10, after.heap>>10)
	if after.goroutines > before.goroutines+20 || after.files > before.files+8 {
		t.Errorf("goroutines %d → %d, open files %d → %d", before.goroutines, after.goroutines, before.files, after.files)
	}
	if growth := int64(after.heap) - int64(before.heap); growth > 8<<20+int64(joins)*1024 {
		t.Errorf("the heap grew by %d KiB over %d joins", growth>>10, joins)
	}
	for _, v := range all {
		v.ep.Close()
	}
}

// What a child costs its parent, with the child's own end counted in: at most
// 100 KiB of heap for each of the two.
func TestAChildCostsLittleMemory(t *testing.T) {
	if raced {
		t.Skip("memory is not what it is under the race detector")
	}
	f, ctx := start(t, Config{Agents: 1, Regions: []string{"eu"}, Fanout: 200})
	const visitors = 100
	running, leave := context.WithCancel(ctx)
	defer leave()
	var all []*visitor
	for i := range visitors {
		all = append(all, newVisitor(t, f, i))
	}
	before := usage(t)
	ended := make(chan struct{}, visitors)
	var nodes []*transport.Driver
	for _, v := range all {
		node := mesh.NewNode(mesh.Config{Self: v.ep.Identity().Mesh(), Description: wire.Description{Addr: v.ep.Addr().String()}, Seeds: []string{f.Coordinators[0].MeshAddr()}, Verifier: f.policy()})
		d := transport.NewDriver(node, v.ep, idleHandlers, f.Config.Log)
		nodes = append(nodes, d)
		go func() { d.Run(running); ended <- struct{}{} }()
	}
	err := Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		for _, d := range nodes {
			attached := false
			d.Do(ctx, func(n *mesh.Node) { attached = n.Attached() })
			if !attached {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	each := (int64(usage(t).heap) - int64(before.heap)) / visitors
	t.Logf("a child and its parent's side of the link hold %d KiB of heap", each>>10)
	if each > 200<<10 {
		t.Errorf("a child costs %d KiB on both sides together", each>>10)
	}
	leave()
	for range all {
		<-ended
	}
	for _, v := range all {
		v.ep.Close()
	}
}
