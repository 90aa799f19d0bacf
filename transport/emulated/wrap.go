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
	shaper shaper // guarded by mu, like all below
	flight flight
	closed bool
	cut    bool

	courier courier
}

// Wrap puts conn behind a link. What is written passes through the emulation of the
// rate up, what is read through that of the rate down; a link between two wrapped
// sockets has the impairments of each direction once. Closing the result closes conn.
func Wrap(conn net.PacketConn, link Link) *Conn {
	c := &Conn{PacketConn: conn, shaper: newShaper(link)}
	c.courier.start(c.sendDue)
	return c
}

// WriteTo implements net.PacketConn. A packet that is lost counts as written.
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
	if c.cut = cut; cut {
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

// receive is how long a packet takes to come in, or that it is lost.
func (c *Conn) receive(size int) (wait time.Duration, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	in, ok := c.shaper.arrive(now, size)
	if c.cut || !ok {
		return 0, true
	}
	// The packet took its time on the sender's link, and the reader is woken late: only
	// what is ahead of that by more than a tick is slept for.
	if wait = in.Sub(now); wait < tick {
		wait = 0
	}
	return wait, false
}

// SetReadBuffer and SetWriteBuffer reach the socket, if it has such buffers.
func (c *Conn) SetReadBuffer(bytes int) error {
	if s, ok := c.PacketConn.(interface{ SetReadBuffer(int) error }); ok {
		return s.SetReadBuffer(bytes)
	}
	return nil
}

// SetWriteBuffer is told of at SetReadBuffer.
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

// sendDue sends what is due and says how long nothing will be.
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

// Close drops what waits and closes the connection under it.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.flight = flight{}
	c.mu.Unlock()
	err := c.PacketConn.Close()
	c.courier.end()
	return err
}
