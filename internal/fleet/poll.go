package fleet

import (
	"context"
	"time"

	"banyan/internal/ticks"
)

// Poll calls fn at once and then every interval, until fn reports true or returns an error. Poll
// returns the error of fn, or the error of ctx if ctx ends first.
func Poll(ctx context.Context, interval time.Duration, fn func() (bool, error)) error {
	for range ticks.FromNow(ctx, interval) {
		done, err := fn()
		if done || err != nil {
			return err
		}
	}
	return ctx.Err()
}
