package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"banyan/internal/quantity"
	"banyan/simulator/hostile"
)

// fuzzResult is the result of many hostile histories.
type fuzzResult struct {
	First   uint64        `json:"first_seed"`
	Seeds   int           `json:"seeds"`
	Failed  []fuzzFailure `json:"failed"`
	Events  uint64        `json:"events"`
	Effects uint64        `json:"effects"`
	Wall    float64       `json:"wall_s"`
}

// fuzzFailure is a history that broke an invariant.
type fuzzFailure struct {
	Seed       uint64   `json:"seed"`
	Violations []string `json:"violations"`
	// Command reproduces the failure with the shrunk history.
	Command string `json:"command"`
	// Story describes the shrunk history.
	Story []string `json:"story"`
}

func newSimulateFuzz(a *app) *cobra.Command {
	var (
		seeds, days     int
		firstSeed, seed uint64
		faults, updates string
		trace           bool
	)
	cmd := &cobra.Command{
		Use:   "fuzz",
		Short: "Test every invariant with random faults; shrink and explain a seed that fails",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("seed") {
				return a.fuzzOne(history(seed, days), faults, updates, trace)
			}
			if faults != "" || updates != "" || trace {
				return usagef("--faults, --updates and --trace go with --seed: they apply to one history")
			}
			if err := atLeast("seeds", seeds, 1); err != nil {
				return err
			}
			if err := atLeast("days", days, 0); err != nil {
				return err
			}
			r, err := a.fuzz(cmd.Context(), firstSeed, seeds, days)
			if err != nil {
				return err
			}
			if err := a.print(r, func(w io.Writer) { printFuzz(w, r) }); err != nil {
				return err
			}
			if len(r.Failed) > 0 {
				err := fmt.Errorf("%d of %s broke an invariant", len(r.Failed), quantity.Of(r.Seeds, "seed"))
				return withHint(err, r.Failed[0].Command)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&seeds, "seeds", 1000, "number of histories to run, one per seed")
	f.Uint64Var(&firstSeed, "first", 0, "seed of the first history")
	f.Uint64Var(&seed, "seed", 0, "run only the history of this seed")
	f.IntVar(&days, "days", 0, "run histories of N days of virtual time; 0 stands for histories of minutes")
	f.StringVar(&faults, "faults", "", "with --seed: run only the faults with these numbers (0,3,7), or none")
	f.StringVar(&updates, "updates", "", "with --seed: run only the updates with these numbers, or none")
	f.BoolVar(&trace, "trace", false, "with --seed: print every event")
	return cmd
}

// history makes the history of a seed, of some days or of minutes.
func history(seed uint64, days int) *hostile.History {
	if days > 0 {
		return hostile.NewLong(seed, days)
	}
	return hostile.New(seed)
}

// fuzz runs the histories of seeds on all cores. A history runs on one core.
func (a *app) fuzz(ctx context.Context, firstSeed uint64, seeds, days int) (fuzzResult, error) {
	r := fuzzResult{First: firstSeed, Seeds: seeds, Failed: []fuzzFailure{}}
	began := time.Now()
	var (
		next   atomic.Uint64
		group  sync.WaitGroup
		mu     sync.Mutex
		failed error
	)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for ctx.Err() == nil {
				n := next.Add(1) - 1
				if n >= uint64(seeds) {
					return
				}
				h := history(firstSeed+n, days)
				out, err := h.Run(false)
				var failure *fuzzFailure
				if err == nil && len(out.Violations) > 0 {
					small := h.Shrink()
					failure = &fuzzFailure{
						Seed:       h.Seed,
						Violations: out.Violations,
						Command:    small.Command(),
						Story:      small.Describe(),
					}
				}
				mu.Lock()
				failed = errors.Join(failed, err)
				r.Events += out.Events
				r.Effects += out.Effects
				if failure != nil {
					r.Failed = append(r.Failed, *failure)
				}
				mu.Unlock()
				if n%50 == 0 {
					a.progress("%d of %d seeds", n, seeds)
				}
			}
		})
	}
	group.Wait()
	a.progressDone()
	slices.SortFunc(r.Failed, func(x, y fuzzFailure) int { return cmp.Compare(x.Seed, y.Seed) })
	r.Wall = time.Since(began).Seconds()
	return r, errors.Join(failed, ctx.Err())
}

// fuzzOne runs one history and prints its story.
func (a *app) fuzzOne(h *hostile.History, faults, updates string, trace bool) error {
	var err error
	h.Keep, err = parseNumbers("--faults", faults, len(h.Faults))
	if err != nil {
		return err
	}
	h.KeepUpdates, err = parseNumbers("--updates", updates, len(h.Updates))
	if err != nil {
		return err
	}
	out, err := h.Run(trace)
	if err != nil {
		return err
	}
	err = a.print(out, func(w io.Writer) {
		for _, line := range append(h.Describe(), out.Trace...) {
			fmt.Fprintln(w, line)
		}
		fmt.Fprintf(w, "seed %d: %d events, %d effects, history %s\n",
			h.Seed, out.Events, out.Effects, out.History)
	})
	if err == nil && len(out.Violations) > 0 {
		err = fmt.Errorf("seed %d: %s", h.Seed, strings.Join(out.Violations, "; "))
	}
	return err
}

// parseNumbers reads a list of numbers below n, such as "0,3,7", or "none". It returns nil,
// which means all, for an empty text.
func parseNumbers(flag, text string, n int) ([]int, error) {
	if text == "" {
		return nil, nil
	}
	list := []int{}
	if text == "none" {
		return list, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		v, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || v < 0 || v >= n {
			return nil, usagef("%s: %q is not a number from 0 to %d", flag, part, n-1)
		}
		list = append(list, v)
	}
	return list, nil
}

func printFuzz(w io.Writer, r fuzzResult) {
	fmt.Fprintf(w, "%s from %d: %s, %s checked, in %.1f s; %d failed\n",
		quantity.Of(r.Seeds, "seed"), r.First, quantity.Of(r.Events, "event"), quantity.Of(r.Effects, "effect"), r.Wall, len(r.Failed))
	for _, f := range r.Failed {
		fmt.Fprintf(w, "\nseed %d: %s\n", f.Seed, strings.Join(f.Violations, "\n        "))
		for _, line := range f.Story {
			fmt.Fprintln(w, "  "+line)
		}
		fmt.Fprintln(w, "  "+f.Command)
	}
}
