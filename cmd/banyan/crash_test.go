package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/internal/fleet"
	"banyan/record"
	"banyan/transport/identity"
)

const crashConfig = "crash/test"

// selfChecking is a body that says what it must hash to, of a size that takes
// more than one write.
func selfChecking(n int) []byte {
	pad := strings.Repeat(fmt.Sprintf("%06d ", n), 4000)
	sum := sha256.Sum256([]byte(pad))
	b, _ := json.Marshal(map[string]any{"n": n, "pad": pad, "sum": hex.EncodeToString(sum[:])})
	return b
}

func checkBody(b []byte) (n int, err error) {
	var v struct {
		N        int
		Pad, Sum string
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return 0, fmt.Errorf("torn: %w", err)
	}
	if sum := sha256.Sum256([]byte(v.Pad)); hex.EncodeToString(sum[:]) != v.Sum {
		return 0, errors.New("torn: checksum differs")
	}
	return v.N, nil
}

func clientOf(t *testing.T, h *identity.Home, address string) (*api.Client, record.Key) {
	t.Helper()
	bundle, err := identity.Load(h.ClientDir())
	if err != nil {
		t.Fatal(err)
	}
	key, err := record.LoadKey(h.PublisherKey("admin"))
	if err != nil {
		t.Fatal(err)
	}
	c := api.NewClient(address, bundle)
	t.Cleanup(c.Close)
	return c, key
}

// Invariants 2 and 3: an agent that is killed at any instant shows one epoch's
// whole body, and never applies an epoch twice or an older one after a newer.
func TestAgentKilled100TimesNeverTearsOrRepeats(t *testing.T) {
	const kills = 100
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	h := newHome(t, "eu")
	_, mesh, address := startLeader(t, h, t.TempDir(), []string{"eu"})
	client, key := clientOf(t, h, address)
	dir := t.TempDir()
	args := []string{"agent", "--identity", issueAgent(t, h, "eu", "victim"), "--join", mesh, "--listen", "127.0.0.1:0",
		"--output-dir", filepath.Join(dir, "out"), "--state-dir", filepath.Join(dir, "state")}

	stopPublishing, publishing := context.WithCancel(ctx)
	published := make(chan uint64, 1)
	go func() { published <- publishUntil(t, stopPublishing, client, key) }()
	readerCtx, stopReading := context.WithCancel(ctx)
	var readers sync.WaitGroup
	readers.Go(func() { readBodies(t, readerCtx, filepath.Join(dir, "out", crashConfig)) })

	random := rand.New(rand.NewPCG(1, 2))
	last, applied := uint64(0), 0
	for i := range kills {
		p := start(t, args...)
		if i%2 == 0 { // half of them die while they join, half after
			p.waitLog("attached")
		}
		select { // a random instant is what this test is about
		case <-time.After(time.Duration(random.IntN(200)) * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("out of time")
		}
		p.kill()
		last, applied = checkEpochs(t, p, last, applied)
	}
	publishing()
	final := <-published
	p := start(t, args...)
	err := fleet.Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		raw, err := os.ReadFile(filepath.Join(dir, "out", crashConfig, "value"))
		if err != nil {
			return false, nil
		}
		n, err := checkBody(raw)
		return n == int(final), err
	})
	if err != nil {
		t.Errorf("the agent did not come to version %d: %v\n%s", final, err, p.log())
	}
	stopReading()
	readers.Wait()
	p.kill()
	last, applied = checkEpochs(t, p, last, applied)
	t.Logf("%d kills, %d versions published, %d applied, last epoch %d", kills, final, applied, last)
	if applied < kills/10 {
		t.Errorf("only %d epochs were applied under %d kills: the test did not test much", applied, kills)
	}
}

func checkEpochs(t *testing.T, p *process, last uint64, applied int) (uint64, int) {
	t.Helper()
	for _, line := range p.logged("applied") {
		epoch := uint64(line["epoch"].(float64))
		if epoch <= last {
			t.Errorf("epoch %d was applied after %d", epoch, last)
		}
		last = epoch
		applied++
	}
	return last, applied
}

