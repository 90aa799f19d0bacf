package transport

import (
	"context"
	"io"

	"golang.org/x/time/rate"
)

// Limits are the rates at which bodies and shards leave and reach this host over all links
// together. Messages are not limited. A nil *Limits limits nothing.
type Limits struct {
	up   *rate.Limiter // nil: no limit
	down *rate.Limiter // nil: no limit
	// fetching has an element for each body that is asked for or on its way under a download limit.
	// What waits for the limit waits unasked: bodies that nobody reads would fill the window of
	// the connection, and announcements would wait behind them.
	fetching chan struct{}
}

// NewLimits makes limits of upload and download bytes a second; 0 means no limit.
func NewLimits(upload, download int64) *Limits {
	return &Limits{
		up:       limiter(upload),
		down:     limiter(download),
		fetching: make(chan struct{}, maxThrottled),
	}
}

// throttles reports whether downloads are limited.
func (l *Limits) throttles() bool { return l != nil && l.down != nil }

// enter waits until a body may be asked for, and calls waits before it waits. The caller calls leave
// when the body has come.
func (l *Limits) enter(ctx context.Context, waits func()) (leave func(), err error) {
	if !l.throttles() {
		return func() {}, nil
	}
	leave = func() { <-l.fetching }
	select {
	case l.fetching <- struct{}{}:
		return leave, nil
	default:
	}
	waits()
	select {
	case l.fetching <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

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

// reader returns a reader of r at the download rate.
func (l *Limits) reader(ctx context.Context, r io.Reader) io.Reader {
	if l == nil || l.down == nil {
		return r
	}
	return &limitedReader{ctx, r, l.down}
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
	ctx   context.Context
	r     io.Reader
	limit *rate.Limiter
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), l.limit.Burst())])
	if n > 0 {
		if waitErr := l.limit.WaitN(l.ctx, n); waitErr != nil {
			return n, waitErr
		}
	}
	return n, err
}
