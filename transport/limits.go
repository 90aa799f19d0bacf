package transport

import (
	"time"

	"banyan/mesh/wire"
	"banyan/record"
)

// Limits of the transport.
const (
	// SoftQueue is the number of bytes of messages on one link past which the node sends a
	// child nothing more until the queue is empty.
	SoftQueue = 64 << 10
	// MaxQueue is the number of bytes of messages on one link past which the link is cut.
	MaxQueue = 1 << 20
	// MaxRequests is the number of versions that a peer may ask for at once.
	MaxRequests = 64
	// MaxShardStreams is the number of shards of one peer that may be on their way here at
	// once.
	MaxShardStreams = 3
	// maxThrottled is the number of bodies of one peer that are on their way here at once under a
	// download limit.
	maxThrottled = 2
	// streamWindow is the number of bytes of one stream that a peer may send before they are read.
	// It grows while they are read fast.
	streamWindow = 256 << 10
	// connectionWindow is the number of bytes of all streams of a link that a peer may send before
	// they are read. All shards and throttled bodies fit, and the largest message besides: what
	// waits to be read holds up nothing else.
	connectionWindow = MaxShardStreams*record.MaxShardBytes + maxThrottled*streamWindow + wire.MaxMessage
	// maxReceiving is the number of shards of all peers that are in memory at once.
	maxReceiving = 64
	// maxHave is the number of versions in bodyRequest.Have.
	maxHave = 8
	// copyBuffer is the number of bytes of a body that are read and sent at a time.
	copyBuffer = 32 << 10
	// minRate is the lowest rate at which a peer may send a body, in bytes a second.
	minRate = 1 << 10
	// maxHeader is the largest header of a body stream, in bytes.
	maxHeader = 8 << 10
	// MaxMessageRate and MaxByteRate are the messages and bytes that are read from one link
	// in a second, in the long run. Past them the link is read more slowly, and QUIC's flow
	// control holds the peer back.
	MaxMessageRate = 20_000
	MaxByteRate    = 32 << 20
	// keptBuffer is the largest buffer, in bytes, that a link keeps for its next message.
	// The larger buffer of a catch-up is freed.
	keptBuffer = 64 << 10
	// storeQueue is the number of pushed versions that may wait for the disk.
	storeQueue = 128
	// storeWorkers is the number of pushed versions that are written at once.
	storeWorkers = 2
	// inboxSize is the number of inputs that may wait for a driver. Past it, links are not
	// read.
	inboxSize = 1024
)

// Defaults of Config, and timeouts.
const (
	defaultKeepAlive   = 1500 * time.Millisecond
	defaultIdleTimeout = 5 * time.Second // three keep-alives are missed
	handshakeTimeout   = 3 * time.Second
	// bodyTimeout is the time that a body stream may go without progress.
	bodyTimeout = 30 * time.Second
)
