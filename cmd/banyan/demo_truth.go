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

func newDemoTruth(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "truth",
		Short: "Show five mishaps of which an earlier build told lies, and what is said now",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Minute)
			defer cancel()
			var cfg bench.DemoTruthConfig
			told := 0
			if a.output == "text" {
				cfg.Say = func(c bench.DemoChapter) {
					told++
					printChapter(a.stdout, told, c)
				}
			}
			r, err := bench.DemoTruth(ctx, cfg)
			if err != nil {
				return err
			}
			if err := a.print(r, func(w io.Writer) {
				fmt.Fprintf(w, "%d hosts, %d mishaps; every statement is true: %t\n", r.Agents, len(r.Chapters), r.Honest())
			}); err != nil {
				return err
			}
			if !r.Honest() {
				return errors.New("a statement is false")
			}
			return nil
		},
	}
}

func printChapter(w io.Writer, n int, c bench.DemoChapter) {
	fmt.Fprintf(w, "%d  %s\n   before:  %s\n", n, c.Title, c.Before)
	for _, s := range c.Statements {
		verdict := "true"
		if !s.True {
			verdict = "FALSE"
		}
		fmt.Fprintf(w, "   said:    %s\n   found:   %s: %s\n", s.Said, s.Found, verdict)
	}
	fmt.Fprintln(w)
}
