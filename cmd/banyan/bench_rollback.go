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
		Short: "Time activations and rollbacks, for small and large bodies",
		Long: `Rollback times moves of a pointer on real agents in this process: a tiny version that is
announced, pushed and applied (the yardstick), a larger version that is staged and then
activated, the rollback of the larger version, and then rollbacks of a small and of a large
version. Each time runs from the signature of the pointer to the durable apply at an agent.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := first(
				atLeast("agents", staged.Agents, 1),
				atLeast("size-agents", cfg.Agents, 1),
				moreThanZero("body", middle),
				moreThanZero("small", small),
				moreThanZero("large", large),
				atLeast("rounds", staged.Rounds, 1),
				atLeast("size-rounds", cfg.Rounds, 1),
			)
			if err != nil {
				return err
			}
			cfg.Say = a.say
			cfg.Small = int64(small)
			cfg.Large = int64(large)
			staged.Say = a.say
			staged.Body = int64(middle)
			var out struct {
				bench.StagedResult
				Sizes bench.RollbackResult `json:"sizes"`
			}
			out.StagedResult, err = bench.Staged(cmd.Context(), staged)
			if err != nil {
				return err
			}
			out.Sizes, err = bench.Rollback(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return a.print(out, func(w io.Writer) {
				printStaged(w, out.StagedResult)
				printSizes(w, out.Sizes)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&staged.Agents, "agents", 1000, "number of agents")
	textVar(f, &middle, "body", "1MiB", "size of the body that is staged")
	f.IntVar(&cfg.Agents, "size-agents", 8,
		"number of agents for the comparison of sizes; each keeps two versions of each size")
	textVar(f, &small, "small", "1KiB", "size of the small body")
	textVar(f, &large, "large", "64MiB", "size of the large body")
	f.IntVar(&staged.Rounds, "rounds", 15, "number of rounds, after one that is not counted")
	f.IntVar(&cfg.Rounds, "size-rounds", 15, "number of rollbacks of each size")
	return cmd
}

// printSizes prints the rollbacks of a small and of a large body.
func printSizes(w io.Writer, r bench.RollbackResult) {
	fmt.Fprintf(w, "%d agents; medians of %d rollbacks of each size, to the durable apply\n\n",
		r.Agents, r.Rounds)
	fmt.Fprintln(w, "BYTES\tP50 MS\tP99 MS")
	fmt.Fprintf(w, "%d\t%.1f\t%.1f\n", r.Small, r.SmallP50, r.SmallP99)
	fmt.Fprintf(w, "%d\t%.1f\t%.1f\n", r.Large, r.LargeP50, r.LargeP99)
	fmt.Fprintf(w, "\nratio\t%.2f\n", r.Ratio)
}

func printStaged(w io.Writer, r bench.StagedResult) {
	fmt.Fprintf(w, "%d agents, a body of %d bytes; medians of %d rounds, to the durable apply\n\n",
		r.Agents, r.Body, r.Rounds)
	fmt.Fprintln(w, "\tP50 MS\tP99 MS\tRATIO OF P99")
	fmt.Fprintf(w, "tiny version announced\t%.1f\t%.1f\t1\n", r.AnnounceP50, r.AnnounceP99)
	fmt.Fprintf(w, "staged version activated\t%.1f\t%.1f\t%.2f\n",
		r.ActivateP50, r.ActivateP99, r.ActivateRatio)
	fmt.Fprintf(w, "taken back\t%.1f\t%.1f\t%.2f\n", r.RollbackP50, r.RollbackP99, r.RollbackRatio)
	fmt.Fprintf(w, "first to last host\t%.1f\n\n", r.Skew)
}
