package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/rollout"
)

func newPlan(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "plan", Short: "Store rollout plans at the coordinator, and choose default plans"})
	cmd.AddCommand(newPlanList(a), newPlanGet(a), newPlanPut(a), newPlanDelete(a), newPlanDefault(a))
	return cmd
}

func newPlanList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the stored plans and the defaults",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.listPlans(cmd) },
	}
}

func newPlanGet(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "get NAME",
		Short: "Print a stored plan",
		Args:  exactly("NAME"),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.getPlan(cmd, args[0]) },
	}
}

func newPlanPut(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "put NAME FILE",
		Short:   "Store the plan in FILE (\"-\" for standard input) under NAME",
		Example: "  banyan plan put careful careful.yaml",
		Args:    exactly("NAME", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.readArgument(args[1], rollout.MaxPlan)
			if err != nil {
				return err
			}
			if _, err := rollout.ParsePlan(raw); err != nil {
				return fmt.Errorf("%s: %w", nameOf(args[1]), err)
			}
			put := func(c *api.Client) error { return c.PutPlan(cmd.Context(), args[0], string(raw)) }
			return a.do(cmd, put, "plan %s stored", args[0])
		},
	}
}

func newPlanDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a stored plan",
		Args:  exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			remove := func(c *api.Client) error { return c.PutPlan(cmd.Context(), args[0], "") }
			return a.do(cmd, remove, "plan %s deleted", args[0])
		},
	}
}

func newPlanDefault(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "default PREFIX [NAME]",
		Short: "Make a plan the default of the configs under PREFIX",
		Long: `Make the plan NAME the default of the configs under PREFIX ("*" for every config). Without
NAME, the configs under PREFIX have no default plan.`,
		Example: "  banyan plan default payments careful",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			d := api.PlanDefault{Prefix: args[0]}
			if len(args) == 2 {
				d.Plan = args[1]
			}
			set := func(c *api.Client) error { return c.SetDefaultPlan(cmd.Context(), d) }
			return a.do(cmd, set, "default plan of %s: %q", d.Prefix, d.Plan)
		},
	}
}

// do sends a request that has no answer, and prints a line when the request is done.
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

