package transport

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/quic-go/quic-go"

	"banyan/body"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// request is a version that a peer has asked for and that was not answered yet.
type request struct {
	peer   step.PeerID // set by the driver
	want   record.VersionKey
	wish   body.Wish
	stream *quic.Stream
	limits *Limits
	// unwatch ends the wait for the peer to give the request up.
	unwatch func() bool
}

// requests calls fn for each request of the peer until the link ends.
func (l *Link) requests(ctx context.Context, fn func(request)) {
	for {
		s, err := l.conn.AcceptStream(ctx)
		if err != nil {
			return
		}
		l.done.Go(func() {
			var q bodyRequest
			s.SetReadDeadline(time.Now().Add(bodyTimeout))
			if err := readHeader(s, &q); err != nil || !q.validate() {
				s.CancelRead(1)
				s.CancelWrite(1)
				return
			}
			fn(request{
				want:   q.key(),
				wish:   body.Wish{Have: q.Have, Choice: q.Choice, FormOnly: q.FormOnly, Whole: q.Whole},
				stream: s,
				limits: l.limits,
			})
		})
	}
}

// deny refuses the request.
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

// serve sends an offer. It gives up if the peer reads nothing for bodyTimeout.
func (r request) serve(ctx context.Context, o body.Offer) error {
	err := r.send(ctx, o)
	if err != nil {
		r.stream.CancelWrite(1)
		return err
	}
	return r.stream.Close()
}

func (r request) send(ctx context.Context, o body.Offer) error {
	w := &progressWriter{r.stream}
	h := bodyHeader{Manifest: o.Signed, Size: o.Size, Form: o.Form, What: o.What}
	if err := writeHeader(w, h); err != nil {
		return err
	}
	// The struct hides a WriterTo, which would not use the buffer.
	n, err := io.CopyBuffer(r.limits.writer(ctx, w), struct{ io.Reader }{o.Bytes}, make([]byte, copyBuffer))
	if err == nil && n != o.Size {
		err = fmt.Errorf("%w: %d of %d bytes", io.ErrUnexpectedEOF, n, o.Size)
	}
	return err
}
