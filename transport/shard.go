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

// shardHeader opens a stream that carries one shard: its bytes follow, to the end of
// the stream.
type shardHeader struct {
	Config  string `cbor:"1,keyasint"`
	Version uint64 `cbor:"2,keyasint"`
	Form    uint8  `cbor:"3,keyasint"`
	Number  uint32 `cbor:"4,keyasint"`
}

func (h *shardHeader) key() record.FormKey {
	return record.FormKey{VersionKey: record.VersionKey{Config: h.Config, Version: h.Version}, Form: h.Form}
}

// sendShard sends a shard; it returns when all of it has been handed to QUIC.
func (l *Link) sendShard(ctx context.Context, key record.FormKey, n int, shard []byte) error {
	opening, cancel := context.WithTimeout(ctx, bodyTimeout)
	defer cancel()
	s, err := l.conn.OpenUniStreamSync(opening)
	if err != nil {
		return err
	}
	s.SetWriteDeadline(time.Now().Add(bodyTimeout))
	if err = writeHeader(s, shardHeader{key.Config, key.Version, key.Form, uint32(n)}); err == nil {
		_, err = l.limits.writer(ctx, s).Write(shard)
	}
	if err != nil {
		s.CancelWrite(1)
		return err
	}
	return s.Close()
}

// shardBuffers keeps buffers for shards that come in and go out.
var shardBuffers = sync.Pool{New: func() any { return new([record.MaxShardBytes]byte) }}

// receiveShards hands every shard that the peer sends to fn until the link ends. fn
// must not keep the bytes. slots bounds how many are in memory.
func (l *Link) receiveShards(ctx context.Context, slots chan struct{}, fn func(key record.FormKey, n int, shard []byte)) {
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

func (l *Link) readShard(ctx context.Context, s *quic.ReceiveStream, buf []byte) (h shardHeader, n int, err error) {
	s.SetReadDeadline(time.Now().Add(bodyTimeout))
	if err := readHeader(s, &h); err != nil {
		return h, 0, err
	}
	if record.ValidateConfig(h.Config) != nil || h.Form >= record.MaxForms {
		return h, 0, fmt.Errorf("%w: shard header", wire.ErrMalformed)
	}
	n, err = io.ReadFull(l.limits.reader(ctx, s), buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return h, n, err
}
