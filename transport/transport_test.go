package transport

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"banyan/body"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport/identity"
)

// fixture is a fleet's trust and endpoints under it.
type fixture struct {
	t    *testing.T
	home *identity.Home
}

func newFixture(t *testing.T) *fixture {
	home, err := identity.InitHome(filepath.Join(t.TempDir(), "home"), []string{"eu"}, "admin")
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t, home}
}

func (f *fixture) bundle(role identity.Role, name string) *identity.Bundle {
	f.t.Helper()
	dir := filepath.Join(f.t.TempDir(), name)
	if err := f.home.Issue(dir, identity.Identity{Role: role, Region: "eu", Name: name}); err != nil {
		f.t.Fatal(err)
	}
	b, err := identity.Load(dir)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f *fixture) endpoint(role identity.Role, name string) *Endpoint {
	f.t.Helper()
	e, err := Open(Config{Listen: "127.0.0.1:0", Identity: f.bundle(role, name), IdleTimeout: 5 * time.Second})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { e.Close() })
	return e
}

// pair links two endpoints; the first dialed.
func (f *fixture) pair() (dialed, accepted *Link) {
	f.t.Helper()
	a, b := f.endpoint(identity.RoleAgent, "a"), f.endpoint(identity.RoleCoordinator, "b")
	got := make(chan *Link, 1)
	go func() {
		l, err := b.Accept(f.t.Context())
		if err == nil {
			got <- l
		}
	}()
	dialed, err := a.Dial(f.t.Context(), b.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	select {
	case accepted = <-got:
	case <-time.After(10 * time.Second):
		f.t.Fatal("the link was not accepted")
	}
	return dialed, accepted
}

func TestLinksKnowWhoIsOnTheOtherSideAndKeepOrder(t *testing.T) {
	dialed, accepted := newFixture(t).pair()
	if id := dialed.Identity(); id.Role != identity.RoleCoordinator || id.Name != "b" {
		t.Errorf("the dialing side sees %v", id)
	}
	if id := accepted.Identity(); id.Role != identity.RoleAgent || id.Name != "a" {
		t.Errorf("the accepting side sees %v", id)
	}
	const messages = 2000
	for i := range uint64(messages) {
		if err := dialed.Send(&wire.CatchUp{Since: i}); err != nil {
			t.Fatal(err)
		}
	}
	next := uint64(0)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	accepted.messages(ctx, func() {}, func(m wire.Message) {
		if c := m.(*wire.CatchUp); c.Since != next {
			t.Errorf("message %d came where %d was due", c.Since, next)
		}
		if next++; next == messages {
			accepted.Close("enough")
		}
	})
	if next != messages {
		t.Errorf("%d of %d messages came", next, messages)
	}
}

func TestStrangersAndClientsAreTurnedAway(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	server := f.endpoint(identity.RoleCoordinator, "b")
	go server.Accept(t.Context())
	for name, from := range map[string]*Endpoint{
		"another fleet's agent": other.endpoint(identity.RoleAgent, "x"),
		"a client":              f.endpoint(identity.RoleClient, "y"),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		l, err := from.Dial(ctx, server.Addr().String())
		if err == nil {
			// The dialing side is done with its handshake first; the refusal follows.
			err = l.messages(ctx, func() {}, func(wire.Message) {})
		}
		if err == nil || ctx.Err() != nil {
			t.Errorf("%s was let in: %v", name, err)
		}
		cancel()
	}
	plain := f.bundle(identity.RoleAgent, "plain").ClientTLS(Protocols...)
	plain.Certificates = nil
	conn, err := quic.DialAddr(t.Context(), server.Addr().String(), plain, nil)
	if err == nil {
		_, err = conn.AcceptStream(t.Context())
	}
	if err == nil {
		t.Error("a peer without a certificate was let in")
	}
}

func TestAPortInUseIsNamed(t *testing.T) {
	f := newFixture(t)
	e := f.endpoint(identity.RoleAgent, "a")
	_, err := Open(Config{Listen: e.Addr().String(), Identity: f.bundle(identity.RoleAgent, "c")})
	if !errors.Is(err, ErrPortInUse) || !strings.Contains(err.Error(), e.Addr().String()) {
		t.Errorf("got %v, want ErrPortInUse with the address", err)
	}
}

// A peer that reads nothing is cut off when MaxQueue bytes wait, and no more
// than that is held for it.
func TestAPeerThatDoesNotReadIsCutOff(t *testing.T) {
	dialed, _ := newFixture(t).pair()
	big := &wire.Rejected{Reason: strings.Repeat("x", wire.MaxReason)}
	var err error
	for i := 0; err == nil; i++ {
		if i > 2*MaxQueue/wire.MaxReason+(16<<20)/wire.MaxReason {
			t.Fatal("more was queued than the limit and the flow-control windows allow")
		}
		err = dialed.Send(big)
	}
	if !errors.Is(err, ErrQueueFull) {
		t.Errorf("got %v, want ErrQueueFull", err)
	}
}

func TestBodiesTravelWithTheirManifestAndRefusalsWithTheirReason(t *testing.T) {
	dialed, accepted := newFixture(t).pair()
	content := bytes.Repeat([]byte("banyan "), 100_000)
	go accepted.requests(t.Context(), func(r request) {
		switch r.want.Config {
		case "have":
			r.serve(t.Context(), body.Offer{Signed: []byte("manifest"), Size: int64(len(content)), Bytes: bytes.NewReader(content)})
		case "short":
			r.serve(t.Context(), body.Offer{Signed: []byte("manifest"), Size: int64(len(content) + 1), Bytes: bytes.NewReader(content)})
		default:
			r.deny("not here")
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []byte
	err := dialed.fetch(ctx, record.VersionKey{Config: "have", Version: 1}, body.Wish{}, nil, func(o body.Offer) (err error) {
		if string(o.Signed) != "manifest" || o.Size != int64(len(content)) {
			t.Errorf("header: %q, %d", o.Signed, o.Size)
		}
		got, err = io.ReadAll(o.Bytes)
		return err
	})
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("body: %d bytes, %v", len(got), err)
	}
	var denied *DeniedError
	err = dialed.fetch(ctx, record.VersionKey{Config: "nope", Version: 1}, body.Wish{}, nil, nil)
	if !errors.As(err, &denied) || denied.Reason != "not here" {
		t.Errorf("refusal: %v", err)
	}
	read := func(o body.Offer) error { _, err := io.Copy(io.Discard, o.Bytes); return err }
	if err := dialed.fetch(ctx, record.VersionKey{Config: "short", Version: 1}, body.Wish{}, nil, read); err == nil {
		t.Error("a body that ended early was taken for whole")
	}
	full := errors.New("no room")
	err = dialed.fetch(ctx, record.VersionKey{Config: "have", Version: 1}, body.Wish{}, nil, func(body.Offer) error { return full })
	if !errors.As(err, new(*localError)) || !errors.Is(err, full) {
		t.Errorf("a failure of this host: %v, want it marked local", err)
	}
	err = dialed.fetch(ctx, record.VersionKey{Config: "have", Version: 1}, body.Wish{}, nil, func(body.Offer) error { return record.ErrChecksum })
	if errors.As(err, new(*localError)) || fetchReason(ctx, dialed, err) != "checksum" {
		t.Errorf("a body that does not verify: %v, want it blamed on the peer", err)
	}
}

// A request whose peer gave up is forgotten: otherwise hanging requests would fill the link, and
// the list of those that wait.
func TestARequestThatWasGivenUpIsForgotten(t *testing.T) {
	f := newFixture(t)
	dialed, accepted := f.pair()
	node := mesh.NewNode(mesh.Config{Self: accepted.id.Mesh(), Root: &mesh.RootConfig{}})
	d := NewDriver(node, nil, Handlers{Observe: func(step.Output) {}}, slog.New(slog.DiscardHandler))
	d.ctx = t.Context()
	got := make(chan request)
	go accepted.requests(t.Context(), func(r request) { got <- r })
	for id := range uint64(2 * MaxRequests) { // more than a link takes at once
		s, err := dialed.conn.OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := writeHeader(s, bodyRequest{Config: "a", Version: 1}); err != nil {
			t.Fatal(err)
		}
		s.Close()
		d.await(id, <-got)
		s.CancelRead(0)
		(<-d.inbox)()
		if len(d.requests) != 0 {
			t.Fatal("the request is kept")
		}
	}
}

// Two builds speak the best version that both know. A build that knows no version of the other is
// told so.
func TestPeersAgreeOnAVersionOfTheProtocol(t *testing.T) {
	f := newFixture(t)
	speaks := func(role identity.Role, name string, protocols ...string) *Endpoint {
		e, err := Open(Config{Listen: "127.0.0.1:0", Identity: f.bundle(role, name), Protocols: protocols})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	server := speaks(identity.RoleCoordinator, "b", "banyan/3", "banyan/2")
	go func() {
		for {
			if _, err := server.Accept(t.Context()); err != nil {
				return
			}
		}
	}()
	for name, want := range map[string]string{"older": "banyan/2", "newer": "banyan/3", "oldest": ""} {
		protocols := map[string][]string{
			"older":  {"banyan/2", "banyan/1"},
			"newer":  {"banyan/4", "banyan/3", "banyan/2"},
			"oldest": {"banyan/1"},
		}[name]
		l, err := speaks(identity.RoleAgent, name, protocols...).Dial(t.Context(), server.Addr().String())
		switch {
		case want == "" && (err == nil || !strings.Contains(err.Error(), "no application protocol")):
			t.Errorf("%s: dialed with %v", name, err)
		case want != "" && (err != nil || l.Protocol() != want):
			t.Errorf("%s: %v, want the protocol %s", name, err, want)
		}
	}
}

// A message of a later build is skipped if its tag says that it may be, and ends the link otherwise.
func TestMessagesOfALaterBuildAreSkipped(t *testing.T) {
	known, err := frame(&wire.CatchUp{Since: 7})
	if err != nil {
		t.Fatal(err)
	}
	read := func(tag byte) (got int, err error) {
		stream := append([]byte{0, 0, 0, 2, tag, 0xa0}, known...)
		pace := func(int) error { return nil }
		err = readMessages(bufio.NewReader(bytes.NewReader(stream)), pace, func(wire.Message) { got++ })
		return got, err
	}
	if got, err := read(200); got != 1 || !errors.Is(err, io.EOF) {
		t.Errorf("after a message that may be skipped: %d read, %v", got, err)
	}
	if got, err := read(100); got != 0 || !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("after a message that must be known: %d read, %v", got, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Bodies that wait for the download limit are not asked for, and those on their way leave room for
// messages: an announcement does not wait behind them.
func TestMessagesDoNotWaitBehindThrottledBodies(t *testing.T) {
	dialed, accepted := newFixture(t).pair()
	content := make([]byte, 8*streamWindow)
	full := make(chan struct{}, 8) // has an element for each stream whose window is full
	go accepted.requests(t.Context(), func(r request) {
		source := io.MultiReader(
			bytes.NewReader(content[:streamWindow]),
			readerFunc(func([]byte) (int, error) { full <- struct{}{}; return 0, io.EOF }),
			bytes.NewReader(content[streamWindow:]),
		)
		r.serve(t.Context(), body.Offer{Size: int64(len(content)), Bytes: source})
	})
	dialed.limits = NewLimits(0, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var fetching sync.WaitGroup
	for n := range uint64(8) {
		fetching.Go(func() {
			leave, err := dialed.enter(ctx, func() {})
			if err != nil {
				return
			}
			defer leave()
			dialed.fetch(ctx, record.VersionKey{Config: "a", Version: n + 1}, body.Wish{}, nil, func(body.Offer) error {
				<-ctx.Done() // it reads nothing
				return ctx.Err()
			})
		})
	}
	for range maxThrottled {
		<-full
	}
	got := make(chan wire.Message, 1)
	go dialed.messages(t.Context(), func() {}, func(m wire.Message) { got <- m })
	large := &wire.Push{Config: "a", Version: 1, Body: make([]byte, wire.MaxPush)}
	if err := accepted.Send(large); err != nil {
		t.Fatal(err)
	}
	select {
	case <-got:
	case <-time.After(20 * time.Second):
		t.Error("a message waits until bodies are read")
	}
	cancel()
	fetching.Wait()
}

// bodyOf answers requests on a link with bodies from source.
func bodyOf(t *testing.T, l *Link, size int64, source func() io.Reader) {
	go l.requests(t.Context(), func(r request) {
		r.serve(t.Context(), body.Offer{Size: size, Bytes: source()})
	})
}

// The download limit of a host says by how much it delays a body, and nothing if the peer is slow: then
// another node is asked.
func TestTruthTheDownloadLimitTellsItsOwnDelayFromASlowPeer(t *testing.T) {
	for _, c := range []struct {
		name    string
		rate    int64
		pause   time.Duration // of the peer, after each KiB
		delayed bool
	}{
		{"the limit is slower", 64 << 10, 0, true},
		{"the peer is slower", 64 << 20, 20 * time.Millisecond, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialed, accepted := newFixture(t).pair()
			dialed.limits = NewLimits(0, c.rate)
			const size = 48 << 10
			left := size
			bodyOf(t, accepted, size, func() io.Reader {
				return readerFunc(func(p []byte) (int, error) {
					if left == 0 {
						return 0, io.EOF
					}
					time.Sleep(c.pause)
					n := min(len(p), 1<<10, left)
					left -= n
					return n, nil
				})
			})
			var delay time.Duration
			key := record.VersionKey{Config: "a", Version: 1}
			add := func(d time.Duration) { delay += d }
			err := dialed.fetch(t.Context(), key, body.Wish{}, add, func(o body.Offer) error {
				_, err := io.Copy(io.Discard, o.Bytes)
				return err
			})
			if err != nil || (delay > 0) != c.delayed {
				t.Errorf("delayed by %v, %v; want a delay: %v", delay, err, c.delayed)
			}
		})
	}
}

// Bodies on their way from one peer under a download limit do not keep the host from asking another peer.
func TestTruthTheDownloadLimitDoesNotBoundThePeersAsked(t *testing.T) {
	f := newFixture(t)
	first, _ := f.pair()
	second, _ := f.pair()
	limits := NewLimits(0, 1)
	first.limits = limits
	second.limits = limits
	waited := func() { t.Error("a body waits for the bodies of another peer") }
	for range maxThrottled {
		for _, l := range []*Link{first, second} {
			leave, err := l.enter(t.Context(), waited)
			if err != nil {
				t.Fatal(err)
			}
			defer leave()
		}
	}
}

// A fetch that is given up ends, although the peer sends nothing.
func TestTruthAFetchThatIsGivenUpEnds(t *testing.T) {
	dialed, accepted := newFixture(t).pair()
	bodyOf(t, accepted, 1<<20, func() io.Reader {
		return readerFunc(func([]byte) (int, error) {
			<-t.Context().Done()
			return 0, io.EOF
		})
	})
	ctx, cancel := context.WithCancel(t.Context())
	key := record.VersionKey{Config: "a", Version: 1}
	ended := make(chan error, 1)
	go func() {
		ended <- dialed.fetch(ctx, key, body.Wish{}, nil, func(o body.Offer) error {
			cancel()
			_, err := io.Copy(io.Discard, o.Bytes)
			return err
		})
	}()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a body that did not come was read without an error")
		}
	case <-time.After(bodyTimeout / 2):
		t.Error("the fetch goes on")
	}
}

// When a body has come from one peer, the fetches of it from other peers are given up.
func TestTruthABodyThatHasComeIsNotFetchedFurther(t *testing.T) {
	self := wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: "me"}
	d := NewDriver(mesh.NewNode(mesh.Config{Self: self}), nil, Handlers{}, slog.New(slog.DiscardHandler))
	want := record.VersionKey{Config: "a", Version: 1}
	begin := func() *fetching {
		f := &fetching{want: want}
		f.ctx, f.cancel = context.WithCancel(t.Context())
		d.fetches[f.key()] = append(d.fetches[f.key()], f)
		return f
	}
	slow := begin()
	failed := begin()
	fast := begin()
	lost := step.Failure{Reason: step.ReasonLinkLost, Fault: step.FaultPath}
	d.fetched(failed, step.Input{Kind: step.InFetched, Body: step.Body{Version: want}, Failure: lost})
	if slow.ctx.Err() != nil {
		t.Error("a fetch that failed ends another one")
	}
	d.fetched(fast, step.Input{Kind: step.InFetched, Body: step.Body{Version: want}})
	if slow.ctx.Err() == nil {
		t.Error("the body has come, and the other fetch goes on")
	}
	d.fetched(slow, step.Input{})
	if len(d.fetches) != 0 {
		t.Errorf("%d fetches are under way at the end", len(d.fetches))
	}
}

func FuzzReadMessages(f *testing.F) {
	for _, m := range []wire.Message{&wire.Attached{}, &wire.CatchUp{Since: 1}, &wire.Join{Description: wire.Description{Addr: "a"}}} {
		b, err := frame(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(b, b...))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := readMessages(bufio.NewReader(bytes.NewReader(b)), func(int) error { return nil }, func(wire.Message) {}); err == nil {
			t.Error("a stream that ends was read without an error")
		}
	})
}

func FuzzReadHeader(f *testing.F) {
	for _, v := range []any{bodyRequest{Config: "a", Version: 1, Have: []record.Ref{{Version: 3, Digest: record.Digest{3}}}}, bodyHeader{Reason: "no", Manifest: []byte{1}, Size: 2}, shardHeader{Config: "a", Version: 1, Number: 7}} {
		var b bytes.Buffer
		if err := writeHeader(&b, v); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var q bodyRequest
		var h bodyHeader
		var s shardHeader
		_ = readHeader(bytes.NewReader(b), &s)
		_ = readHeader(bytes.NewReader(b), &q)
		_ = readHeader(bytes.NewReader(b), &h)
	})
}
