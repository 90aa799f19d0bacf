package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/rollout"
)

func newPlan(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "plan", Short: "Keep rollout plans at the coordinator, and defaults for prefixes of configs"}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List the plans and the defaults", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.listPlans(cmd) }},
		&cobra.Command{Use: "get NAME", Short: "Print a plan", Args: exactly("NAME"),
			RunE: func(cmd *cobra.Command, args []string) error { return a.getPlan(cmd, args[0]) }},
		&cobra.Command{Use: "put NAME FILE", Short: "Store a plan", Args: exactly("NAME", "FILE"),
			RunE: func(cmd *cobra.Command, args []string) error {
				raw, err := os.ReadFile(args[1])
				if err != nil {
					return err
				}
				if _, err := rollout.ParsePlan(raw); err != nil {
					return fmt.Errorf("%s: %w", args[1], err)
				}
				return a.do(cmd, func(c *api.Client) error { return c.PutPlan(cmd.Context(), args[0], string(raw)) }, "plan %s stored", args[0])
			}},
		&cobra.Command{Use: "delete NAME", Short: "Remove a plan", Args: exactly("NAME"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.do(cmd, func(c *api.Client) error { return c.PutPlan(cmd.Context(), args[0], "") }, "plan %s removed", args[0])
			}},
		&cobra.Command{Use: "default PREFIX [NAME]", Short: "Make a plan the default of the configs below PREFIX (\"*\": all); without NAME there is none", Args: cobra.RangeArgs(1, 2),
			RunE: func(cmd *cobra.Command, args []string) error {
				d := api.PlanDefault{Prefix: args[0]}
				if len(args) == 2 {
					d.Plan = args[1]
				}
				return a.do(cmd, func(c *api.Client) error { return c.SetDefaultPlan(cmd.Context(), d) }, "default of %s: %q", d.Prefix, d.Plan)
			}},
	)
	return cmd
}

// do carries out a request without an answer and says that it is done.
func (a *app) do(cmd *cobra.Command, request func(c *api.Client) error, format string, args ...any) error {
	client, _, err := a.client()
	if err != nil {
		return err
	}
	if err := request(client); err != nil {
		return err
	}
	return a.print(map[string]bool{"done": true}, func(w io.Writer) { fmt.Fprintf(w, format+"\n", args...) })
}

// show asks for something and prints it.
func show[T any](a *app, cmd *cobra.Command, ask func(ctx context.Context, c *api.Client) (T, error), text func(w io.Writer, v T)) error {
	client, _, err := a.client()
	if err != nil {
		return err
	}
	v, err := ask(cmd.Context(), client)
	if err != nil {
		return err
	}
	return a.print(v, func(w io.Writer) { text(w, v) })
}

// named gives a list the name that it has as JSON.
func named[T any](name string, list []T, err error) (map[string][]T, error) {
	return map[string][]T{name: list}, err
}

func (a *app) listPlans(cmd *cobra.Command) error {
	ask := func(ctx context.Context, c *api.Client) (api.Plans, error) { return c.Plans(ctx) }
	return show(a, cmd, ask, func(w io.Writer, plans api.Plans) {
		fmt.Fprintln(w, "PLAN\tSTORED\tBY\tDEFAULT OF")
		for _, p := range plans.Plans {
			of := ""
			for prefix, name := range plans.Defaults {
				if name == p.Name {
					of += prefix + " "
				}
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Name, p.At.UTC().Format(time.RFC3339), p.By, of)
		}
	})
}

func (a *app) getPlan(cmd *cobra.Command, name string) error {
	client, _, err := a.client()
	if err != nil {
		return err
	}
	plans, err := client.Plans(cmd.Context())
	if err != nil {
		return err
	}
	for _, p := range plans.Plans {
		if p.Name == name {
			return a.print(p, func(w io.Writer) { io.WriteString(w, p.Text) })
		}
	}
	return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no plan %q", name), Hint: "'banyan plan list' tells which there are"}
}

