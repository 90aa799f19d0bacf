package emulated

import (
	"net"
	"sync"
	"time"
)

// Conn is a real socket behind an emulated link.
type Conn struct {
	net.PacketConn

	mu     sync.Mutex
	shaper shaper // guarded by mu
	flight flight // guarded by mu
	closed bool   // guarded by mu
	cut    bool   // guarded by mu

	courier courier
}

// Wrap puts conn behind a link. Written packets pass the emulation of Rate, delay and
// loss. Read packets pass the emulation of DownRate. So a packet between two wrapped
// sockets is impaired once. Closing the result closes conn.
func Wrap(conn net.PacketConn, link Link) *Conn {
	c := &Conn{PacketConn: conn, shaper: newShaper(link)}
	c.courier.start(c.sendDue)
	return c
}

// WriteTo implements net.PacketConn. A lost packet counts as written.
func (c *Conn) WriteTo(b []byte, to net.Addr) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if c.cut {
		return len(b), nil
	}
	for range c.shaper.copies() {
		c.send(b, to)
	}
	return len(b), nil
}

// send sends a packet now or adds it to the flight.
func (c *Conn) send(b []byte, to net.Addr) {
	if c.flight.count >= MaxQueued {
		c.shaper.stats.Dropped++
		return
	}
	now := time.Now()
	at, ok := c.shaper.depart(now, len(b))
	if !ok {
		return
	}
	if !at.After(now) && c.flight.count == 0 {
		c.PacketConn.WriteTo(b, to)
		return
	}
	if c.flight.add(now, newPacket(b, at, to)) {
		c.courier.rouse()
	}
}

// Cut implements Socket.
func (c *Conn) Cut(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	if cut {
		c.flight = flight{}
	}
}

// ReadFrom implements net.PacketConn.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		wait, lost := c.receive(n)
		if err == nil && lost {
			continue
		}
		if wait > 0 {
			time.Sleep(wait)
		}
		return n, from, err
	}
}

// receive returns the time until a read packet has been received, or lost.
func (c *Conn) receive(size int) (wait time.Duration, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	in, ok := c.shaper.arrive(now, size)
	if c.cut || !ok {
		return 0, true
	}
	// The reader is woken late anyway, so a wait of less than a tick is left out.
	wait = in.Sub(now)
	if wait < tick {
		return 0, false
	}
	return wait, false
}

// SetReadBuffer sets the size of the socket's buffer, if the socket has a buffer.
func (c *Conn) SetReadBuffer(bytes int) error {
	if s, ok := c.PacketConn.(interface{ SetReadBuffer(int) error }); ok {
		return s.SetReadBuffer(bytes)
	}
	return nil
}

// SetWriteBuffer sets the size of the socket's buffer, if the socket has a buffer.
func (c *Conn) SetWriteBuffer(bytes int) error {
	if s, ok := c.PacketConn.(interface{ SetWriteBuffer(int) error }); ok {
		return s.SetWriteBuffer(bytes)
	}
	return nil
}

// Stats implements Socket.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shaper.stats
}

// sendDue sends the due packets. It returns the time until the next packet is due.
func (c *Conn) sendDue() (wait time.Duration, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, true
	}
	return c.flight.due(time.Now(), func(p *packet) {
		c.PacketConn.WriteTo(p.data, p.to)
		p.release()
	}), false
}

// Close drops the waiting packets and closes the socket.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.flight = flight{}
	c.mu.Unlock()
	err := c.PacketConn.Close()
	c.courier.end()
	return err
}
