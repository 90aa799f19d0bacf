package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/internal/quantity"
)

func newAgents(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "agents",
		Short: "List the agents of the coordinator's region, and their places in the tree",
		Long: `List the agents of the coordinator's region, and their places in the tree. With --all, list the
inventory: every host of every region that was issued an identity or has ever attached, until it
is retired.`,
		Example: `  banyan agents
  banyan agents --all
  banyan agents expect eu-host-8 --region eu
  banyan agents retire eu-host-7`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all {
				return a.inventory(cmd)
			}
			ask := func(ctx context.Context, c *api.Client) (map[string][]api.Agent, error) {
				agents, err := c.Agents(ctx)
				return named("agents", agents, err)
			}
			return show(a, cmd, ask, func(w io.Writer, v map[string][]api.Agent) {
				heading(w, len(v["agents"]), "AGENT\tADDR\tPARENT\tDEPTH\tCHILDREN\tATTACHED\tSUBSCRIBES TO\tQUARANTINED\tACCUSED BY",
					"no agent has attached to this coordinator")
				for _, g := range v["agents"] {
					parent := cmp.Or(g.Parent, "(coordinator)")
					scopes := "all"
					if g.Subscriptions != nil {
						scopes = cmp.Or(strings.Join(g.Subscriptions, ","), "nothing")
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%v\t%s\t%v\t%s\n",
						oneLine(g.Name), oneLine(g.Addr), oneLine(parent), g.Depth, g.Children, g.Attached,
						oneLine(scopes), g.Confined, cmp.Or(g.Accuser, "-"))
				}
				for _, g := range v["agents"] {
					if len(g.Clones) > 0 {
						fmt.Fprintf(w, "%s: %d hosts run with this identity, at %s; none counts as applied\n",
							g.Name, len(g.Clones), strings.Join(g.Clones, " and "))
					}
				}
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "list the hosts of all regions, those that are not attached too")
	cmd.AddCommand(newExpect(a), newRetire(a))
	return cmd
}

// inventory prints all hosts.
func (a *app) inventory(cmd *cobra.Command) error {
	ask := func(ctx context.Context, c *api.Client) (map[string][]api.Host, error) {
		hosts, err := c.Hosts(ctx)
		return named("hosts", hosts, err)
	}
	return show(a, cmd, ask, func(w io.Writer, v map[string][]api.Host) {
		heading(w, len(v["hosts"]), "HOST\tREGION\tATTACHED TO\tLAST HEARD\tLISTED SINCE", "the inventory is empty")
		for _, h := range v["hosts"] {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.Name, h.Region, attachedTo(h), heard(h), clock(h.Since))
		}
	})
}

// attachedTo names the coordinator whose tree has a host; "-" if none has.
func attachedTo(h api.Host) string {
	switch {
	case !h.Attached:
		return "-"
	case h.Unreachable:
		return h.Via + " (UNREACHABLE)"
	}
	return h.Via
}

// heard describes when a host was last heard of.
func heard(h api.Host) string {
	switch {
	case h.HeardAt.IsZero():
		return "never"
	case h.Attached && !h.Unreachable:
		return "now"
	}
	return clock(h.HeardAt)
}

func newExpect(a *app) *cobra.Command {
	var region string
	cmd := &cobra.Command{
		Use:   "expect HOST...",
		Short: "List hosts in the inventory before their agents attach",
		Long: `List each HOST in the inventory before its agent attaches, so that status and rollouts count a
host that never comes up as not heard of. 'banyan cert agent' does this for the host whose
identity it issues, if the coordinator can be reached.`,
		Example: "  banyan agents expect eu-host-8 eu-host-9 --region eu",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if region == "" {
				return usagef("--region is required: the region that the hosts belong to")
			}
			var in api.ExpectHosts
			for _, name := range args {
				in.Hosts = append(in.Hosts, api.ExpectedHost{Region: region, Name: name})
			}
			ask := func(ctx context.Context, c *api.Client) (map[string][]api.ExpectedHost, error) {
				added, err := c.Expect(ctx, in)
				return named("hosts", added, err)
			}
			return show(a, cmd, ask, func(w io.Writer, v map[string][]api.ExpectedHost) {
				for _, h := range v["hosts"] {
					fmt.Fprintf(w, "host %s of region %s is expected\n", h.Name, h.Region)
				}
				if listed := len(args) - len(v["hosts"]); listed > 0 {
					fmt.Fprintf(w, "%d of %s listed already\n", listed, quantity.Of(len(args), "host"))
				}
			})
		},
	}
	cmd.Flags().StringVar(&region, "region", "", "`REGION` that the hosts belong to")
	return cmd
}

func newRetire(a *app) *cobra.Command {
	var region string
	cmd := &cobra.Command{
		Use:   "retire HOST",
		Short: "Remove HOST, which is gone for good, from the inventory",
		Long: `Remove HOST from the inventory, so that status and rollouts no longer count it. A host that is
attached can't be retired, and a host that attaches again is listed again.`,
		Example: "  banyan agents retire eu-host-7",
		Args:    exactly("HOST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			h, err := client.Retire(cmd.Context(), args[0], region)
			if err != nil {
				return err
			}
			return a.print(h, func(w io.Writer) { fmt.Fprintf(w, "host %s of region %s retired\n", h.Name, h.Region) })
		},
	}
	cmd.Flags().StringVar(&region, "region", "", "`REGION` of the host, if several regions have one with the name")
	return cmd
}
