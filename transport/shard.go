package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"banyan/mesh/wire"
	"banyan/record"
)

// shardBuffers are buffers for shards that are received and sent.
var shardBuffers = sync.Pool{New: func() any { return new([record.MaxShardBytes]byte) }}

// sendShard sends a shard. It returns when every byte has been handed to QUIC.
func (l *Link) sendShard(ctx context.Context, key record.FormKey, n int, shard []byte) error {
	opening, cancel := context.WithTimeout(ctx, bodyTimeout)
	defer cancel()
	s, err := l.conn.OpenUniStreamSync(opening)
	if err != nil {
		return err
	}
	s.SetWriteDeadline(time.Now().Add(bodyTimeout))
	h := shardHeader{
		Config:  key.Config,
		Version: key.Version,
		Form:    key.Form,
		Number:  uint32(n),
		Digest:  key.Digest,
	}
	err = writeHeader(s, h)
	if err == nil {
		_, err = l.limits.writer(ctx, s).Write(shard)
	}
	if err != nil {
		s.CancelWrite(1)
		return err
	}
	return s.Close()
}

// receiveShards calls fn for each shard that the peer sends, until the link ends. fn must not
// keep the bytes. The capacity of slots is the number of shards that may be in memory.
func (l *Link) receiveShards(
	ctx context.Context, slots chan struct{}, fn func(key record.FormKey, n int, shard []byte),
) {
	for {
		s, err := l.conn.AcceptUniStream(ctx)
		if err != nil {
			return
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		l.done.Go(func() {
			defer func() { <-slots }()
			buf := shardBuffers.Get().(*[record.MaxShardBytes]byte)
			defer shardBuffers.Put(buf)
			h, n, err := l.readShard(ctx, s, buf[:])
			if err != nil {
				s.CancelRead(1)
				return
			}
			fn(h.key(), int(h.Number), buf[:n])
		})
	}
}

// readShard reads a header and the shard behind it, which has n bytes.
func (l *Link) readShard(ctx context.Context, s *quic.ReceiveStream, buf []byte) (h shardHeader, n int, err error) {
	s.SetReadDeadline(time.Now().Add(bodyTimeout))
	if err := readHeader(s, &h); err != nil {
		return h, 0, err
	}
	if record.ValidateConfig(h.Config) != nil || h.Form >= record.MaxForms {
		return h, 0, fmt.Errorf("%w: shard header", wire.ErrMalformed)
	}
	n, err = io.ReadFull(l.limits.reader(ctx, s, nil), buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // the shard is shorter than the largest one
	}
	return h, n, err
}
