package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"

	"banyan/mesh/wire"
	"banyan/transport/identity"
)

// Codes with which a link is closed.
const (
	closeNormal  quic.ApplicationErrorCode = 0
	closeRefused quic.ApplicationErrorCode = 1
)

// messageUrgency is the priority of the message stream, ahead of every body stream.
const messageUrgency = 0

var (
	// ErrFrame is returned for a frame that is longer than a message may be.
	ErrFrame = errors.New("frame too long")
	// ErrQueueFull is returned when MaxQueue bytes wait for a peer that does not read.
	ErrQueueFull = errors.New("send queue is full")
	// errCongested is returned when a frame is queued and the queue passes SoftQueue.
	errCongested = errors.New("send queue grows")
)

// Link is a connection to an authenticated peer.
type Link struct {
	conn *quic.Conn
	id   identity.Identity
	out  *quic.SendStream

	limits *Limits
	// fetching has an element for each body that the peer was asked for under a download limit, until
	// the body has come. Further requests are not sent before then: bodies that the limit keeps from
	// being read would fill the window of the connection, and announcements would wait behind them.
	fetching chan struct{}
	ready    chan struct{}  // has room for one signal: frames are queued
	done     sync.WaitGroup // goroutines of the link

	mu      sync.Mutex
	queue   [][]byte // encoded frames; guarded by mu
	queued  int      // bytes of the queue and of the batch that is being written; guarded by mu
	writing bool     // a batch is being written; guarded by mu
	drained func()   // called when the queue is empty; nil for none; guarded by mu
}

func startLink(conn *quic.Conn, id identity.Identity, limits *Limits) (*Link, error) {
	out, err := conn.OpenUniStream()
	if err != nil {
		return nil, fmt.Errorf("open message stream: %w", err)
	}
	out.SetPriority(messageUrgency, false)
	l := &Link{
		conn:     conn,
		id:       id,
		out:      out,
		limits:   limits,
		fetching: make(chan struct{}, maxThrottled),
		ready:    make(chan struct{}, 1),
	}
	l.done.Go(l.write)
	return l, nil
}

// Identity is the identity of the peer.
func (l *Link) Identity() identity.Identity { return l.id }

// RemoteAddr is the address of the peer.
func (l *Link) RemoteAddr() string { return l.conn.RemoteAddr().String() }

// Protocol is the version of the protocol that the two peers speak.
func (l *Link) Protocol() string { return l.conn.ConnectionState().TLS.NegotiatedProtocol }

// Close ends the link and sends the reason to the peer.
func (l *Link) Close(reason string) { l.conn.CloseWithError(closeNormal, reason) }

// wait returns when the goroutines of a closed link have ended.
func (l *Link) wait() { l.done.Wait() }

// frame encodes a message with its length before it: four bytes, big-endian.
func frame(m wire.Message) ([]byte, error) {
	b, err := wire.AppendMessage(make([]byte, 4, 512), m)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b, nil
}

// Send queues a message. It does not block. It returns ErrQueueFull if MaxQueue bytes wait.
func (l *Link) Send(m wire.Message) error {
	f, err := frame(m)
	if err != nil {
		return err
	}
	if err := l.sendFrame(f); !errors.Is(err, errCongested) {
		return err
	}
	return nil
}

// sendFrame queues an encoded message. It returns errCongested if the frame is queued and the
// queue passes SoftQueue.
func (l *Link) sendFrame(f []byte) error {
	l.mu.Lock()
	if l.queued+len(f) > MaxQueue {
		l.mu.Unlock()
		return ErrQueueFull
	}
	congested := l.queued <= SoftQueue && l.queued+len(f) > SoftQueue
	l.queue = append(l.queue, f)
	l.queued += len(f)
	l.mu.Unlock()
	select {
	case l.ready <- struct{}{}:
	default:
	}
	if congested {
		return errCongested
	}
	return nil
}

// onDrained arranges for fn to be called once, when every queued frame has been handed to
// QUIC. If no frame is queued, onDrained returns true and does not call fn.
func (l *Link) onDrained(fn func()) (idle bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 && !l.writing {
		return true
	}
	l.drained = fn
	return false
}

// write sends the queued frames, many in one write, until the link ends.
func (l *Link) write() {
	var batch []byte
	for {
		select {
		case <-l.ready:
		case <-l.conn.Context().Done():
			return
		}
		l.mu.Lock()
		frames := l.queue
		l.queue = nil
		l.writing = len(frames) > 0
		l.mu.Unlock()
		batch = batch[:0]
		for _, f := range frames {
			batch = append(batch, f...)
		}
		if _, err := l.out.Write(batch); err != nil {
			return
		}
		l.written(len(batch))
		if cap(batch) > keptBuffer {
			batch = nil
		}
	}
}

// written subtracts n bytes from the queue and calls drained if the queue is empty.
func (l *Link) written(n int) {
	l.mu.Lock()
	l.queued -= n
	l.writing = false
	fn := l.drained
	if len(l.queue) > 0 {
		fn = nil
	} else {
		l.drained = nil
	}
	l.mu.Unlock()
	if fn != nil {
		fn()
	}
}

// messages calls fn for each message of the peer until the link ends, or a frame or message
// is not well-formed. It calls open when the message stream is open: every stream that the
// peer opens afterwards carries a shard.
func (l *Link) messages(ctx context.Context, open func(), fn func(wire.Message)) error {
	in, err := l.conn.AcceptUniStream(ctx)
	if err != nil {
		return err
	}
	open()
	messages := rate.NewLimiter(MaxMessageRate, MaxMessageRate)
	bytes := rate.NewLimiter(MaxByteRate, MaxByteRate)
	return readMessages(bufio.NewReaderSize(in, 4<<10), func(size int) error {
		if err := messages.WaitN(ctx, 1); err != nil {
			return err
		}
		return bytes.WaitN(ctx, size)
	}, fn)
}

// readMessages calls fn for each message in r, and skips messages that need not be known. It calls
// pace with the size of each message before it reads the message; pace may wait.
func readMessages(r *bufio.Reader, pace func(size int) error, fn func(wire.Message)) error {
	var header [4]byte
	var body []byte
	for {
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(header[:])
		if n > wire.MaxMessage {
			return fmt.Errorf("%w: %d bytes", ErrFrame, n)
		}
		if err := pace(int(n)); err != nil {
			return err
		}
		if uint32(cap(body)) < n {
			body = make([]byte, n)
		}
		body = body[:n]
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		m, err := wire.DecodeMessage(body)
		switch {
		case errors.Is(err, wire.ErrUnknown): // of a later build
		case err != nil:
			return err
		default:
			fn(m)
		}
		if cap(body) > keptBuffer {
			body = nil
		}
	}
}
