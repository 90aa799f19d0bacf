package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"banyan/coordinator/api"
	"banyan/internal/diskspace"
	"banyan/internal/diskspace/disktest"
	"banyan/internal/embeddb"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// logBuffer collects the lines of a log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// count returns the number of lines that contain text.
func (l *logBuffer) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// damage replaces the documents of a stopped store by bytes that are no document, and the rows of
// others by bytes that are no row.
func damage(t *testing.T, dir string, documents map[[2]string]string, rows [][2]string) {
	t.Helper()
	store, err := versionstore.OpenBadger(filepath.Join(dir, "store"), embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for key, raw := range documents {
		d, err := store.Document(t.Context(), key[0], key[1])
		if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
			t.Fatal(err)
		}
		_, err = store.Commit(t.Context(), versionstore.Transaction{Term: 1, By: "tester", Documents: []versionstore.DocumentWrite{
			{Kind: key[0], Name: key[1], Raw: []byte(raw), IfSeq: d.Seq},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := embeddb.Open(filepath.Join(dir, "store"), embeddb.Options{Mark: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, row := range rows {
		err := db.Write(func(txn *badger.Txn) error {
			return txn.Set([]byte("d"+row[0]+"\x00"+row[1]), []byte("these bytes are no row"))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Documents that can't be read are reported and set aside: the leader starts, the rollouts of
// other configs go on, and people can start another rollout, put another plan, and so on. A hold
// that can't be read holds on.
func TestTruthUnreadableDocumentsAreSetAside(t *testing.T) {
	dir := t.TempDir()
	f := newFixture(t, func(c *Config) { c.DataDir = dir })
	for _, config := range []string{"bad", "torn", "good"} {
		f.rollOut(config, f.publish(config, `{"a":1}`), longPlan)
	}
	for _, plan := range []string{"broken", "torn"} {
		if err := f.alice.PutPlan(f.ctx, plan, longPlan); err != nil {
			t.Fatal(err)
		}
	}
	f.stop()
	damage(t, dir, map[[2]string]string{
		{kindRollout, "bad"}:         "{",
		{kindPlan, "broken"}:         "\x00",
		{kindSizes, sizesName}:       "[]",
		{kindHold, "frozen eu"}:      "{",
		{kindHistory, "good 000000"}: "{",
	}, [][2]string{{kindRollout, "torn"}, {kindPlan, "torn"}, {kindHold, "=locked "}})
	var log logBuffer
	f.start(dir, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	f.connect()
	if r, err := f.alice.Rollout(f.ctx, "good"); err != nil || r.Status != "running" {
		t.Errorf("the rollout of another config: %+v, %v", r, err)
	}
	for _, config := range []string{"bad", "torn"} {
		f.eventually("the report of "+config, func() bool { return log.count("set aside") == 2 })
		v := f.publish(config, `{"a":2}`)
		if r := f.rollOut(config, v, longPlan); r.Version != v {
			t.Errorf("a new rollout of %s: %+v", config, r)
		}
	}
	if _, err := f.alice.Rollouts(f.ctx, "good"); err != nil {
		t.Errorf("history of rollouts: %v", err)
	}
	for _, plan := range []string{"broken", "torn"} {
		if err := f.alice.PutPlan(f.ctx, plan, longPlan); err != nil {
			t.Errorf("plan %s put again: %v", plan, err)
		}
	}
	_, err := f.alice.Publish(f.ctx, api.Draft{Config: "locked", Body: []byte("{}"), ContentType: "application/json"}, f.key)
	if !api.IsCode(err, api.CodeRejected) || !strings.Contains(err.Error(), "can't be read") {
		t.Errorf("publishing under a lock that can't be read: %v", err)
	}
	v := f.publish("frozen/a", "{}")
	_, err = f.alice.StartRollout(f.ctx, "frozen/a", api.StartRollout{Version: v, Plan: longPlan})
	if !api.IsCode(err, api.CodeRejected) || !strings.Contains(err.Error(), "can't be read") {
		t.Errorf("a rollout under a freeze that can't be read: %v", err)
	}
	for _, h := range []api.Hold{{Scope: "locked", Lock: true}, {Scope: "frozen", Region: "eu"}} {
		if err := f.alice.Lift(f.ctx, h); err != nil {
			t.Errorf("lifting a hold that can't be read: %v", err)
		}
	}
	f.rollOut("frozen/a", v, longPlan)
	f.publish("locked", "{}")
}

// An upload in progress ends well although the coordinator is told to stop; a request that comes
// later gets a clear error; and Run returns nil.
func TestTruthRequestsInProgressAreFinished(t *testing.T) {
	f := newFixture(t, nil)
	bundle := f.issue(identity.RoleClient, "carol")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	dir := t.TempDir()
	second := &fixture{t: t, ctx: f.ctx, home: f.home}
	cfg := second.config(dir, nil)
	c, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	go func() { ended <- c.Run(ctx) }()

	content := []byte("a body that comes in two parts")
	reader, writer := io.Pipe()
	request, err := http.NewRequest("PUT", "https://"+c.APIAddr()+"/v1/bodies/"+record.Sum(content).String(), reader)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = int64(len(content))
	client := clientOf(bundle)
	defer client.CloseIdleConnections()
	answered := make(chan error, 1)
	go func() {
		response, err := client.Do(request)
		if err == nil {
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d", response.StatusCode)
			}
		}
		answered <- err
	}()
	if _, err := writer.Write(content[:10]); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(dir, "blobs", "tmp", "*")
	f.eventually("the upload in progress", func() bool {
		found, err := filepath.Glob(tmp)
		return err == nil && len(found) == 1
	})
	stop()
	late := clientOf(bundle)
	defer late.CloseIdleConnections()
	var refusal []byte
	f.eventually("a refusal", func() bool {
		response, err := late.Get("https://" + c.APIAddr() + "/v1/status")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		refusal, err = io.ReadAll(response.Body)
		return err == nil && response.StatusCode == http.StatusServiceUnavailable
	})
	if !bytes.Contains(refusal, []byte("is stopping")) {
		t.Errorf("a request during the end: %s", refusal)
	}
	if _, err := writer.Write(content[10:]); err != nil {
		t.Error(err)
	}
	writer.Close()
	if err := <-answered; err != nil {
		t.Errorf("the upload: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
	blobs, err := versionstore.OpenFileBlobs(filepath.Join(dir, "blobs"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if !blobs.Has(record.Sum(content)) {
		t.Error("the acknowledged body is not there")
	}
}

// On a disk without a free byte, the leader refuses uploads, takes versions back, starts again, and
// says in few lines that the disk is full.
func TestTruthALeaderOnAFullDisk(t *testing.T) {
	disk := t.TempDir()
	disktest.Mount(t, disk, "160m")
	dir := filepath.Join(disk, "data")
	filler := filepath.Join(disk, "filler")
	f := newFixture(t, func(c *Config) { c.DataDir = dir })
	for range 2 {
		f.rollOutNow("a", f.publish("a", `{"a":1}`))
	}
	disktest.Fill(t, disk, filler)
	a := f.send(f.raw, "PUT", "/v1/bodies/"+record.Sum([]byte("x")).String(), strings.NewReader("x"))
	if a.failed == nil || a.failed.Code != api.CodeUnavailable || !strings.Contains(a.failed.Message, "disk is full") {
		t.Errorf("an upload to a full disk: %d %s", a.status, a.body)
	}
	f.rollOutNow("a", 1)
	f.stop()
	disktest.Fill(t, disk, filler)
	f.start(dir, nil)
	f.connect()
	p, err := f.store.Pointer(f.ctx, "a", "eu")
	if err != nil || p.Pointer.Baseline.Version != 1 {
		t.Errorf("after a restart on a full disk: pointer %v, %v", p.Pointer, err)
	}
	f.rollOutNow("a", 2)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	f.publish("a", `{"a":3}`)
}

// rollOutNow moves all pointers of config to version in one step.
func (f *fixture) rollOutNow(config string, version uint64) {
	f.t.Helper()
	f.eventually(fmt.Sprintf("%s at version %d", config, version), func() bool {
		_, err := f.alice.Activate(f.ctx, config, api.Activate{Version: version})
		if err != nil {
			f.t.Log(err)
		}
		return err == nil
	})
}

// Twenty rollouts that fail at each step because the disk is full say so once in a while.
func TestTruthAFullDiskIsLoggedOnce(t *testing.T) {
	var log logBuffer
	r := &rollouts{log: slog.New(slog.NewTextHandler(&log, nil))}
	full := fmt.Errorf("step: %w", diskspace.ErrFull)
	for range 100 {
		for n := range 20 {
			r.report(fmt.Sprint("config-", n), full)
		}
	}
	r.report("other", errors.New("no key"))
	if n := log.count("rollout step failed"); n != 2 {
		t.Errorf("%d lines, want one for the disk and one for another cause", n)
	}
	for n := range 20 {
		r.report(fmt.Sprint("config-", n), nil)
	}
	r.report("other", nil)
	if n := log.count("succeed again"); n != 1 {
		t.Errorf("%d lines that steps succeed again, want 1", n)
	}
}

func FuzzDecodeStoredDocuments(f *testing.F) {
	raw, err := json.Marshal(rollout.State{ID: 1, Config: "a"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a", raw)
	f.Add("eu h1", []byte(`{"since":"2026-03-01T12:00:00Z","subscriptions":"a","via":"c1"}`))
	f.Add("agents", []byte(`{"eu":{"agents":3,"audiences":[{"subscriptions":"a","agents":1}]}}`))
	f.Add("=a eu", []byte(`{"scope":"a","lock":true}`))
	f.Fuzz(func(t *testing.T, name string, raw []byte) {
		s, err := decodeRollout(versionstore.Document{Kind: kindRollout, Name: name, Raw: raw})
		if err == nil && s.Config != name {
			t.Errorf("the rollout of %q is taken for one of %q", s.Config, name)
		}
		h := decodeHold(versionstore.Document{Kind: kindHold, Name: name, Raw: raw, At: time.Now()})
		if strings.Contains(name, " ") && h.name() != name {
			t.Errorf("hold %q decodes to one with the name %q", name, h.name())
		}
		d := versionstore.Document{Name: name, Raw: raw, At: time.Now()}
		if host, err := decodeHost(d); err != nil && (!host.Since.Equal(d.At) || !host.Subscriptions.Include("a")) {
			t.Errorf("a host that can't be read is %+v", host)
		}
		for _, v := range []any{&map[string]storedSize{}, &map[string]time.Time{}, &[]guarded{}} {
			decodeDocument(d, v)
		}
	})
}
