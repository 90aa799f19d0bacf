package main

import (
	"fmt"
	"io"
	"os"
	"slices"
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
		Short: "Time how a body spreads over agents behind slow links, with and without trouble",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := first(
				atLeast("agents", cfg.Agents, 1),
				moreThanZero("body", body),
				moreThanZero("link", link),
				atLeast("runs", cfg.Runs, 1),
				knownParts(cfg.Only),
			)
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			cfg.Say = a.say
			cfg.Body = int64(body)
			cfg.Link = float64(link)
			cfg.Program = []string{self}
			r, err := bench.Body(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return a.print(r, func(w io.Writer) { printBody(w, r) })
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Agents, "agents", 64, "number of agents, each behind a link of its own")
	textVar(f, &body, "body", "16MiB", "size of the body")
	textVar(f, &link, "link", "10Mbps", "rate of every link in each direction")
	f.IntVar(&cfg.Runs, "runs", 3, "number of runs of each part; medians are printed")
	f.StringVar(&cfg.Dir, "dir", "",
		"directory for the agents' files "+
			"(default: in memory if there is enough, because real hosts do not share a disk)")
	f.StringSliceVar(&cfg.Only, "only", nil,
		"parts to measure: "+strings.Join(bench.BodyParts, ", ")+" (default all)")
	return cmd
}

// knownParts returns a usage error if --only names a part that does not exist.
func knownParts(parts []string) error {
	for _, part := range parts {
		if !slices.Contains(bench.BodyParts, part) {
			return usagef("--only: there is no part %q; the parts are %s",
				part, strings.Join(bench.BodyParts, ", "))
		}
	}
	return nil
}

func printBody(w io.Writer, r bench.BodyResult) {
	files := "on one disk"
	if r.InMemory {
		files = "in memory"
	}
	fmt.Fprintf(w, "%d agents, body of %d bytes, links of %.0f Mbit/s; medians of %d runs; the agents' files are %s\n\n",
		r.Agents, r.BodyBytes, r.LinkBps/1e6, r.Runs, files)
	fmt.Fprintln(w, "\tLAST AGENT S\t× LINE RATE\tMISSED")
	fmt.Fprintf(w, "all well\t%.1f\t%.2f\t0\n", r.Last, r.RatioToLineRate)
	fmt.Fprintf(w, "star, scaled from a smaller body\t\t%.1f\t0\n", r.RatioStar)
	fmt.Fprintf(w, "5%% loss, 20 ms, %d agents killed half-way\t%.1f\t%.2f\t%d\n",
		r.Disturbed.Killed, r.Disturbed.Last, r.Disturbed.RatioToLineRate, r.Disturbed.Missed)
	fmt.Fprintf(w, "%d agents send poison\t%.1f\t\t%d\n", r.Poison.Liars, r.Poison.Last, r.Poison.Missed)
	fmt.Fprintf(w, "\n%.1f%% of the shards arrived twice; %d of %d poisoned shards were attributed to their senders\n",
		100*r.DuplicateShare, r.Poison.Attributed, r.Poison.Shards)
	if m := r.Memory; m != nil {
		fmt.Fprintf(w, "an agent that received a body of %d MiB used at most %d MiB of memory\n",
			m.BodyBytes>>20, m.PeakRSSBytes>>20)
	}
}
