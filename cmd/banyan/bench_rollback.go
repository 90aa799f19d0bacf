package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"banyan/bench"
	"banyan/internal/quantity"
)

func newBenchRollback(a *app) *cobra.Command {
	var (
		cfg                  bench.RollbackConfig
		staged               bench.StagedConfig
		small, large, middle quantity.Size
	)
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Time activations and rollbacks: one tiny pointer, whatever the size of the body",
		Long: `Time, on real agents in this process, how a pointer goes live: a tiny version announced,
pushed and applied (the yardstick), a larger one staged and then activated, and that taken
back; then rollbacks of a small and of a large version. Each is timed from the signing of
the pointer to the durable apply at an agent.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Say, cfg.Small, cfg.Large = a.say, int64(small), int64(large)
			staged.Say, staged.Body = a.say, int64(middle)
			var out struct {
				bench.StagedResult
				Sizes bench.RollbackResult `json:"sizes"`
			}
			var err error
			if out.StagedResult, err = bench.Staged(cmd.Context(), staged); err != nil {
				return err
			}
			if out.Sizes, err = bench.Rollback(cmd.Context(), cfg); err != nil {
				return err
			}
			return a.print(out, func(w io.Writer) {
				printStaged(w, out.StagedResult)
				r := out.Sizes
				fmt.Fprintf(w, "%d agents; medians of %d rollbacks of each, to the durable apply\n\nBYTES\tP50 MS\tP99 MS\n", r.Agents, r.Rounds)
				fmt.Fprintf(w, "%d\t%.1f\t%.1f\n%d\t%.1f\t%.1f\n\nratio\t%.2f\n", r.Small, r.SmallP50, r.SmallP99, r.Large, r.LargeP50, r.LargeP99, r.Ratio)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&staged.Agents, "agents", 1000, "agents")
	textVar(f, &middle, "body", "1MiB", "size of the version that is staged")
	f.IntVar(&cfg.Agents, "size-agents", 8, "agents for the comparison of sizes; each keeps two versions of both")
	textVar(f, &small, "small", "1KiB", "size of the small version")
	textVar(f, &large, "large", "64MiB", "size of the large version")
	f.IntVar(&staged.Rounds, "rounds", 15, "of each, after one that is not counted")
	f.IntVar(&cfg.Rounds, "size-rounds", 15, "rollbacks of each size")
	return cmd
}

func printStaged(w io.Writer, r bench.StagedResult) {
	fmt.Fprintf(w, "%d agents, a body of %d bytes; medians of %d rounds, to the durable apply\n\n\tP50 MS\tP99 MS\tRATIO OF P99\n", r.Agents, r.Body, r.Rounds)
	fmt.Fprintf(w, "tiny version announced\t%.1f\t%.1f\t1\n", r.AnnounceP50, r.AnnounceP99)
	fmt.Fprintf(w, "staged version activated\t%.1f\t%.1f\t%.2f\n", r.ActivateP50, r.ActivateP99, r.ActivateRatio)
	fmt.Fprintf(w, "taken back\t%.1f\t%.1f\t%.2f\n", r.RollbackP50, r.RollbackP99, r.RollbackRatio)
	fmt.Fprintf(w, "first to last host\t%.1f\n\n", r.Skew)
}
