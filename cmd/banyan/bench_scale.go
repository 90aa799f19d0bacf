package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"banyan/bench/scale"
)

// scaleTimeout ends a run on a machine that is much too slow.
const scaleTimeout = 15 * time.Minute

func newBenchScale(a *app) *cobra.Command {
	var cfg scale.Config
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Measure what once broke first at scale, beside what commit 78aa158 did",
		Long: `Measure what once broke first at scale: agents, configs, regions and rollouts in numbers at
which commit 78aa158 stalled, refused, or forgot something. The column BEFORE has what that commit did at
the full scale.

A run takes some minutes and 2 GB of memory. --quick measures a tenth of each scale in half a minute.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), scaleTimeout)
			defer cancel()
			cfg.Say = a.say
			rows, err := scale.Run(ctx, cfg)
			if err != nil {
				return err
			}
			return a.print(rows, func(w io.Writer) {
				fmt.Fprintln(w, "SCALE\tMEASURED\tBEFORE\tNOW")
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Scale, r.What, r.Before, r.Now)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&cfg.Quick, "quick", false, "measure a tenth of each scale")
	return cmd
}
