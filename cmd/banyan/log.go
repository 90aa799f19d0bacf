package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
)

func newLog(a *app) *cobra.Command {
	var (
		q     api.LogQuery
		since string
	)
	cmd := &cobra.Command{
		Use:   "log [PREFIX]",
		Short: "List who did what to which config, when and why, newest first",
		Long: `List who did what to which config, when and why, newest first: publications, rollouts and
their steps, rollbacks, freezes, locks, schemas and plans. With PREFIX, list what concerns the
configs under PREFIX. The coordinator keeps the last 10,000 entries.`,
		Example: `  banyan log
  banyan log web --since 24h
  banyan log payments/limits --by alice -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				q.Prefix = args[0]
			}
			at, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			q.Since = at
			return a.log(cmd, q)
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.By, "by", "", "list only what `NAME` did, a person or gate")
	f.StringVar(&since, "since", "", "list only what was done since `TIME`: 24h, or 2026-03-01T12:00:00Z")
	f.IntVar(&q.Limit, "limit", 100, "list at most `N` entries")
	positive(f, "limit")
	return cmd
}

// parseSince returns the time that a duration before now, or a time, stands for; the zero Time
// for "".
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, usagef("--since is %q; use a duration such as 24h, or a time such as 2026-03-01T12:00:00Z", text)
	}
	return at, nil
}

func (a *app) log(cmd *cobra.Command, q api.LogQuery) error {
	ask := func(ctx context.Context, c *api.Client) (map[string][]api.LogEntry, error) {
		entries, err := c.Log(ctx, q)
		return named("entries", entries, err)
	}
	return show(a, cmd, ask, func(w io.Writer, v map[string][]api.LogEntry) {
		heading(w, len(v["entries"]), "WHEN\tWHO\tWHAT\tCONFIG\tWHY", "no such entry")
		for _, e := range v["entries"] {
			config := e.Config
			if config == "" {
				config = "-"
			}
			why := e.Why
			if why == "" {
				why = "-"
			}
			when := e.At.UTC().Format(time.RFC3339)
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", when, e.By, oneLine(e.What), config, oneLine(why))
		}
	})
}
