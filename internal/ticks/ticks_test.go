package ticks_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"banyan/internal/ticks"
)

// loop returns the times, since the start, at which the body of a loop runs that ends with ctx after 35 s.
func loop(t *testing.T, begin func(context.Context, time.Duration) func(func() bool)) (at []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
		defer cancel()
		began := time.Now()
		for range begin(ctx, 10*time.Second) {
			at = append(at, time.Since(began)/time.Second)
		}
		if took := time.Since(began); took != 35*time.Second {
			t.Errorf("the loop ends after %v", took)
		}
	})
	return at
}

func TestALoopRunsAtItsIntervalUntilTheContextEnds(t *testing.T) {
	if at := loop(t, ticks.Every); !slices.Equal(at, []time.Duration{10, 20, 30}) {
		t.Errorf("every 10 s: after %d s", at)
	}
	if at := loop(t, ticks.FromNow); !slices.Equal(at, []time.Duration{0, 10, 20, 30}) {
		t.Errorf("every 10 s from now: after %d s", at)
	}
}

func TestALoopUnderAContextThatHasEndedRunsOnceAtMost(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	every := 0
	for range ticks.Every(ctx, time.Nanosecond) {
		every++
	}
	fromNow := 0
	for range ticks.FromNow(ctx, time.Nanosecond) {
		fromNow++
	}
	if every != 0 || fromNow != 1 {
		t.Errorf("Every yields %d times and FromNow %d times, want 0 and 1", every, fromNow)
	}
}

func TestALoopEndsWithItsBody(t *testing.T) {
	n := 0
	for range ticks.FromNow(t.Context(), time.Nanosecond) {
		n++
		if n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("the body ran %d times, want 3", n)
	}
}
