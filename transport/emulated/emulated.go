// Package emulated is a network that is worse than loopback: net.PacketConns whose
// packets are lost, doubled, delayed, reordered, and carried at a limited rate.
//
// Entry points: [Wrap] puts an emulated link before a real socket, for processes that
// talk to others; [Network] carries packets between sockets of one process in memory,
// for many hosts on few cores, where the system's share of a packet is the larger one.
//
//	write ─► shaper of the sender: loss, rate up, delay ─► arrival ─► shaper of the receiver: rate down ─► read
//
// Promises: choices come from the seed; at most MaxQueued packets of a socket wait, those
// beyond are dropped as a router would; Close ends every goroutine and waits for it.
package emulated

import (
	"net"
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

// Socket is a net.PacketConn behind an emulated link.
type Socket interface {
	net.PacketConn
	// Cut silences the socket in both directions, as a dead host or a pulled cable
	// would: nothing that is written leaves, nothing that comes is read.
	Cut(cut bool)
	// Stats says what has been done so far.
	Stats() Stats
}

// Stats counts what was done to packets.
type Stats struct {
	Sent, Lost, Doubled, Reordered, Dropped uint64
	Bytes                                   uint64 // of those sent, without headers
}
