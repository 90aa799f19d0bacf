package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"banyan/bench"
)

func newDemoRollout(a *app) *cobra.Command {
	var cfg bench.DemoRolloutConfig
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "Show a bad version that is caught in its canary wave and taken back by itself",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := atLeast("agents", cfg.Agents, 10); err != nil {
				return err // with fewer agents there is no canary
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Minute)
			defer cancel()
			if a.output == "text" {
				cfg.Say = func(format string, args ...any) { fmt.Fprintf(a.stdout, "· "+format+"\n", args...) }
			}
			r, err := bench.DemoRollout(ctx, cfg)
			if err != nil {
				return err
			}
			if err := a.print(r, func(w io.Writer) { printDemoRollout(w, r) }); err != nil {
				return err
			}
			if !r.Contained() {
				return errors.New("the bad version was not contained")
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&cfg.Agents, "agents", 60,
		"number of agents, spread evenly over two regions; a tenth of them are canaries")
	return cmd
}

func printDemoRollout(w io.Writer, r bench.DemoRolloutResult) {
	fmt.Fprintln(w)
	for _, e := range r.Timeline {
		fmt.Fprintf(w, "%8.3f s  %s\n", e.Seconds, e.What)
	}
	fmt.Fprintf(w, "\n%d of %d hosts ever ran version 2 (%d canaries; %d hosts refused it). ",
		r.Ran, r.Agents, r.Canaries, r.Refused)
	fmt.Fprintf(w, "Decided %.0f ms after the first refusal, all back %.0f ms later.\n", r.DecideMs, r.BackMs)
}
