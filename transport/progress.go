package transport

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quic-go/quic-go"
)

// errTooSlow is wrapped when a peer sends a body below minRate.
var errTooSlow = errors.New("the peer sends too slowly")

// progressReader reads a body. Each read must end within bodyTimeout. The reader fails if the
// peer sends fewer than minRate bytes a second after the first bodyTimeout: a large body
// would never arrive.
type progressReader struct {
	s     *quic.Stream
	err   error     // the error of the last read, other than io.EOF
	began time.Time // when the body began; zero while the header is read
	bytes int64
}

func (r *progressReader) Read(p []byte) (int, error) {
	r.s.SetReadDeadline(time.Now().Add(bodyTimeout))
	n, err := r.s.Read(p)
	r.bytes += int64(n)
	if err == nil {
		err = r.checkRate()
	}
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

func (r *progressReader) checkRate() error {
	if r.began.IsZero() {
		return nil
	}
	took := time.Since(r.began)
	if took > bodyTimeout && float64(r.bytes) < minRate*took.Seconds() {
		return fmt.Errorf("%w: %d bytes in %s", errTooSlow, r.bytes, took.Round(time.Second))
	}
	return nil
}

// progressWriter writes a body. Each write must end within bodyTimeout.
type progressWriter struct{ s *quic.Stream }

func (w *progressWriter) Write(p []byte) (int, error) {
	w.s.SetWriteDeadline(time.Now().Add(bodyTimeout))
	return w.s.Write(p)
}