func publishUntil(t *testing.T, ctx context.Context, client *api.Client, key record.Key) uint64 {
	for n := 1; ; n++ {
		d := api.Draft{Config: crashConfig, Body: selfChecking(n), ContentType: "application/json"}
		// Each step is finished once begun, so that the last version is active.
		v, err := client.Publish(context.WithoutCancel(ctx), d, key)
		if err == nil {
			_, err = client.Activate(context.WithoutCancel(ctx), crashConfig, api.Activate{Version: v.Manifest.Version})
		}
		if err != nil {
			t.Errorf("publish %d: %v", n, err)
			return uint64(n)
		}
		select {
		case <-time.After(20 * time.Millisecond): // the pace of a stream of changes
		case <-ctx.Done():
			return uint64(n)
		}
	}
}

// readBodies reads as programs do, all the time, and checks each body.
func readBodies(t *testing.T, ctx context.Context, dir string) {
	newest := 0
	for ctx.Err() == nil {
		raw, err := os.ReadFile(filepath.Join(dir, "value"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Error(err)
			return
		}
		n, err := checkBody(raw)
		if err != nil {
			t.Errorf("a reader saw %v", err)
			return
		}
		if n < newest {
			t.Errorf("a reader saw version %d after %d", n, newest)
			return
		}
		newest = n
	}
}

// Invariant 5: a coordinator that is killed at any instant has, when it is back,
// every version it acknowledged, and each one's body.
func TestCoordinatorKilled50TimesKeepsWhatItAcknowledged(t *testing.T) {
	const kills = 50
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	h := newHome(t, "eu")
	data := t.TempDir()
	acknowledged := map[uint64]record.Digest{}
	epoch := uint64(0)
	random := rand.New(rand.NewPCG(3, 4))
	for kill := range kills {
		p, _, address := startLeader(t, h, data, []string{"eu"})
		client, key := clientOf(t, h, address)
		// Every second kill comes after something was acknowledged, however slow this
		// machine is; the others at any moment.
		timer := time.AfterFunc(time.Duration(20+random.IntN(150))*time.Millisecond, func() { p.cmd.Process.Kill() })
		armed := kill%2 == 1
		if !armed {
			timer.Stop()
		}
		for {
			n := len(acknowledged) + 1
			body := selfChecking(n + random.IntN(1000)*1000)
			v, err := client.Publish(ctx, api.Draft{Config: crashConfig, Body: body, ContentType: "application/json"}, key)
			if err != nil {
				break
			}
			acknowledged[v.Manifest.Version] = record.Sum(body)
			if !armed {
				timer.Reset(time.Duration(random.IntN(100)) * time.Millisecond)
				armed = true
			}
			if pointers, err := client.Activate(ctx, crashConfig, api.Activate{Version: v.Manifest.Version}); err == nil {
				epoch = max(epoch, pointers[0].Epoch)
			}
		}
		timer.Stop()
		p.kill()
	}
	_, _, address := startLeader(t, h, data, []string{"eu"})
	client, _ := clientOf(t, h, address)
	for version, digest := range acknowledged {
		r, err := client.Body(ctx, crashConfig, version)
		if err != nil {
			t.Errorf("acknowledged version %d: %v", version, err)
			continue
		}
		body, err := io.ReadAll(r)
		r.Close()
		if err != nil || record.Sum(body) != digest {
			t.Errorf("body of acknowledged version %d: %d bytes, %v", version, len(body), err)
		}
	}
	pointers, err := client.Pointers(ctx, crashConfig)
	if err != nil || len(pointers) != 1 || pointers[0].Epoch < epoch {
		t.Errorf("pointer: %+v, %v; epoch %d was acknowledged", pointers, err, epoch)
	}
	t.Logf("%d kills, %d versions acknowledged, epoch %d", kills, len(acknowledged), epoch)
	if len(acknowledged) < kills/2 {
		t.Errorf("only %d versions under %d kills: the test did not test much", len(acknowledged), kills)
	}
}
