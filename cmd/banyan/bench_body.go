package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"banyan/bench"
	"banyan/internal/quantity"
)

func newBenchBody(a *app) *cobra.Command {
	var (
		cfg  bench.BodyConfig
		body quantity.Size
		link quantity.Bandwidth
	)
	cmd := &cobra.Command{
		Use:   "body",
		Short: "Time how a body spreads over agents behind slow links: well, with loss and deaths, with poison",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			cfg.Say, cfg.Body, cfg.Link, cfg.Program = a.say, int64(body), float64(link), []string{self}
			r, err := bench.Body(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return a.print(r, func(w io.Writer) { printBody(w, r) })
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Agents, "agents", 64, "agents, each behind a link of its own")
	textVar(f, &body, "body", "16MiB", "size of the body")
	textVar(f, &link, "link", "10Mbps", "rate of every link, each way")
	f.IntVar(&cfg.Runs, "runs", 3, "runs of each kind; medians are printed")
	f.StringVar(&cfg.Dir, "dir", "", "where the agents' files go (default in memory, if there is ample room: hosts do not share a disk)")
	f.StringSliceVar(&cfg.Only, "only", nil, "parts to measure, of "+strings.Join(bench.BodyParts, ", ")+" (default all)")
	return cmd
}

func printBody(w io.Writer, r bench.BodyResult) {
	fmt.Fprintf(w, "%d agents, body of %d bytes, links of %.0f Mbit/s; medians of %d runs; the agents' files %s\n\n", r.Agents, r.BodyBytes, r.LinkBps/1e6, r.Runs,
		map[bool]string{true: "in memory", false: "on one disk"}[r.InMemory])
	fmt.Fprintln(w, "\tLAST AGENT S\t× LINE RATE\tMISSED")
	fmt.Fprintf(w, "all well\t%.1f\t%.2f\t0\n", r.Last, r.RatioToLineRate)
	fmt.Fprintf(w, "star, scaled from a smaller body\t\t%.1f\t0\n", r.RatioStar)
	fmt.Fprintf(w, "5%% loss, 20 ms, %d agents killed half-way\t%.1f\t%.2f\t%d\n", r.Disturbed.Killed, r.Disturbed.Last, r.Disturbed.RatioToLineRate, r.Disturbed.Missed)
	fmt.Fprintf(w, "%d agents send poison\t%.1f\t\t%d\n", r.Poison.Liars, r.Poison.Last, r.Poison.Missed)
	fmt.Fprintf(w, "\n%.1f%% of the shards came twice; %d of %d shards of poison were blamed on who sent them\n", 100*r.DuplicateShare, r.Poison.Attributed, r.Poison.Shards)
	if m := r.Memory; m != nil {
		fmt.Fprintf(w, "an agent that took a body of %d MiB was resident with %d MiB at the most\n", m.BodyBytes>>20, m.PeakRSSBytes>>20)
	}
}
