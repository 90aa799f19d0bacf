package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"banyan/bench"
	"banyan/simulator"
)

func newBenchRollback(a *app) *cobra.Command {
	var (
		cfg          bench.RollbackConfig
		small, large simulator.Size
	)
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Time rollbacks of a small version and of a large one: one pointer either way",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Say, cfg.Small, cfg.Large = a.say, int64(small), int64(large)
			r, err := bench.Rollback(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return a.print(r, func(w io.Writer) {
				fmt.Fprintf(w, "%d agents; medians of %d rollbacks of each, to the durable apply\n\nBYTES\tP50 MS\tP99 MS\n", r.Agents, r.Rounds)
				fmt.Fprintf(w, "%d\t%.1f\t%.1f\n%d\t%.1f\t%.1f\n\nratio\t%.2f\n", r.Small, r.SmallP50, r.SmallP99, r.Large, r.LargeP50, r.LargeP99, r.Ratio)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Agents, "agents", 8, "agents; each keeps two versions of both")
	textVar(f, &small, "small", "1KiB", "size of the small version")
	textVar(f, &large, "large", "64MiB", "size of the large version")
	f.IntVar(&cfg.Rounds, "rounds", 15, "rollbacks of each")
	return cmd
}
