package etcdstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"banyan/record"
	"banyan/versionstore"
	"banyan/versionstore/etcdstore"
	"banyan/versionstore/etcdstore/etcdtest"
	"banyan/versionstore/storetest"
)

// leaderEnv makes the test binary a leader: it leads the store at these endpoints, says so, waits for a
// line, and says what became of its write.
const leaderEnv = "BANYAN_TEST_LEADER"

func TestMain(m *testing.M) {
	if endpoints := os.Getenv(leaderEnv); endpoints != "" {
		if err := leadAndWrite(strings.Split(endpoints, ",")); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func leadAndWrite(endpoints []string) error {
	ctx := context.Background()
	s, err := etcdstore.Open(ctx, etcdstore.Config{Endpoints: endpoints, LeadTTL: 2 * time.Second})
	if err != nil {
		return err
	}
	defer s.Close()
	lead, err := s.Lead(ctx, "paused")
	if err != nil {
		return err
	}
	fmt.Println("leads in term", lead.Term)
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	_, err = s.Commit(ctx, versionstore.Transaction{Term: lead.Term, Documents: document("x", 0)})
	<-lead.Lost
	fmt.Println("outcome:", err)
	return nil
}

func document(name string, seq uint64) []versionstore.DocumentWrite {
	return []versionstore.DocumentWrite{{Kind: "k", Name: name, Raw: []byte("x"), IfSeq: seq}}
}

// A leader that is paused for longer than its lease is followed by another one. When it wakes up, it
// can't write.
func TestTruthAPausedLeaderThatWakesUpCantWrite(t *testing.T) {
	c := etcdtest.Start(t, 1)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), leaderEnv+"="+strings.Join(c.Endpoints(), ","))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "leads in term 1\n" {
		t.Fatalf("the first leader: %q, %v", line, err)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s := open(t, c, "")
	lead, err := s.Lead(t.Context(), "next") // waits for the end of the lease
	if err != nil || lead.Term != 2 {
		t.Fatalf("the next leader: %+v, %v; want term 2", lead, err)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	io.WriteString(in, "write\n")
	if line, err := lines.ReadString('\n'); !strings.Contains(line, "fenced off") || !strings.Contains(line, "term 2") {
		t.Errorf("the write of the leader that woke up: %q, %v", line, err)
	}
	if _, err := s.Document(t.Context(), "k", "x"); !errors.Is(err, versionstore.ErrNotFound) {
		t.Errorf("what the fenced leader wrote: %v", err)
	}
	if _, err := s.Commit(t.Context(), versionstore.Transaction{Term: 2, Documents: document("x", 0)}); err != nil {
		t.Errorf("a write of the new leader: %v", err)
	}
}

// A leader that resigns is followed at once, in the same term: it writes no more.
func TestTruthALeaderThatResignsLeavesItsTerm(t *testing.T) {
	c := etcdtest.Start(t, 1)
	first, second := open(t, c, ""), open(t, c, "")
	lead, err := first.Lead(t.Context(), "first")
	if err != nil {
		t.Fatal(err)
	}
	if err := lead.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-lead.Lost
	next, err := second.Lead(t.Context(), "second")
	if err != nil || next.Term != lead.Term {
		t.Errorf("after a resignation: %+v, %v; want term %d", next, err, lead.Term)
	}
}

// A compaction under a watcher that sleeps leaves no gap and repeats nothing.
func TestTruthAWatchGoesOnAfterACompaction(t *testing.T) {
	c := etcdtest.Start(t, 1)
	s := open(t, c, "")
	sign := storetest.NewSigner()
	m, raw, _ := sign.Manifest(t, "a", 1)
	if _, err := storetest.PutManifest(t.Context(), s, m, raw, "tester"); err != nil {
		t.Fatal(err)
	}
	move := func(region string, epoch uint64) uint64 {
		t.Helper()
		p, raw := sign.Pointer(t, "a", region, epoch, 1)
		pointers := []versionstore.SignedPointer{{Pointer: p, Raw: raw}}
		revision, err := s.Commit(t.Context(), versionstore.Transaction{Term: 1, Pointers: pointers})
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	move("eu", 1)
	asleep, awake := make(chan struct{}), make(chan struct{})
	reported := map[string]int{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	last := uint64(0)
	done := make(chan error, 1)
	enough := errors.New("enough")
	go func() {
		sleep := sync.OnceFunc(func() {
			close(asleep)
			<-awake
		})
		done <- s.Watch(ctx, 0, func(events []versionstore.Event) error {
			sleep()
			for _, e := range events {
				if e.Revision <= last {
					return fmt.Errorf("revision %d after %d", e.Revision, last)
				}
				last = e.Revision
				if e.Pointer == nil {
					continue
				}
				reported[fmt.Sprintf("%s %d", e.Pointer.Pointer.Region, e.Pointer.Pointer.Epoch)]++
				if e.Pointer.Pointer.Region == "end" {
					return enough
				}
			}
			return nil
		})
	}()
	<-asleep
	for epoch := uint64(2); epoch <= 20; epoch++ {
		move("eu", epoch)
	}
	newest := move("us", 1)
	compact(t, c, int64(newest))
	close(awake)
	move("end", 1)
	if err := <-done; !errors.Is(err, enough) {
		t.Fatal(err)
	}
	for _, want := range []string{"eu 20", "us 1", "end 1"} {
		if reported[want] != 1 {
			t.Errorf("%s was reported %d times: %v", want, reported[want], reported)
		}
	}
}

// compact has etcd forget what was before a revision.
func compact(t *testing.T, c *etcdtest.Cluster, revision int64) {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Compact(t.Context(), revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
}

// mute is a TCP proxy that can swallow the answers of the server.
type mute struct {
	net.Listener
	muted chan struct{} // closed when answers are swallowed
}

func startMute(t *testing.T, server string) *mute {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &mute{Listener: l, muted: make(chan struct{})}
	var group sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		l.Close()
		group.Wait()
	})
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { p.serve(ctx, conn, server) })
		}
	})
	return p
}

