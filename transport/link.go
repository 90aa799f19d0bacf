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

// messageUrgency puts the stream of messages ahead of every body stream.
const messageUrgency = 0

var (
	// ErrFrame: a frame is longer than a message may be.
	ErrFrame = errors.New("frame too long")
	// ErrQueueFull: the peer does not read what it is sent.
	ErrQueueFull = errors.New("send queue is full")
	// errCongested: the frame is queued, and the queue has passed SoftQueue.
	errCongested = errors.New("send queue grows")
)

// Link is a connection to an authenticated peer.
type Link struct {
	conn *quic.Conn
	id   identity.Identity
	out  *quic.SendStream

	limits  *Limits
	mu      sync.Mutex
	queue   [][]byte // encoded frames, guarded by mu
	queued  int      // their bytes
	writing bool     // a batch is on its way out, guarded by mu
	drained func()   // to be called once all has left, guarded by mu; nil for none
	ready   chan struct{}
	done    sync.WaitGroup
}

func startLink(conn *quic.Conn, id identity.Identity, limits *Limits) (*Link, error) {
	out, err := conn.OpenUniStream()
	if err != nil {
		return nil, fmt.Errorf("open message stream: %w", err)
	}
	out.SetPriority(messageUrgency, false)
	l := &Link{conn: conn, id: id, out: out, limits: limits, ready: make(chan struct{}, 1)}
	l.done.Go(l.write)
	return l, nil
}

// Identity is who the peer is.
func (l *Link) Identity() identity.Identity { return l.id }

// RemoteAddr is where the peer is.
func (l *Link) RemoteAddr() string { return l.conn.RemoteAddr().String() }

// Close ends the link and tells the peer why.
func (l *Link) Close(reason string) { l.conn.CloseWithError(closeNormal, reason) }

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

// Send queues a message. It does not block; if the peer is so slow that MaxQueue
// bytes wait, it returns ErrQueueFull.
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

// onDrained has fn called, once, when all that is queued has been handed to QUIC;
// or reports true, and has not, if that is so now.
func (l *Link) onDrained(fn func()) (idle bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if idle = len(l.queue) == 0 && !l.writing; !idle {
		l.drained = fn
	}
	return idle
}

// write sends what is queued, many frames in one write, until the link ends.
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
		l.queue, l.writing = nil, len(frames) > 0
		l.mu.Unlock()
		batch = batch[:0]
		for _, f := range frames {
			batch = append(batch, f...)
		}
		if _, err := l.out.Write(batch); err != nil {
			return
		}
		l.written(len(batch))
		if cap(batch) > 64<<10 {
			batch = nil // a catch-up's worth is not kept for the next announcement
		}
	}
}

// written notes that bytes have left, and tells who waits for that.
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

// messages reads messages and hands each to fn until the link ends, or a frame
// or message is not well-formed. It calls open when it has the stream that carries
// them: those that come after that carry shards.
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

// readMessages hands on messages from r; pace is asked before each, and may wait.
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
		if err != nil {
			return err
		}
		fn(m)
		if cap(body) > 64<<10 {
			body = nil
		}
	}
}
