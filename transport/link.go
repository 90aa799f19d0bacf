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

	"banyan/mesh"
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
)

// Link is a connection to an authenticated peer.
type Link struct {
	conn *quic.Conn
	id   identity.Identity
	out  *quic.SendStream

	mu     sync.Mutex
	queue  [][]byte // encoded frames, guarded by mu
	queued int      // their bytes
	ready  chan struct{}
	done   sync.WaitGroup
}

func startLink(conn *quic.Conn, id identity.Identity) (*Link, error) {
	out, err := conn.OpenUniStream()
	if err != nil {
		return nil, fmt.Errorf("open message stream: %w", err)
	}
	out.SetPriority(messageUrgency, false)
	l := &Link{conn: conn, id: id, out: out, ready: make(chan struct{}, 1)}
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
func frame(m mesh.Message) ([]byte, error) {
	b, err := mesh.AppendMessage(make([]byte, 4, 512), m)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b, nil
}

// Send queues a message. It does not block; if the peer is so slow that MaxQueue
// bytes wait, it returns ErrQueueFull.
func (l *Link) Send(m mesh.Message) error {
	f, err := frame(m)
	if err != nil {
		return err
	}
	return l.sendFrame(f)
}

func (l *Link) sendFrame(f []byte) error {
	l.mu.Lock()
	if l.queued+len(f) > MaxQueue {
		l.mu.Unlock()
		return ErrQueueFull
	}
	l.queue = append(l.queue, f)
	l.queued += len(f)
	l.mu.Unlock()
	select {
	case l.ready <- struct{}{}:
	default:
	}
	return nil
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
		l.queue, l.queued = nil, 0
		l.mu.Unlock()
		batch = batch[:0]
		for _, f := range frames {
			batch = append(batch, f...)
		}
		if _, err := l.out.Write(batch); err != nil {
			return
		}
		if cap(batch) > 64<<10 {
			batch = nil // a catch-up's worth is not kept for the next announcement
		}
	}
}

// messages reads messages and hands each to fn until the link ends, or a frame
// or message is not well-formed.
func (l *Link) messages(ctx context.Context, fn func(mesh.Message)) error {
	in, err := l.conn.AcceptUniStream(ctx)
	if err != nil {
		return err
	}
	return readMessages(bufio.NewReaderSize(in, 4<<10), fn)
}

func readMessages(r *bufio.Reader, fn func(mesh.Message)) error {
	var header [4]byte
	var body []byte
	for {
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(header[:])
		if n > mesh.MaxMessage {
			return fmt.Errorf("%w: %d bytes", ErrFrame, n)
		}
		if uint32(cap(body)) < n {
			body = make([]byte, n)
		}
		body = body[:n]
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		m, err := mesh.DecodeMessage(body)
		if err != nil {
			return err
		}
		fn(m)
		if cap(body) > 64<<10 {
			body = nil
		}
	}
}