func (p *mute) serve(ctx context.Context, conn net.Conn, server string) {
	defer conn.Close()
	upstream, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer upstream.Close()
	stop := context.AfterFunc(ctx, func() {
		conn.Close()
		upstream.Close()
	})
	defer stop()
	go io.Copy(upstream, conn)
	buffer := make([]byte, 32<<10)
	for {
		n, err := upstream.Read(buffer)
		if err != nil {
			return
		}
		select {
		case <-p.muted:
			continue
		default:
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// A write whose answer is lost is of unknown outcome, and not refused. Reading tells what became of it.
func TestTruthALostAnswerIsAnUnknownOutcome(t *testing.T) {
	c := etcdtest.Start(t, 1)
	proxy := startMute(t, c.Endpoints()[0])
	s, err := etcdstore.Open(t.Context(), etcdstore.Config{Endpoints: []string{proxy.Addr().String()}, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	close(proxy.muted)
	_, err = s.Commit(t.Context(), versionstore.Transaction{Term: 1, Documents: document("x", 0)})
	if !errors.Is(err, versionstore.ErrUnknown) {
		t.Errorf("a write whose answer is lost: %v, want ErrUnknown", err)
	}
	if _, err := s.Document(t.Context(), "k", "x"); !errors.Is(err, versionstore.ErrUnavailable) {
		t.Errorf("a read whose answer is lost: %v, want ErrUnavailable", err)
	}
	if d, err := open(t, c, "").Document(t.Context(), "k", "x"); err != nil || d.Seq != 1 {
		t.Errorf("the write: %+v, %v; etcd had it", d, err)
	}
}

// Without a majority of the members nothing is written and nothing is read; with a majority again, the
// store goes on.
func TestTruthWithoutAMajorityNothingIsWritten(t *testing.T) {
	c := etcdtest.Start(t, 3)
	s, err := etcdstore.Open(t.Context(), etcdstore.Config{Endpoints: c.Endpoints(), Timeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c.Stop(1)
	c.Stop(2)
	_, err = s.Commit(t.Context(), versionstore.Transaction{Term: 1, Documents: document("x", 0)})
	if !errors.Is(err, versionstore.ErrUnavailable) && !errors.Is(err, versionstore.ErrUnknown) {
		t.Errorf("a write without a majority: %v", err)
	}
	if _, err := s.Term(t.Context()); !errors.Is(err, versionstore.ErrUnavailable) {
		t.Errorf("a read without a majority: %v", err)
	}
	c.Restart(1)
	seq := uint64(0)
	until(t, func() bool { // the write of unknown outcome may have happened
		d, err := s.Document(t.Context(), "k", "x")
		seq = d.Seq
		return err == nil || errors.Is(err, versionstore.ErrNotFound)
	})
	until(t, func() bool {
		_, err := s.Commit(t.Context(), versionstore.Transaction{Term: 1, Documents: document("x", seq)})
		var conflict *versionstore.ConflictError
		return err == nil || errors.As(err, &conflict)
	})
}

// until waits until is returns true.
func until(t *testing.T, is func() bool) {
	t.Helper()
	for !is() {
		select {
		case <-t.Context().Done():
			t.Fatal("the test ended first")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// A document that can't be read counts as none: it is written anew, and its sequence begins with 1.
func TestTruthADamagedDocumentIsWrittenAnew(t *testing.T) {
	c := etcdtest.Start(t, 1)
	s := open(t, c, "/x/")
	for seq := range uint64(2) {
		if _, err := s.Commit(t.Context(), versionstore.Transaction{Term: 1, Documents: document("n", seq)}); err != nil {
			t.Fatal(err)
		}
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Put(t.Context(), "/x/d/k\x00n", "no row"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Document(t.Context(), "k", "n"); !errors.Is(err, versionstore.ErrCorrupt) {
		t.Errorf("a damaged document: %v", err)
	}
	listed, err := s.List(t.Context(), "k", "", "", 0)
	if err != nil || len(listed) != 1 || listed[0].Damaged == nil {
		t.Errorf("a listing with a damaged document: %+v, %v", listed, err)
	}
	guarded := versionstore.Transaction{
		Term:      1,
		Documents: document("other", 0),
		Guards:    []versionstore.Guard{{Kind: "k", Name: "n"}},
	}
	if _, err := s.Commit(t.Context(), guarded); err != nil {
		t.Errorf("a guard on a damaged document: %v", err)
	}
	if _, err := s.Document(t.Context(), "k", "n"); !errors.Is(err, versionstore.ErrCorrupt) {
		t.Errorf("a guard removed the damaged document: %v", err)
	}
	if _, err := s.Commit(t.Context(), versionstore.Transaction{Term: 1, Documents: document("n", 0)}); err != nil {
		t.Fatal(err)
	}
	if d, err := s.Document(t.Context(), "k", "n"); err != nil || d.Seq != 1 {
		t.Errorf("the new document: %+v, %v; want sequence 1", d, err)
	}
}

// An etcd with its default settings takes few operations in a transaction. A larger one is refused with
// the setting that helps, and an etcd with that setting takes it.
func TestTruthALargeTransactionNamesTheSettingOfEtcd(t *testing.T) {
	var writes []versionstore.DocumentWrite
	for i := range versionstore.MaxOperations - 1 {
		writes = append(writes, document(fmt.Sprint(i), 0)...)
	}
	large := versionstore.Transaction{Term: 1, Documents: writes}
	few := versionstore.Transaction{Term: 1, Documents: writes[:versionstore.FewOperations-1]}

	s := open(t, etcdtest.Start(t, 1), "")
	_, err := s.Commit(t.Context(), large)
	if !errors.Is(err, record.ErrTooLarge) || !strings.Contains(err.Error(), "--max-txn-ops=1024") {
		t.Errorf("a large transaction: %v", err)
	}
	if _, err := s.Commit(t.Context(), few); err != nil {
		t.Errorf("as many operations as every store takes: %v", err)
	}

	more := func(c *embed.Config) { c.MaxTxnOps = versionstore.MaxOperations }
	s = open(t, etcdtest.StartWith(t, 1, more), "")
	if _, err := s.Commit(t.Context(), large); err != nil {
		t.Errorf("a large transaction with the setting: %v", err)
	}
}
