package emulated

import (
	"net"
	"sync"
	"time"
)

// packet is on its way.
type packet struct {
	at      time.Time
	to      net.Addr
	from    *memorySocket
	arrived *memorySocket // whose line it is on, if it has reached that
	data    []byte
}

// maxPacket is the longest that pooled packets carry; Ethernet's frames are shorter.
const maxPacket = 1536

var packets = sync.Pool{New: func() any { return &packet{data: make([]byte, 0, maxPacket)} }}

func newPacket(b []byte, at time.Time, to net.Addr) *packet {
	p := packets.Get().(*packet)
	p.at, p.to, p.data = at, to, append(p.data[:0], b...)
	return p
}

func (p *packet) release() {
	if cap(p.data) == maxPacket {
		*p = packet{data: p.data[:0]}
		packets.Put(p)
	}
}

// flight holds packets until they are due: a timing wheel, in which a packet costs the
// same however many there are (Varghese and Lauck, SOSP 1987). Packets travel in ticks,
// like those that a network card gathers before it interrupts.
type flight struct {
	slots [][]*packet // wheelSlots, by tick; nil until something has to wait
	began time.Time   // when those were made
	ticks int64       // that are over
	count int
}

const (
	tick       = 2 * time.Millisecond
	wheelSlots = 1024
)

// add puts a packet on its way. It reports whether it is alone: then who waits for the
// next tick has to be woken.
func (f *flight) add(now time.Time, p *packet) (first bool) {
	if f.count == 0 {
		f.skip(now)
	}
	due := int64((p.at.Sub(f.began) + tick - 1) / tick)
	due = min(max(due, f.ticks+1), f.ticks+wheelSlots-1) // past the wheel's end it goes on from there
	slot := &f.slots[due%wheelSlots]
	*slot = append(*slot, p)
	f.count++
	return f.count == 1
}

// skip lets the ticks go by in which nothing was on its way.
func (f *flight) skip(now time.Time) {
	if f.slots == nil {
		f.slots, f.began = make([][]*packet, wheelSlots), now
	}
	f.ticks = max(f.ticks, int64(now.Sub(f.began)/tick))
}

// due hands on the packets of the ticks that are over, and says when the next one is.
// What fn adds is not due before the tick after.
func (f *flight) due(now time.Time, fn func(*packet)) (wait time.Duration) {
	for over := int64(now.Sub(f.began) / tick); f.count > 0 && f.ticks < over; {
		f.ticks++
		slot := &f.slots[f.ticks%wheelSlots]
		taken := *slot
		*slot = nil
		for i, p := range taken {
			taken[i] = nil
			if f.count--; p.at.After(now) {
				f.add(now, p)
			} else {
				fn(p)
			}
		}
		if *slot == nil {
			*slot = taken[:0]
		}
	}
	if f.count == 0 {
		return time.Hour
	}
	return f.began.Add(time.Duration(f.ticks+1) * tick).Sub(now)
}
