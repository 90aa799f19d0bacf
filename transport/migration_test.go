package transport

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"banyan/mesh/wire"
	"banyan/transport/identity"
)

// nat forwards packets of one client to a server, from an address of its own that
// can change, as a NAT's does when its table is lost.
type nat struct {
	t      *testing.T
	front  net.PacketConn // where the client sends to
	server net.Addr
	done   sync.WaitGroup

	mu     sync.Mutex
	back   net.PacketConn // guarded by mu, like client
	client net.Addr
}

func newNAT(t *testing.T, server net.Addr) *nat {
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nat{t: t, front: front, server: server}
	n.rebind()
	n.done.Go(func() {
		b := make([]byte, 2048)
		for {
			size, from, err := front.ReadFrom(b)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.client = from
			n.back.WriteTo(b[:size], n.server)
			n.mu.Unlock()
		}
	})
	t.Cleanup(n.close)
	return n
}

// rebind gives the client another address, as the server sees it.
func (n *nat) rebind() {
	back, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	if n.back != nil {
		n.back.Close()
	}
	n.back = back
	n.mu.Unlock()
	n.done.Go(func() {
		b := make([]byte, 2048)
		for {
			size, _, err := back.ReadFrom(b)
			if err != nil {
				return
			}
			n.mu.Lock()
			if n.client != nil {
				n.front.WriteTo(b[:size], n.client)
			}
			n.mu.Unlock()
		}
	})
}

func (n *nat) close() {
	n.front.Close()
	n.mu.Lock()
	n.back.Close()
	n.mu.Unlock()
	n.done.Wait()
}

// The address of a host changes in the middle of a link: QUIC moves the link to the
// new path (RFC 9000 §9), and nothing that was sent is lost.
func TestALinkOutlivesAChangeOfAddress(t *testing.T) {
	f := newFixture(t)
	a, b := f.endpoint(identity.RoleAgent, "a"), f.endpoint(identity.RoleCoordinator, "b")
	n := newNAT(t, b.Addr())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got := make(chan uint64, 100)
	go func() {
		l, err := b.Accept(ctx)
		if err != nil {
			return
		}
		l.messages(ctx, func() {}, func(m wire.Message) { got <- m.(*wire.CatchUp).Since })
	}()
	link, err := a.Dial(ctx, n.front.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(6) {
		if i == 2 || i == 4 {
			n.rebind()
		}
		if err := link.Send(&wire.CatchUp{Since: i}); err != nil {
			t.Fatal(err)
		}
		select {
		case since := <-got:
			if since != i {
				t.Fatalf("message %d came where %d was due", since, i)
			}
		case <-ctx.Done():
			t.Fatalf("message %d did not come after the address had changed", i)
		}
	}
}
