// Package ticks has loops that run at an interval until a context ends.
//
//	for range ticks.Every(ctx, time.Minute) {
//		look(ctx)
//	}
//
// A loop that is slower than its interval drops ticks, as a time.Ticker does.
package ticks

import (
	"context"
	"time"
)

// Every returns an iterator that yields after each interval, until ctx ends.
func Every(ctx context.Context, interval time.Duration) func(yield func() bool) {
	return func(yield func() bool) {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			if ctx.Err() != nil || !yield() {
				return
			}
		}
	}
}

// FromNow returns an iterator that yields at once, whether ctx has ended or not, and then as Every does.
func FromNow(ctx context.Context, interval time.Duration) func(yield func() bool) {
	return func(yield func() bool) {
		if yield() {
			Every(ctx, interval)(yield)
		}
	}
}
