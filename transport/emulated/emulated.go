// Package emulated emulates a bad network: it has net.PacketConns whose packets are lost,
// duplicated, delayed, reordered, and carried at a limited rate.
//
// Entry points: [Wrap] puts an emulated link before a real socket. [Network] carries packets
// between sockets of one process in memory; use it for many hosts on few cores, where system
// calls cost more than the rest of a packet.
//
//	write ─► shaper of the sender: loss, rate up, delay ─► arrival ─► shaper of the receiver: rate down ─► read
//
// Promises: random choices come from the seed. At most MaxQueued packets of a socket wait, and
// further packets are dropped, as a router drops them. Close waits for every goroutine.
package emulated

import (
	"net"
	"time"
)

// MaxQueued is the number of packets of a socket that may wait. Further packets are dropped.
const MaxQueued = 4096

// Link says what happens to packets on their way. The zero value changes nothing.
type Link struct {
	Loss      float64       // share of lost packets, 0 to 1
	Duplicate float64       // share of packets sent twice, 0 to 1
	Reorder   float64       // share of delayed packets, 0 to 1
	ReorderBy time.Duration // longest delay of such a packet; default 20 ms
	Delay     time.Duration // delay of every packet
	Jitter    time.Duration // longest additional delay; the delay is uniformly distributed
	Rate      float64       // bits a second sent by the socket; 0: no limit
	DownRate  float64       // bits a second received by the socket; 0: no limit
	// Queue is the longest time that a packet waits for either rate. A packet that would wait
	// longer is dropped. Default 200 ms.
	Queue time.Duration
	Seed  uint64 // of the random choices
}

// Socket is a net.PacketConn behind an emulated link.
type Socket interface {
	net.PacketConn
	// Cut silences the socket in both directions, like the death of a host: written packets do
	// not leave, and arriving packets are not read.
	Cut(cut bool)
	// Stats returns the counts of packets so far.
	Stats() Stats
}

// Stats counts packets by their fate.
type Stats struct {
	Sent, Lost, Doubled, Reordered, Dropped uint64
	Bytes                                   uint64 // payload of the sent packets
}
