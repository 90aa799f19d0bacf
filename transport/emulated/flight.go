package emulated

import (
	"net"
	"sync"
	"time"
)

// packet is a packet in the flight.
type packet struct {
	at      time.Time // when the packet is due
	to      net.Addr
	from    *memorySocket
	arrived *memorySocket // the receiver, once the packet waits for the receiver's rate
	data    []byte
}

// maxPacket is the capacity of a pooled packet in bytes; an Ethernet frame is smaller.
const maxPacket = 1536

var packets = sync.Pool{New: func() any { return &packet{data: make([]byte, 0, maxPacket)} }}

func newPacket(b []byte, at time.Time, to net.Addr) *packet {
	p := packets.Get().(*packet)
	p.at = at
	p.to = to
	p.data = append(p.data[:0], b...)
	return p
}

// release returns the packet to the pool, unless the data outgrew the capacity.
func (p *packet) release() {
	if cap(p.data) == maxPacket {
		*p = packet{data: p.data[:0]}
		packets.Put(p)
	}
}

// flight holds packets until they are due. A flight is a timing wheel: the cost of a packet does not
// depend on the number of packets (Varghese and Lauck, SOSP 1987). Packets are delivered in
// ticks, as a network card gathers packets before an interrupt.
type flight struct {
	slots [][]*packet // wheelSlots slots, by tick; nil before the first packet
	began time.Time   // when the slots were made
	ticks int64       // number of past ticks
	count int         // number of packets
}

const (
	tick       = 2 * time.Millisecond
	wheelSlots = 1024
)

// add adds a packet. It returns true if there was no other packet; the courier must then be
// roused.
func (f *flight) add(now time.Time, p *packet) (first bool) {
	if f.count == 0 {
		f.skip(now)
	}
	due := int64((p.at.Sub(f.began) + tick - 1) / tick)
	// A packet due after the last slot is added again when the last slot is over.
	due = min(max(due, f.ticks+1), f.ticks+wheelSlots-1)
	slot := &f.slots[due%wheelSlots]
	*slot = append(*slot, p)
	f.count++
	return f.count == 1
}

// skip ends the ticks up to now. There must be no packet.
func (f *flight) skip(now time.Time) {
	if f.slots == nil {
		f.slots = make([][]*packet, wheelSlots)
		f.began = now
	}
	f.ticks = max(f.ticks, int64(now.Sub(f.began)/tick))
}

// due calls fn for each packet of the ticks that are over, and returns the time until the next
// tick. A packet added by fn is due in a later tick.
func (f *flight) due(now time.Time, fn func(*packet)) (wait time.Duration) {
	for over := int64(now.Sub(f.began) / tick); f.count > 0 && f.ticks < over; {
		f.ticks++
		slot := &f.slots[f.ticks%wheelSlots]
		taken := *slot
		*slot = nil
		for i, p := range taken {
			taken[i] = nil
			f.count--
			if p.at.After(now) {
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
