package emulated

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// Network carries packets between sockets in memory, without a system call. No
// buffer of the kernel drops a packet of the emulation.
type Network struct {
	mu      sync.Mutex
	sockets map[netip.AddrPort]*memorySocket // guarded by mu
	flight  flight                           // guarded by mu
	port    uint16                           // the last chosen port; guarded by mu
	closed  bool                             // guarded by mu

	courier courier
}

// NewNetwork starts a network without sockets. The caller must close the network.
func NewNetwork() *Network {
	n := &Network{sockets: map[netip.AddrPort]*memorySocket{}}
	n.courier.start(n.deliverDue)
	return n
}

// Listen makes a socket behind a link. address is ip:port; port 0 chooses a port.
func (n *Network) Listen(address string, link Link) (Socket, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w; give ip:port", address, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if at.Port() == 0 {
		at = n.freePort(at)
	}
	if n.closed || n.sockets[at] != nil {
		return nil, fmt.Errorf("listen on emulated %s: %w", at, syscall.EADDRINUSE)
	}
	s := &memorySocket{network: n, at: at, addr: net.UDPAddrFromAddrPort(at), shaper: newShaper(link)}
	s.ready.L = &s.reading
	n.sockets[at] = s
	return s, nil
}

// firstPort is the lowest result of freePort.
const firstPort = 1024

// freePort returns the next free port after the last chosen port.
func (n *Network) freePort(at netip.AddrPort) netip.AddrPort {
	for range 1 << 16 {
		n.port = max(n.port+1, firstPort)
		at = netip.AddrPortFrom(at.Addr(), n.port)
		if n.sockets[at] == nil {
			break
		}
	}
	return at
}

// Close drops the packets on their way and ends every read.
func (n *Network) Close() error {
	n.mu.Lock()
	n.closed = true
	n.flight = flight{}
	sockets := n.sockets
	n.sockets = map[netip.AddrPort]*memorySocket{}
	n.mu.Unlock()
	for _, s := range sockets {
		s.end()
	}
	n.courier.end()
	return nil
}

// deliverDue delivers the due packets. It returns the time until the next packet is
// due.
func (n *Network) deliverDue() (wait time.Duration, closed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return 0, true
	}
	now := time.Now()
	return n.flight.due(now, func(p *packet) { n.advance(p, now) }), false
}

// advance moves a due packet: from the sender's link to the receiver's link, and from
// there to the reader.
func (n *Network) advance(p *packet, now time.Time) {
	if p.arrived == nil {
		p.from.waiting--
		if !n.arrive(p) {
			p.release()
			return
		}
		if p.at.After(now) || p.arrived.pending > 0 { // no packet overtakes another
			p.arrived.pending++
			n.fly(p, now)
			return
		}
	} else {
		p.arrived.pending--
	}
	if p.arrived.cut || !p.arrived.deliver(p) {
		p.release()
	}
}

// arrive moves a packet to the receiver's link. It returns false if the packet is lost.
func (n *Network) arrive(p *packet) bool {
	to := n.sockets[addrPort(p.to)]
	if to == nil || to.cut || p.from.cut {
		return false
	}
	at, ok := to.shaper.arrive(p.at, len(p.data))
	if !ok {
		return false
	}
	p.arrived = to
	p.at = at
	return true
}

// fly makes a packet wait until it is due.
func (n *Network) fly(p *packet, now time.Time) {
	if n.flight.add(now, p) {
		n.courier.rouse()
	}
}