// show sends a request with ask and prints the answer, as JSON or with text.
func show[T any](
	a *app, cmd *cobra.Command,
	ask func(ctx context.Context, c *api.Client) (T, error), text func(w io.Writer, v T),
) error {
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

// named returns a JSON object with one field: the list, under the given name.
func named[T any](name string, list []T, err error) (map[string][]T, error) {
	return map[string][]T{name: list}, err
}

func (a *app) listPlans(cmd *cobra.Command) error {
	ask := func(ctx context.Context, c *api.Client) (api.Plans, error) { return c.Plans(ctx) }
	return show(a, cmd, ask, func(w io.Writer, plans api.Plans) {
		heading(w, len(plans.Plans), "PLAN\tSTORED\tBY\tDEFAULT OF", "no plan is stored")
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
	return &api.Error{
		Code:    api.CodeNotFound,
		Message: fmt.Sprintf("there is no plan %q", name),
		Hint:    "'banyan plan list' lists the stored plans",
	}
}

// freezeFlags are the flags of banyan freeze.
type freezeFlags struct {
	hold api.Hold
	long time.Duration
	lift bool
	all  bool
}

func newFreeze(a *app) *cobra.Command {
	var flags freezeFlags
	cmd := &cobra.Command{
		Use:   "freeze [PREFIX]",
		Short: "Stop all rollouts of the configs under PREFIX, or of every config with --all",
		Long: `Stop all rollouts of the configs under PREFIX, or of every config with --all. No rollout
starts, and rollouts under way stay where they are. Rollbacks still work, by hand and by gates.

Without --reason and --lift, list what is frozen or locked.`,
		Example: `  banyan freeze --all --reason "black friday" --for 48h
  banyan freeze payments --reason "audit" --region eu
  banyan freeze --lift --all`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.freeze(cmd, args, flags) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.hold.Reason, "reason", "", "`TEXT`: why, for everybody whom the freeze stops")
	f.DurationVar(&flags.long, "for", 0, "`TIME` after which the freeze ends (default never)")
	f.StringVar(&flags.hold.Region, "region", "", "freeze only rollouts that include `REGION`")
	f.BoolVar(&flags.all, "all", false, "freeze every config, or lift that freeze")
	f.BoolVar(&flags.lift, "lift", false, "end the freeze")
	return cmd
}

// freeze puts or lifts a freeze, or lists the holds.
func (a *app) freeze(cmd *cobra.Command, args []string, flags freezeFlags) error {
	h := flags.hold
	if h.Reason == "" && !flags.lift && len(args) == 0 && !flags.all {
		return a.listHolds(cmd)
	}
	switch {
	case len(args) == 1 && flags.all:
		return usagef("--all is every config; leave out %s", args[0])
	case len(args) == 1:
		h.Scope = args[0]
	case flags.all:
		h.Scope = "*"
	default:
		return usagef("name a PREFIX, or say --all for every config of the fleet")
	}
	if flags.lift {
		lift := func(c *api.Client) error { return c.Lift(cmd.Context(), h) }
		return a.do(cmd, lift, "the freeze of %s is lifted", h.Scope)
	}
	if h.Reason == "" {
		return usagef("a freeze needs a --reason, for everybody whom the freeze stops")
	}
	if cmd.Flags().Changed("for") && flags.long <= 0 {
		return usagef("--for is %s; a freeze must last longer than 0", flags.long)
	}
	if flags.long > 0 {
		h.Until = time.Now().Add(flags.long)
	}
	return a.hold(cmd, h)
}

func newLock(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "lock CONFIG",
		Short: "Forbid every manual change to CONFIG, including rollback",
		Long: `Forbid every manual change to CONFIG: new versions, rollouts, and rollbacks. Gates still
take back a rollout under way.`,
		Example: `  banyan lock payments/limits --reason "incident 4711"`,
		Args:    exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usagef("a lock needs a --reason, for everybody whom the lock stops")
			}
			return a.hold(cmd, api.Hold{Scope: args[0], Lock: true, Reason: reason})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`TEXT`: why, for everybody whom the lock stops")
	return cmd
}

func newUnlock(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "unlock CONFIG",
		Short: "Remove the lock of CONFIG",
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
	h, err = client.Hold(cmd.Context(), h)
	if err != nil {
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
		heading(w, len(v["holds"]), "SCOPE\tHOLD", "nothing is frozen or locked")
		for _, h := range v["holds"] {
			fmt.Fprintf(w, "%s\t%s\n", h.Scope, h)
		}
	})
}

func newQuarantine(a *app) *cobra.Command {
	var release string
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "List the agents that keep failing, and why; release an agent",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if release != "" {
				request := func(c *api.Client) error { return c.Release(cmd.Context(), release) }
				return a.do(cmd, request, "%s is released", release)
			}
			ask := func(ctx context.Context, c *api.Client) (map[string][]api.Quarantined, error) {
				agents, err := c.Quarantined(ctx)
				return named("agents", agents, err)
			}
			return show(a, cmd, ask, func(w io.Writer, v map[string][]api.Quarantined) {
				heading(w, len(v["agents"]), "AGENT\tREGION\tCONFIG\tEPOCH\tSINCE\tREASON", "no agent is in quarantine")
				for _, q := range v["agents"] {
					since := q.Since.UTC().Format(time.RFC3339)
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", oneLine(q.Name), q.Region, q.Config, q.Epoch, since, oneLine(q.Reason))
				}
			})
		},
	}
	cmd.Flags().StringVar(&release, "release", "", "`AGENT` of this coordinator's region to release")
	return cmd
}

func newDrift(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "drift",
		Short: "List config files that were changed on hosts by hand",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ask := func(ctx context.Context, c *api.Client) (map[string][]api.Drift, error) {
				drifts, err := c.Drifts(ctx)
				return named("drifts", drifts, err)
			}
			return show(a, cmd, ask, func(w io.Writer, v map[string][]api.Drift) {
				heading(w, len(v["drifts"]), "AGENT\tREGION\tCONFIG\tVERSION\tSINCE\tREPAIRED", "no host reports a changed file")
				for _, d := range v["drifts"] {
					since := d.Since.UTC().Format(time.RFC3339)
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%v\n", oneLine(d.Agent), d.Region, d.Config, d.Version, since, d.Repaired)
				}
			})
		},
	}
}