func newFreeze(a *app) *cobra.Command {
	var (
		h    api.Hold
		long time.Duration
		lift bool
	)
	cmd := &cobra.Command{
		Use:   "freeze [PREFIX]",
		Short: "Stop all rollouts of the configs below PREFIX (default all), for a reason and a time",
		Long: `Stop all rollouts in a scope: none starts, and those under way stay where they are. Taking
versions back goes on, by hand and by gates. Without --reason and --lift, list what is frozen or locked.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			h.Scope = "*"
			if len(args) == 1 {
				h.Scope = args[0]
			}
			if lift {
				return a.do(cmd, func(c *api.Client) error { return c.Lift(cmd.Context(), h) }, "the freeze of %s is lifted", h.Scope)
			}
			if h.Reason == "" && len(args) == 0 {
				return a.listHolds(cmd)
			}
			if h.Reason == "" {
				return usagef("a freeze needs a --reason")
			}
			if long > 0 {
				h.Until = time.Now().Add(long)
			}
			return a.hold(cmd, h)
		},
	}
	f := cmd.Flags()
	f.StringVar(&h.Reason, "reason", "", "why, for everybody who is stopped by it")
	f.DurationVar(&long, "for", 0, "how long (default until it is lifted)")
	f.StringVar(&h.Region, "region", "", "only rollouts that reach this region")
	f.BoolVar(&lift, "lift", false, "end the freeze")
	return cmd
}

func newLock(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "lock CONFIG",
		Short: "Let nobody change CONFIG: no new versions, no rollouts, no rollback by hand",
		Args:  exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usagef("a lock needs a --reason")
			}
			return a.hold(cmd, api.Hold{Scope: args[0], Lock: true, Reason: reason})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for everybody who is stopped by it")
	return cmd
}

func newUnlock(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "unlock CONFIG",
		Short: "Open a lock",
		Args:  exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.do(cmd, func(c *api.Client) error {
				return c.Lift(cmd.Context(), api.Hold{Scope: args[0], Lock: true})
			}, "%s is unlocked", args[0])
		},
	}
}

func (a *app) hold(cmd *cobra.Command, h api.Hold) error {
	client, _, err := a.client()
	if err != nil {
		return err
	}
	if h, err = client.Hold(cmd.Context(), h); err != nil {
		return err
	}
	return a.print(h, func(w io.Writer) { fmt.Fprintf(w, "%s is %s\n", h.Scope, h) })
}

func (a *app) listHolds(cmd *cobra.Command) error {
	ask := func(ctx context.Context, c *api.Client) (map[string][]api.Hold, error) {
		holds, err := c.Holds(ctx)
		return named("holds", holds, err)
	}
	return show(a, cmd, ask, func(w io.Writer, v map[string][]api.Hold) {
		fmt.Fprintln(w, "SCOPE\tHOLD")
		for _, h := range v["holds"] {
			fmt.Fprintf(w, "%s\t%s\n", h.Scope, h)
		}
	})
}

func newQuarantine(a *app) *cobra.Command {
	var release string
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "List the agents that keep failing, and why; release one by hand",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if release != "" {
				return a.do(cmd, func(c *api.Client) error { return c.Release(cmd.Context(), release) }, "%s is released", release)
			}
			ask := func(ctx context.Context, c *api.Client) (map[string][]api.Quarantined, error) {
				agents, err := c.Quarantined(ctx)
				return named("agents", agents, err)
			}
			return show(a, cmd, ask, func(w io.Writer, v map[string][]api.Quarantined) {
				fmt.Fprintln(w, "AGENT\tREGION\tCONFIG\tEPOCH\tSINCE\tREASON")
				for _, q := range v["agents"] {
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", q.Name, q.Region, q.Config, q.Epoch, q.Since.UTC().Format(time.RFC3339), q.Reason)
				}
			})
		},
	}
	cmd.Flags().StringVar(&release, "release", "", "agent of this coordinator's region to release")
	return cmd
}

func newDrift(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "drift",
		Short: "List files on hosts that are not what was applied",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ask := func(ctx context.Context, c *api.Client) (map[string][]api.Drift, error) {
				drifts, err := c.Drifts(ctx)
				return named("drifts", drifts, err)
			}
			return show(a, cmd, ask, func(w io.Writer, v map[string][]api.Drift) {
				fmt.Fprintln(w, "AGENT\tREGION\tCONFIG\tVERSION\tSINCE\tREPAIRED")
				for _, d := range v["drifts"] {
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%v\n", d.Agent, d.Region, d.Config, d.Version, d.Since.UTC().Format(time.RFC3339), d.Repaired)
				}
			})
		},
	}
}