// addrPort returns the destination of a packet; the zero value if a is no UDP address.
func addrPort(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := u.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// memorySocket is a socket of a Network.
type memorySocket struct {
	network *Network
	at      netip.AddrPort
	addr    *net.UDPAddr

	shaper  shaper // guarded by network.mu
	cut     bool   // guarded by network.mu
	waiting int    // packets of this socket in the flight; guarded by network.mu
	pending int    // packets to this socket that wait for its rate; guarded by network.mu

	reading  sync.Mutex
	ready    sync.Cond   // of reading: a field below has changed, or the deadline has come
	inbox    []*packet   // guarded by reading
	read     int         // number of read packets of inbox; guarded by reading
	closed   bool        // guarded by reading
	deadline time.Time   // guarded by reading
	alarm    *time.Timer // signals ready at the deadline; nil without a deadline; guarded by reading
}

// WriteTo implements net.PacketConn. A lost packet counts as written.
func (s *memorySocket) WriteTo(b []byte, to net.Addr) (int, error) {
	n := s.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sockets[s.at] != s {
		return 0, net.ErrClosed
	}
	if s.cut {
		return len(b), nil
	}
	now := time.Now()
	for range s.shaper.copies() {
		if s.waiting >= MaxQueued {
			s.shaper.stats.Dropped++
			continue
		}
		at, ok := s.shaper.depart(now, len(b))
		if !ok {
			continue
		}
		p := newPacket(b, at, to)
		p.from = s
		s.waiting++
		if !at.After(now) {
			n.advance(p, now)
			continue
		}
		n.fly(p, now)
	}
	return len(b), nil
}

// deliver gives a packet to the reader. It returns false if the socket is closed or MaxQueued
// packets wait.
func (s *memorySocket) deliver(p *packet) bool {
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.closed || len(s.inbox)-s.read >= MaxQueued {
		return false
	}
	if s.read >= MaxQueued {
		s.inbox = append(s.inbox[:0], s.inbox[s.read:]...)
		s.read = 0
	}
	s.inbox = append(s.inbox, p)
	s.ready.Signal()
	return true
}

// ReadFrom implements net.PacketConn.
func (s *memorySocket) ReadFrom(b []byte) (int, net.Addr, error) {
	p, err := s.next()
	if err != nil {
		return 0, nil, err
	}
	defer p.release()
	return copy(b, p.data), p.from.addr, nil
}

// next waits for the next packet.
func (s *memorySocket) next() (*packet, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	for {
		switch {
		case s.closed:
			return nil, net.ErrClosed
		case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
			return nil, os.ErrDeadlineExceeded
		case s.read < len(s.inbox):
			p := s.inbox[s.read]
			s.read++
			if s.read == len(s.inbox) {
				s.inbox = s.inbox[:0]
				s.read = 0
			}
			return p, nil
		}
		s.ready.Wait()
	}
}

// LocalAddr implements net.PacketConn.
func (s *memorySocket) LocalAddr() net.Addr { return s.addr }

// SetReadDeadline implements net.PacketConn.
func (s *memorySocket) SetReadDeadline(t time.Time) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.disarm()
	s.deadline = t
	if !t.IsZero() {
		s.alarm = time.AfterFunc(time.Until(t), s.ready.Broadcast)
	}
	s.ready.Broadcast()
	return nil
}

// SetDeadline implements net.PacketConn.
func (s *memorySocket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn. Writes do not block, so there is nothing to do.
func (s *memorySocket) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer does nothing: the queue is limited by MaxQueued.
func (s *memorySocket) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing: the queue is limited by MaxQueued.
func (s *memorySocket) SetWriteBuffer(int) error { return nil }

// Cut implements Socket.
func (s *memorySocket) Cut(cut bool) {
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	s.cut = cut
}

// Stats implements Socket.
func (s *memorySocket) Stats() Stats {
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	return s.shaper.stats
}

// Close implements net.PacketConn.
func (s *memorySocket) Close() error {
	n := s.network
	n.mu.Lock()
	if n.sockets[s.at] == s {
		delete(n.sockets, s.at)
	}
	n.mu.Unlock()
	s.end()
	return nil
}

// end ends every read.
func (s *memorySocket) end() {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.closed = true
	s.disarm()
	s.ready.Broadcast()
}

// disarm stops the alarm of the deadline.
func (s *memorySocket) disarm() {
	if s.alarm != nil {
		s.alarm.Stop()
		s.alarm = nil
	}
}
