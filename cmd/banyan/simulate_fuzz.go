package main

import (
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

	"banyan/simulator/hostile"
)

// fuzzResult is what hostile mode found.
type fuzzResult struct {
	First   uint64        `json:"first_seed"`
	Seeds   int           `json:"seeds"`
	Failed  []fuzzFailure `json:"failed"`
	Events  uint64        `json:"events"`
	Effects uint64        `json:"effects"`
	Wall    float64       `json:"wall_s"`
}

type fuzzFailure struct {
	Seed       uint64   `json:"seed"`
	Violations []string `json:"violations"`
	Command    string   `json:"command"` // that reproduces it, with as little as it takes
	Story      []string `json:"story"`
}

func newSimulateFuzz(a *app) *cobra.Command {
	var (
		seeds           int
		first, seed     uint64
		faults, updates string
		trace           bool
	)
	cmd := &cobra.Command{
		Use:   "fuzz",
		Short: "Random faults against every invariant; a failing seed is shrunk and told",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("seed") {
				return a.fuzzOne(seed, faults, updates, trace)
			}
			if faults != "" || updates != "" || trace {
				return usagef("--faults, --updates and --trace go with --seed")
			}
			if seeds < 1 {
				return usagef("--seeds is %d; at least one is needed", seeds)
			}
			r, err := a.fuzz(cmd.Context(), first, seeds)
			if err != nil {
				return err
			}
			if err := a.print(r, func(w io.Writer) { printFuzz(w, r) }); err != nil {
				return err
			}
			if len(r.Failed) > 0 {
				return withHint(fmt.Errorf("%d of %d seeds broke an invariant", len(r.Failed), r.Seeds), r.Failed[0].Command)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&seeds, "seeds", 1000, "how many histories")
	f.Uint64Var(&first, "first", 0, "the first seed")
	f.Uint64Var(&seed, "seed", 0, "run this one alone")
	f.StringVar(&faults, "faults", "", "with --seed: only the faults of these numbers, or none")
	f.StringVar(&updates, "updates", "", "with --seed: only the updates of these numbers, or none")
	f.BoolVar(&trace, "trace", false, "with --seed: tell everything that happened")
	return cmd
}

// fuzz runs seeds on every core; each history is its own.
func (a *app) fuzz(ctx context.Context, first uint64, seeds int) (fuzzResult, error) {
	r := fuzzResult{First: first, Seeds: seeds, Failed: []fuzzFailure{}}
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
				h := hostile.New(first + n)
				out, err := h.Run(false)
				var failure *fuzzFailure
				if err == nil && len(out.Violations) > 0 {
					small := h.Shrink()
					failure = &fuzzFailure{h.Seed, out.Violations, small.Command(), small.Describe()}
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
	slices.SortFunc(r.Failed, func(x, y fuzzFailure) int { return int(int64(x.Seed) - int64(y.Seed)) })
	r.Wall = time.Since(began).Seconds()
	return r, errors.Join(failed, ctx.Err())
}

func (a *app) fuzzOne(seed uint64, faults, updates string, trace bool) error {
	h := hostile.New(seed)
	var err error
	if h.Keep, err = parseNumbers("--faults", faults, len(h.Faults)); err != nil {
		return err
	}
	if h.KeepUpdates, err = parseNumbers("--updates", updates, len(h.Updates)); err != nil {
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
		fmt.Fprintf(w, "seed %d: %d events, %d effects, history %s\n", seed, out.Events, out.Effects, out.History)
	})
	if err == nil && len(out.Violations) > 0 {
		err = fmt.Errorf("seed %d: %s", seed, strings.Join(out.Violations, "; "))
	}
	return err
}

// parseNumbers reads a list of numbers below n; nil, for all, if there is no text.
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
	fmt.Fprintf(w, "%d seeds from %d: %d events, %d effects checked, in %.1f s; %d failed\n", r.Seeds, r.First, r.Events, r.Effects, r.Wall, len(r.Failed))
	for _, f := range r.Failed {
		fmt.Fprintf(w, "\nseed %d: %s\n", f.Seed, strings.Join(f.Violations, "\n        "))
		for _, line := range f.Story {
			fmt.Fprintln(w, "  "+line)
		}
		fmt.Fprintln(w, "  "+f.Command)
	}
}
