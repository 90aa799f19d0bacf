package transport

import (
	"time"

	"banyan/record"
)

// Limits of the transport.
const (
	// SoftQueue is how many bytes of messages may wait for one link before a child is
	// sent no more until they have left.
	SoftQueue = 64 << 10
	// MaxQueue is how many may wait in any case: beyond, the link is cut.
	MaxQueue = 1 << 20
	// MaxRequests is how many bodies a peer may ask for at once.
	MaxRequests = 64
	// MaxShardStreams is how many shards of one peer may be on their way here at once.
	// All of them fit the window of a connection, so that one that waits for its turn to
	// be read holds up no other.
	MaxShardStreams  = 3
	connectionWindow = (MaxShardStreams + 1) * record.MaxShardBytes
	// maxReceiving is how many shards of all peers are in memory at once.
	maxReceiving = 64
	// maxHave is how many versions an asker tells that it has.
	maxHave = 8
	// copyBuffer is by how much a body is read and sent, in bytes.
	copyBuffer = 32 << 10
	// minRate is what a peer must send of a body in the long run, in bytes a second.
	minRate = 1 << 10
	// maxHeader is the largest header of a body stream, in bytes.
	maxHeader = 8 << 10
	// MaxMessageRate and MaxByteRate are how much of messages is read from one link in
	// a second, in the long run. Past that the link is read more slowly, and QUIC's flow
	// control holds the peer back.
	MaxMessageRate = 20_000
	MaxByteRate    = 32 << 20
	// storeQueue is how many pushed versions may wait for the disk.
	storeQueue = 128
	// storeWorkers is how many of them are written at once.
	storeWorkers = 2
	// inboxSize is how many inputs may wait for a driver; past it, links stop reading.
	inboxSize = 1024
)

// Defaults of Config.
const (
	defaultKeepAlive   = 1500 * time.Millisecond
	defaultIdleTimeout = 5 * time.Second // three keep-alives missed
	handshakeTimeout   = 3 * time.Second
	// bodyTimeout bounds how long a body request may go without progress.
	bodyTimeout = 30 * time.Second
)
