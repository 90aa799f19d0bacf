package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
)

func newPolicy(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "policy", Short: "Set the rules that rollouts must follow"})
	cmd.AddCommand(newTwoPersons(a))
	return cmd
}

func newTwoPersons(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "two-persons",
		Short: "List the configs whose rollouts need the approval of a second person",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ask := func(ctx context.Context, c *api.Client) (api.TwoPersons, error) { return c.TwoPersons(ctx) }
			return show(a, cmd, ask, printTwoPersons)
		},
	}
	cmd.AddCommand(newSetTwoPersons(a, true), newSetTwoPersons(a, false))
	return cmd
}

// newSetTwoPersons makes the command that guards a prefix, or the command that ends that.
func newSetTwoPersons(a *app, on bool) *cobra.Command {
	in := api.SetTwoPersons{On: on}
	cmd := &cobra.Command{
		Use:   "on PREFIX",
		Short: "From now on, every rollout under PREFIX (* for all) waits for a second person",
		Long: `From now on, every rollout of the configs under PREFIX ("*" for every config) waits for
'banyan approve' by another person than the one who started it. The coordinator stores the
setting.`,
		Example: `  banyan policy two-persons on payments -m "audit"`,
		Args:    exactly("PREFIX"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Prefix = args[0]
			ask := func(ctx context.Context, c *api.Client) (api.TwoPersons, error) { return c.SetTwoPersons(ctx, in) }
			return show(a, cmd, ask, printTwoPersons)
		},
	}
	if !on {
		cmd.Use = "off PREFIX"
		cmd.Short = "End the rule for PREFIX; two persons must say so"
		cmd.Long = `End the rule for PREFIX. The rule ends when a second person says the same command.`
		cmd.Example = `  banyan policy two-persons off payments -m "audit is over"`
	}
	cmd.Flags().StringVarP(&in.Message, "message", "m", "", "`TEXT` for the log: why")
	return cmd
}

func printTwoPersons(w io.Writer, t api.TwoPersons) {
	if len(t.Prefixes) == 0 {
		fmt.Fprintln(w, "no rollout needs a second person")
		return
	}
	fmt.Fprintln(w, "PREFIX\tSINCE\tBY\tWHY\tENDING")
	for _, g := range t.Prefixes {
		ending := "-"
		if g.Ending != "" {
			ending = "asked for by " + g.Ending + "; another person must ask, too"
		}
		since := g.At.UTC().Format(time.RFC3339)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", g.Prefix, since, g.By, cmp.Or(g.Reason, "-"), ending)
	}
}
