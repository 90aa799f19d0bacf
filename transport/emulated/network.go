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

// Network carries packets between the sockets that it made, in memory: no system call,
// and no kernel buffer that drops what the emulation would not.
type Network struct {
	mu      sync.Mutex
	sockets map[netip.AddrPort]*memorySocket // guarded by mu, like all below
	flight  flight
	port    uint16 // chosen last
	closed  bool

	courier courier
}

// NewNetwork starts a network without sockets. Close it.
func NewNetwork() *Network {
	n := &Network{sockets: map[netip.AddrPort]*memorySocket{}}
	n.courier.start(n.deliverDue)
	return n
}

// Listen makes a socket at an address, host:port, behind a link; port 0 chooses one.
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

// firstPort is the lowest that is chosen.
const firstPort = 1024

func (n *Network) freePort(at netip.AddrPort) netip.AddrPort {
	for range 1 << 16 {
		n.port = max(n.port+1, firstPort)
		if at = netip.AddrPortFrom(at.Addr(), n.port); n.sockets[at] == nil {
			break
		}
	}
	return at
}

// Close drops what is on its way and ends every read.
func (n *Network) Close() error {
	n.mu.Lock()
	n.closed, n.flight = true, flight{}
	sockets := n.sockets
	n.sockets = map[netip.AddrPort]*memorySocket{}
	n.mu.Unlock()
	for _, s := range sockets {
		s.end()
	}
	n.courier.end()
	return nil
}

// deliverDue brings packets to their receivers whose time has come, and says how long
// none will be.
func (n *Network) deliverDue() (wait time.Duration, closed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return 0, true
	}
	now := time.Now()
	return n.flight.due(now, func(p *packet) { n.advance(p, now) }), false
}

// advance moves a packet from the end of its sender's line to that of its receiver's,
// and from there to the reader.
func (n *Network) advance(p *packet, now time.Time) {
	if p.arrived == nil {
		p.from.waiting--
		to := n.sockets[addrPort(p.to)]
		if to == nil || to.cut || p.from.cut {
			p.release()
			return
		}
		at, ok := to.shaper.arrive(p.at, len(p.data))
		if !ok {
			p.release()
			return
		}
		p.arrived, p.at = to, at
		if at.After(now) {
			n.fly(p, now)
			return
		}
	}
	if p.arrived.cut || !p.arrived.deliver(p) {
		p.release()
	}
}

// fly lets a packet wait for its time.
func (n *Network) fly(p *packet, now time.Time) {
	if n.flight.add(now, p) {
		n.courier.rouse()
	}
}

// addrPort is where a packet goes; the zero value for what is no UDP address.
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

	shaper  shaper // guarded by network.mu, like cut and waiting
	cut     bool
	waiting int // packets on the way from here

	reading  sync.Mutex
	ready    sync.Cond // of reading: something below has changed, or the deadline is here
	inbox    []*packet // guarded by reading, like all below
	read     int       // how many of the inbox
	closed   bool
	deadline time.Time
	alarm    *time.Timer // rings at the deadline; nil if it is over
}

// WriteTo implements net.PacketConn. A packet that is lost counts as written.
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

// deliver gives the reader a packet, unless it is too far behind.
func (s *memorySocket) deliver(p *packet) bool {
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.closed || len(s.inbox)-s.read >= MaxQueued {
		return false
	}
	if s.read >= MaxQueued {
		s.inbox, s.read = append(s.inbox[:0], s.inbox[s.read:]...), 0
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
			if s.read++; s.read == len(s.inbox) {
				s.inbox, s.read = s.inbox[:0], 0
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
	if s.deadline = t; !t.IsZero() {
		s.alarm = time.AfterFunc(time.Until(t), s.ready.Broadcast)
	}
	s.ready.Broadcast()
	return nil
}

// SetDeadline implements net.PacketConn.
func (s *memorySocket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn: writes do not block.
func (s *memorySocket) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer and SetWriteBuffer are accepted: the queues have their own bounds.
func (s *memorySocket) SetReadBuffer(int) error { return nil }

// SetWriteBuffer is told of at SetReadBuffer.
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

// end ends reads.
func (s *memorySocket) end() {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.closed = true
	s.disarm()
	s.ready.Broadcast()
}

func (s *memorySocket) disarm() {
	if s.alarm != nil {
		s.alarm.Stop()
		s.alarm = nil
	}
}
