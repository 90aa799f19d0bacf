package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"banyan/body"
	"banyan/mesh/step"
	"banyan/record"
)

// DeniedError is a peer's refusal to serve a version.
type DeniedError struct{ Reason string }

func (e *DeniedError) Error() string { return "peer refused: " + e.Reason }

// localError is a failure of this host to store what a peer has sent.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// enter waits until the peer may be asked for a body, see Link.fetching. It calls onWait first if it has to
// wait. The caller calls leave when the body has come.
func (l *Link) enter(ctx context.Context, onWait func()) (leave func(), err error) {
	if !l.limits.throttles() {
		return func() {}, nil
	}
	leave = func() { <-l.fetching }
	select {
	case l.fetching <- struct{}{}:
		return leave, nil
	default:
	}
	onWait()
	select {
	case l.fetching <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fetch asks the peer for a version and calls take with the offer. The peer must send
// something every bodyTimeout, and minRate bytes a second in the long run. An error of take
// is a localError unless the peer caused it. fetch calls delayed, if it is not nil, with each time by which
// the download limit of this host delays the body.
func (l *Link) fetch(
	ctx context.Context,
	want record.VersionKey,
	wish body.Wish,
	delayed func(time.Duration),
	take func(body.Offer) error,
) error {
	opening, cancel := context.WithTimeout(ctx, bodyTimeout)
	defer cancel()
	s, err := l.conn.OpenStreamSync(opening)
	if err != nil {
		return fmt.Errorf("the peer takes no further request: %w", err)
	}
	defer s.CancelRead(0)
	stop := context.AfterFunc(ctx, func() { s.CancelRead(0) })
	defer stop()
	q := bodyRequest{
		Config:   want.Config,
		Version:  want.Version,
		Have:     wish.Have[:min(len(wish.Have), maxHave)],
		Choice:   wish.Choice,
		FormOnly: wish.FormOnly,
		Digest:   want.Digest,
		Whole:    wish.Whole,
	}
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
	wait := func(delay time.Duration) {
		r.began = r.began.Add(delay) // the peer has that much more time
		if delayed != nil {
			delayed(delay)
		}
	}
	err = take(body.Offer{
		Signed: h.Manifest,
		What:   h.What,
		Form:   h.Form,
		Size:   h.Size,
		Bytes:  l.limits.reader(ctx, r, wait),
	})
	if err != nil && r.err == nil && refusalReason(err) == "" {
		return &localError{err}
	}
	return err
}

// fetchReason returns why a fetch failed, for metrics and acknowledgements.
func fetchReason(ctx context.Context, l *Link, err error) string {
	if l.conn.Context().Err() != nil || ctx.Err() != nil {
		return step.ReasonLinkLost
	}
	var local *localError
	if errors.As(err, &local) {
		return "store: " + err.Error()
	}
	var denied *DeniedError
	if errors.As(err, &denied) {
		return "denied: " + denied.Reason
	}
	if reason := refusalReason(err); reason != "" {
		return reason
	}
	return "fetch: " + err.Error()
}

// refusalReason returns the label, for metrics and acknowledgements, of an error that the
// peer caused; "" for any other error.
func refusalReason(err error) string {
	if errors.Is(err, body.ErrMismatch) {
		return "mismatch"
	}
	if reason := record.Reason(err); reason != "other" {
		return reason
	}
	return ""
}
