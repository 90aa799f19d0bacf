package gossip

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var testKey = bytes.Repeat([]byte{7}, 32)

// heard gathers what a member was told.
type heard struct {
	mu        sync.Mutex
	revisions map[string]uint64
	failed    []string
}

func (h *heard) revision(region string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.revisions[region]
}

func open(t *testing.T, pool, name string, key []byte, seeds ...string) (*Pool, *heard) {
	t.Helper()
	h := &heard{revisions: map[string]uint64{}}
	p, err := Open(Config{Pool: pool, Name: name, Listen: "127.0.0.1:0", Key: key,
		OnRevision: func(region string, revision uint64) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.revisions[region] = max(h.revisions[region], revision)
		},
		OnFailed: func(name string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.failed = append(h.failed, name)
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if len(seeds) > 0 {
		if err := p.Join(seeds); err != nil {
			t.Fatal(err)
		}
	}
	return p, h
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	// A lost packet is made up for by the exchange of state that members make every 30 s.
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen: %s", what)
		}
	}
}

func TestARevisionReachesEveryMember(t *testing.T) {
	first, _ := open(t, "eu", "coordinator", testKey)
	var all []*heard
	for i := range 5 {
		_, h := open(t, "eu", fmt.Sprint("relay-", i), testKey, first.Addr())
		all = append(all, h)
	}
	if err := first.Announce("eu", 42); err != nil {
		t.Fatal(err)
	}
	if err := first.Announce("eu", 41); err != nil { // older: not spread
		t.Fatal(err)
	}
	for i, h := range all {
		eventually(t, fmt.Sprintf("relay %d hears of revision 42", i), func() bool { return h.revision("eu") == 42 })
	}
	eventually(t, "six members", func() bool { return len(first.Members()) == 6 })
}

func TestADeathIsNoticed(t *testing.T) {
	first, h := open(t, "eu", "coordinator", testKey)
	dying, _ := open(t, "eu", "dying", testKey, first.Addr())
	eventually(t, "two members", func() bool { return len(first.Members()) == 2 })
	dying.Close()
	eventually(t, "the death is told", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.Contains(h.failed, "dying")
	})
}

func TestStrangersAreNotHeard(t *testing.T) {
	first, _ := open(t, "eu", "coordinator", testKey)
	stranger, err := Open(Config{Pool: "eu", Name: "stranger", Listen: "127.0.0.1:0", Key: bytes.Repeat([]byte{8}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := stranger.Join([]string{first.Addr()}); err == nil {
		t.Error("a member with another key was taken in")
	}
	other, err := Open(Config{Pool: "us", Name: "other", Listen: "127.0.0.1:0", Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Join([]string{first.Addr()}); err == nil {
		t.Error("a member of another pool was taken in")
	}
	if _, err := Open(Config{Pool: "eu", Name: "x", Listen: "127.0.0.1:0", Key: []byte("short")}); err == nil {
		t.Error("a short key was taken")
	}
}

func TestAPoolOnEveryAddressNamesOne(t *testing.T) {
	p, err := Open(Config{Pool: "eu", Name: "everywhere", Listen: ":0", Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if host, _, err := net.SplitHostPort(p.Addr()); err != nil || net.ParseIP(host).IsUnspecified() {
		t.Errorf("others are told to reach it at %s", p.Addr())
	}
}

func TestAnAddressInUseIsSaid(t *testing.T) {
	first, _ := open(t, "eu", "first", testKey)
	_, err := Open(Config{Pool: "eu", Name: "second", Listen: first.Addr(), Key: testKey})
	if err == nil || !strings.Contains(err.Error(), "another gossip address") {
		t.Errorf("a second pool on %s: %v", first.Addr(), err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode("eu", 42))
	f.Fuzz(func(t *testing.T, b []byte) {
		region, revision, err := decode(b)
		if err != nil {
			return
		}
		again, n, err := decode(encode(region, revision))
		if err != nil || again != region || n != revision {
			t.Errorf("%q %d came back as %q %d, %v", region, revision, again, n, err)
		}
	})
}
