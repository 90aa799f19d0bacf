package transport

import (
	"context"
	"io"
	"time"

	"golang.org/x/time/rate"
)

// Limits are the rates at which bodies and shards leave and reach this host over all links
// together. Messages are not limited. A nil *Limits limits nothing.
type Limits struct {
	up   *rate.Limiter // nil: no limit
	down *rate.Limiter // nil: no limit
}

// NewLimits makes limits of upload and download bytes a second; 0 means no limit.
func NewLimits(upload, download int64) *Limits {
	return &Limits{up: limiter(upload), down: limiter(download)}
}

// throttles reports whether downloads are limited.
func (l *Limits) throttles() bool { return l != nil && l.down != nil }

func limiter(bytes int64) *rate.Limiter {
	if bytes <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytes), copyBuffer)
}

// writer returns a writer to w at the upload rate.
func (l *Limits) writer(ctx context.Context, w io.Writer) io.Writer {
	if l == nil || l.up == nil {
		return struct{ io.Writer }{w}
	}
	return &limitedWriter{ctx, w, l.up}
}

// reader returns a reader of r at the download rate. It calls delayed, if it is not nil, with each time for
// which the rate delays a read.
func (l *Limits) reader(ctx context.Context, r io.Reader, delayed func(time.Duration)) io.Reader {
	if !l.throttles() {
		return r
	}
	if delayed == nil {
		delayed = func(time.Duration) {}
	}
	return &limitedReader{ctx, r, l.down, delayed}
}

type limitedWriter struct {
	ctx   context.Context
	w     io.Writer
	limit *rate.Limiter
}

func (l *limitedWriter) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		n := min(len(p), l.limit.Burst())
		if err := l.limit.WaitN(l.ctx, n); err != nil {
			return written, err
		}
		n, err = l.w.Write(p[:n])
		written += n
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

type limitedReader struct {
	ctx     context.Context
	r       io.Reader
	limit   *rate.Limiter
	delayed func(time.Duration)
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), l.limit.Burst())])
	if n > 0 {
		if waitErr := l.wait(n); waitErr != nil {
			return n, waitErr
		}
	}
	return n, err
}

// wait waits until the rate allows n more bytes.
func (l *limitedReader) wait(n int) error {
	delay := l.limit.ReserveN(time.Now(), n).Delay()
	if delay == 0 {
		return nil
	}
	l.delayed(delay)
	select {
	case <-time.After(delay):
		return nil
	case <-l.ctx.Done():
		return l.ctx.Err()
	}
}
