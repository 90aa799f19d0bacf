package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/quic-go/quic-go"

	"banyan/mesh"
	"banyan/record"
)

// bodyRequest asks for a version; it opens a body stream.
type bodyRequest struct {
	Config  string `cbor:"1,keyasint"`
	Version uint64 `cbor:"2,keyasint"`
}

// bodyHeader answers: with a reason why not, or with the manifest and the size
// of the bytes that follow.
type bodyHeader struct {
	Reason   string `cbor:"1,keyasint"`
	Manifest []byte `cbor:"2,keyasint"`
	Size     int64  `cbor:"3,keyasint"`
}

var headerDecoder = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		UTF8: cbor.UTF8RejectInvalid, MaxNestedLevels: 4, MaxArrayElements: 16, MaxMapPairs: 16,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

// DeniedError is a peer's refusal to serve a body.
type DeniedError struct{ Reason string }

func (e *DeniedError) Error() string { return "peer refused: " + e.Reason }

// fetch asks the peer for a version and hands what it sends to store. The peer
// must make progress every bodyTimeout.
func (l *Link) fetch(ctx context.Context, want mesh.VersionKey, store func(manifest []byte, size int64, body io.Reader) error) error {
	s, err := l.conn.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	defer s.CancelRead(0)
	if err := writeHeader(s, bodyRequest{want.Config, want.Version}); err != nil {
		return err
	}
	s.Close()
	r := &progressReader{s: s}
	var h bodyHeader
	if err := readHeader(r, &h); err != nil {
		return err
	}
	if h.Reason != "" {
		return &DeniedError{h.Reason}
	}
	if h.Size < 0 || h.Size > record.MaxBody {
		return fmt.Errorf("%w: body of %d bytes", record.ErrTooLarge, h.Size)
	}
	if err := store(h.Manifest, h.Size, r); err != nil {
		if r.err == nil && record.Reason(err) == "other" {
			return &localError{err}
		}
		return err
	}
	return nil
}

// localError is a failure of this host to store what a peer sent.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// request is a body a peer asks for.
type request struct {
	peer   mesh.PeerID // set by the driver
	want   mesh.VersionKey
	stream *quic.Stream
}

// requests hands every body request of the peer to fn until the link ends.
func (l *Link) requests(ctx context.Context, fn func(request)) {
	for {
		s, err := l.conn.AcceptStream(ctx)
		if err != nil {
			return
		}
		l.done.Go(func() {
			var q bodyRequest
			s.SetReadDeadline(time.Now().Add(bodyTimeout))
			if err := readHeader(s, &q); err != nil || record.ValidateConfig(q.Config) != nil {
				s.CancelRead(1)
				s.CancelWrite(1)
				return
			}
			fn(request{want: mesh.VersionKey{Config: q.Config, Version: q.Version}, stream: s})
		})
	}
}

func (r request) deny(reason string) {
	if len(reason) > mesh.MaxReason {
		reason = reason[:mesh.MaxReason]
	}
	r.stream.SetWriteDeadline(time.Now().Add(bodyTimeout))
	if err := writeHeader(r.stream, bodyHeader{Reason: reason}); err != nil {
		r.stream.CancelWrite(1)
		return
	}
	r.stream.Close()
}

// serve sends a body; a peer that takes none of it for bodyTimeout loses it.
func (r request) serve(manifest []byte, size int64, body io.Reader) error {
	w := &progressWriter{r.stream}
	if err := writeHeader(w, bodyHeader{Manifest: manifest, Size: size}); err != nil {
		r.stream.CancelWrite(1)
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, body, make([]byte, 32<<10))
	if err == nil && n != size {
		err = fmt.Errorf("%w: %d of %d bytes", io.ErrUnexpectedEOF, n, size)
	}
	if err != nil {
		r.stream.CancelWrite(1)
		return err
	}
	return r.stream.Close()
}

func writeHeader(w io.Writer, v any) error {
	b, err := cbor.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

func readHeader(r io.Reader, v any) error {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(length[:])
	if n > maxHeader {
		return fmt.Errorf("%w: header of %d bytes", ErrFrame, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if err := headerDecoder.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %s", mesh.ErrMalformed, err)
	}
	return nil
}

// progressReader gives each read its own deadline.
type progressReader struct {
	s   *quic.Stream
	err error // other than io.EOF
}

func (r *progressReader) Read(p []byte) (int, error) {
	r.s.SetReadDeadline(time.Now().Add(bodyTimeout))
	n, err := r.s.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

type progressWriter struct{ s *quic.Stream }

func (w *progressWriter) Write(p []byte) (int, error) {
	w.s.SetWriteDeadline(time.Now().Add(bodyTimeout))
	return w.s.Write(p)
}

// fetchReason names why a fetch failed, for metrics and acknowledgements.
func fetchReason(ctx context.Context, l *Link, err error) string {
	var (
		denied *DeniedError
		local  *localError
	)
	switch {
	case l.conn.Context().Err() != nil || ctx.Err() != nil:
		return mesh.ReasonLinkLost
	case errors.As(err, &local):
		return "store: " + err.Error()
	case errors.As(err, &denied):
		return "denied: " + denied.Reason
	case record.Reason(err) != "other":
		return record.Reason(err)
	}
	return "fetch: " + err.Error()
}
