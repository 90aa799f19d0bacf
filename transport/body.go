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

	"banyan/body"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// bodyRequest asks for a version; it opens a body stream.
type bodyRequest struct {
	Config  string   `cbor:"1,keyasint"`
	Version uint64   `cbor:"2,keyasint"`
	Have    []uint64 `cbor:"3,keyasint,omitempty"` // versions of the config that the asker has: bases of deltas

	Choice   wire.FormChoice `cbor:"4,keyasint,omitempty"`
	FormOnly bool            `cbor:"5,keyasint,omitempty"` // a body will not do
}

// bodyHeader answers: with a reason why not, or with the manifest and what follows.
type bodyHeader struct {
	Reason   string       `cbor:"1,keyasint"`
	Manifest []byte       `cbor:"2,keyasint"`
	Size     int64        `cbor:"3,keyasint"`
	Form     uint8        `cbor:"4,keyasint"`
	What     body.Content `cbor:"5,keyasint"`
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

// fetch asks the peer for a version and hands what it sends to take. The peer must
// make progress every bodyTimeout, and send at minRate in the long run.
func (l *Link) fetch(ctx context.Context, want record.VersionKey, wish body.Wish, take func(body.Offer) error) error {
	s, err := l.conn.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	defer s.CancelRead(0)
	q := bodyRequest{want.Config, want.Version, wish.Have[:min(len(wish.Have), maxHave)], wish.Choice, wish.FormOnly}
	if err := writeHeader(s, q); err != nil {
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
	if h.Size < 0 || h.Size > record.MaxBody || h.What > body.ContentIndex || h.Form >= record.MaxForms {
		return fmt.Errorf("%w: offer of %d bytes", record.ErrTooLarge, h.Size)
	}
	r.began = time.Now()
	if err := take(body.Offer{
		Signed: h.Manifest,
		What:   h.What,
		Form:   h.Form,
		Size:   h.Size,
		Bytes:  l.limits.reader(ctx, r),
	}); err != nil {
		if r.err == nil && refusalReason(err) == "" {
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
	peer   step.PeerID // set by the driver
	want   record.VersionKey
	wish   body.Wish
	stream *quic.Stream
	limits *Limits
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
			if err := readHeader(s, &q); err != nil || record.ValidateConfig(q.Config) != nil || q.Choice > wire.OnlyForm(record.MaxForms-1) {
				s.CancelRead(1)
				s.CancelWrite(1)
				return
			}
			fn(request{want: record.VersionKey{Config: q.Config, Version: q.Version}, wish: body.Wish{Have: q.Have, Choice: q.Choice, FormOnly: q.FormOnly}, stream: s, limits: l.limits})
		})
	}
}

func (r request) deny(reason string) {
	if len(reason) > wire.MaxReason {
		reason = reason[:wire.MaxReason]
	}
	r.stream.SetWriteDeadline(time.Now().Add(bodyTimeout))
	if err := writeHeader(r.stream, bodyHeader{Reason: reason}); err != nil {
		r.stream.CancelWrite(1)
		return
	}
	r.stream.Close()
}

// serve sends what is offered; a peer that takes none of it for bodyTimeout loses it.
func (r request) serve(ctx context.Context, o body.Offer) error {
	w := &progressWriter{r.stream}
	if err := writeHeader(w, bodyHeader{Manifest: o.Signed, Size: o.Size, Form: o.Form, What: o.What}); err != nil {
		r.stream.CancelWrite(1)
		return err
	}
	n, err := io.CopyBuffer(r.limits.writer(ctx, w), struct{ io.Reader }{o.Bytes}, make([]byte, copyBuffer))
	if err == nil && n != o.Size {
		err = fmt.Errorf("%w: %d of %d bytes", io.ErrUnexpectedEOF, n, o.Size)
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
		return fmt.Errorf("%w: %s", wire.ErrMalformed, err)
	}
	return nil
}

// progressReader gives each read its own deadline, and ends when its peer sends at a
// rate at which nothing large would ever arrive.
type progressReader struct {
	s     *quic.Stream
	err   error // other than io.EOF
	began time.Time
	bytes int64
}

func (r *progressReader) Read(p []byte) (int, error) {
	r.s.SetReadDeadline(time.Now().Add(bodyTimeout))
	n, err := r.s.Read(p)
	r.bytes += int64(n)
	if took := time.Since(r.began); err == nil && !r.began.IsZero() && took > bodyTimeout && float64(r.bytes) < minRate*took.Seconds() {
		err = fmt.Errorf("%w: %d bytes in %s", errTooSlow, r.bytes, took.Round(time.Second))
	}
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

var errTooSlow = errors.New("the peer sends too slowly")

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
	}
	if reason := refusalReason(err); reason != "" {
		return reason
	}
	return "fetch: " + err.Error()
}

// refusalReason returns the label, for metrics and acknowledgements, of an error that is
// the peer's fault; "" for any other error.
func refusalReason(err error) string {
	if errors.Is(err, body.ErrMismatch) {
		return "mismatch"
	}
	if reason := record.Reason(err); reason != "other" {
		return reason
	}
	return ""
}
