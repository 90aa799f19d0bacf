// Package emulated is a network that is worse than loopback: a net.PacketConn whose
// packets are lost, doubled, delayed, reordered, and sent at a limited rate.
//
// Entry point: [Wrap]. What is written passes through the emulation; what is read
// does not, so a link between two wrapped sockets has the impairments of each
// direction once.
//
// Promises: choices come from the seed; at most MaxQueued packets wait, those
// beyond are dropped as a router would; Close ends the one goroutine and waits for it.
package emulated

import (
	"container/heap"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// MaxQueued is how many packets wait to be sent before more are dropped.
const MaxQueued = 4096

// Link says what happens to packets on their way. Its zero value changes nothing.
type Link struct {
	Loss      float64       // share that is lost
	Duplicate float64       // share that is sent twice
	Reorder   float64       // share that is held back by up to ReorderBy
	ReorderBy time.Duration // default 20 ms
	Delay     time.Duration // of every packet
	Jitter    time.Duration // added uniformly, 0 to this
	Rate      float64       // bits a second sent; 0: no limit
	DownRate  float64       // bits a second received; 0: no limit
	Queue     time.Duration // packets that would wait longer than this for either rate are dropped; default 200 ms
	Seed      uint64
}

// Conn is a net.PacketConn behind an emulated link.
type Conn struct {
	net.PacketConn
	link Link

	mu     sync.Mutex
	rand   *rand.Rand // guarded by mu, like all below
	queue  packets
	seq    uint64
	freeAt time.Time // when the link has sent what waits for its rate
	downAt time.Time // when it has received what waits
	closed bool
	cut    bool
	stats  Stats

	wake chan struct{}
	done sync.WaitGroup
}

// Stats counts what was done to packets.
type Stats struct {
	Sent, Lost, Doubled, Reordered, Dropped uint64
	Bytes                                   uint64 // of those sent, without headers
}

type packet struct {
	at   time.Time
	seq  uint64
	to   net.Addr
	data []byte
}

// Wrap puts conn behind a link. Closing the result closes conn.
func Wrap(conn net.PacketConn, link Link) *Conn {
	if link.ReorderBy == 0 {
		link.ReorderBy = 20 * time.Millisecond
	}
	if link.Queue == 0 {
		link.Queue = 200 * time.Millisecond
	}
	c := &Conn{PacketConn: conn, link: link, rand: rand.New(rand.NewPCG(link.Seed, 0x6c696e6b)), wake: make(chan struct{}, 1)}
	c.done.Go(c.run)
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
	copies := 1
	switch roll := c.rand.Float64(); {
	case roll < c.link.Loss:
		c.stats.Lost++
		return len(b), nil
	case roll < c.link.Loss+c.link.Duplicate:
		c.stats.Doubled++
		copies = 2
	}
	for range copies {
		c.enqueue(b, to)
	}
	return len(b), nil
}

func (c *Conn) enqueue(b []byte, to net.Addr) {
	if len(c.queue) >= MaxQueued {
		c.stats.Dropped++
		return
	}
	now := time.Now()
	at := now
	if c.link.Rate > 0 {
		if c.freeAt.Before(now) {
			c.freeAt = now
		}
		if c.freeAt.Sub(now) > c.link.Queue {
			c.stats.Dropped++
			return
		}
		c.freeAt = c.freeAt.Add(transmission(len(b), c.link.Rate))
		at = c.freeAt
	}
	at = at.Add(c.link.Delay)
	if c.link.Jitter > 0 {
		at = at.Add(time.Duration(c.rand.Int64N(int64(c.link.Jitter))))
	}
	if c.link.Reorder > 0 && c.rand.Float64() < c.link.Reorder {
		c.stats.Reordered++
		at = at.Add(time.Duration(c.rand.Int64N(int64(c.link.ReorderBy))))
	}
	c.stats.Sent++
	c.stats.Bytes += uint64(len(b))
	if !at.After(now) && len(c.queue) == 0 {
		c.PacketConn.WriteTo(b, to)
		return
	}
	c.seq++
	heap.Push(&c.queue, packet{at, c.seq, to, append([]byte(nil), b...)})
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Cut silences the socket in both directions, as a dead host or a pulled cable
// would: nothing that is written leaves, nothing that comes is read.
func (c *Conn) Cut(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut = cut; cut {
		c.queue = nil
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
	if c.cut || c.link.DownRate <= 0 {
		return 0, c.cut
	}
	now := time.Now()
	if c.downAt.Before(now) {
		c.downAt = now
	}
	if c.downAt.Sub(now) > c.link.Queue {
		c.stats.Dropped++
		return 0, true
	}
	c.downAt = c.downAt.Add(transmission(size, c.link.DownRate))
	// The packet took its time on the sender's link, and the reader is woken late: only
	// what is ahead of that by more than a tick is slept for.
	if wait = c.downAt.Sub(now); wait < tick {
		wait = 0
	}
	return wait, false
}

// tick is the shortest pause worth a timer.
const tick = 2 * time.Millisecond

func transmission(bytes int, bps float64) time.Duration {
	return time.Duration(float64(bytes) * 8 / bps * float64(time.Second))
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

// Stats says what has been done so far.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// run sends packets when their time has come.
func (c *Conn) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return
		}
		next := time.Hour
		for len(c.queue) > 0 {
			if next = time.Until(c.queue[0].at); next > 0 {
				next = max(next, tick) // few wakeups, with several packets each
				break
			}
			p := heap.Pop(&c.queue).(packet)
			c.PacketConn.WriteTo(p.data, p.to)
			next = time.Hour
		}
		c.mu.Unlock()
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-c.wake:
		}
	}
}

// Close drops what waits and closes the connection under it.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.queue = nil
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	err := c.PacketConn.Close()
	c.done.Wait()
	return err
}

type packets []packet

func (q packets) Len() int { return len(q) }
func (q packets) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].seq < q[j].seq
}
func (q packets) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *packets) Push(x any)   { *q = append(*q, x.(packet)) }
func (q *packets) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
