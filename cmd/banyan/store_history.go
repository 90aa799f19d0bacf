package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/internal/quantity"
)

func newStoreTerm(a *app) *cobra.Command {
	var in api.NewTerm
	cmd := &cobra.Command{
		Use:   "new-term",
		Short: "Keep the history of the leader's store, and have every host take it",
		Long: `Keep the history of the leader's store, and have every host take it.

A leader whose store was restored from an older copy, or that ran beside another leader, stops
writing when a host shows it a newer or another signed record. This command begins a new term:
the leader writes again, and signs every pointer anew. Hosts take those, and drop what they
had of the lost history. A config that only hosts have is taken from them. 'banyan store recover' keeps what the hosts have instead.`,
		Example: `  banyan store new-term -m "the backup of 12:00 is what we want"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ask := func(ctx context.Context, c *api.Client) (api.Recovered, error) { return c.BeginTerm(ctx, in) }
			return show(a, cmd, ask, printRecovered)
		},
	}
	cmd.Flags().StringVarP(&in.Message, "message", "m", "", "`TEXT` for the log: why")
	return cmd
}

func newStoreRecover(a *app) *cobra.Command {
	var in api.Recover
	wait := 30 * time.Second
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Take the history that the hosts have into the leader's store",
		Long: `Take the history that the hosts have into the leader's store.

Every host holds the signed pointers of its region and the signed versions that it runs. The
leader asks the hosts and the followers that are connected to it, stores what is newer than
its own, and begins a new term. It waits up to 20 s for a follower of each region. Rollouts,
plans, holds, and versions that no pointer names can't be recovered. If something can't be
recovered, or a region does not answer, the leader goes on not to write, unless --partly is
given.`,
		Example: `  banyan store recover -m "the disk of coordinator-eu was restored from 12:00"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			in.Wait = quantity.Duration(wait)
			out, err := client.Recover(cmd.Context(), in)
			if err != nil {
				return err
			}
			if err := a.print(out, func(w io.Writer) { printRecovered(w, out) }); err != nil {
				return err
			}
			if out.Stopped {
				return errors.New("the leader does not write yet: not everything could be recovered; " +
					"--partly goes on without it")
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", wait, "`TIME` for which hosts are waited for")
	positive(cmd.Flags(), "wait")
	cmd.Flags().BoolVar(&in.Partly, "partly", false, "begin the new term even if something can't be recovered")
	cmd.Flags().StringVarP(&in.Message, "message", "m", "", "`TEXT` for the log: why")
	return cmd
}

// printRecoveredPointer prints a line of the table: recovered says whether the pointer was.
func printRecoveredPointer(w io.Writer, p api.RecoveredPointer, recovered string) {
	version, candidate := "-", "-"
	switch {
	case p.Version > 0:
		version = fmt.Sprint(p.Version)
	case p.Candidate == 0:
		version = "deleted"
	}
	if p.Candidate > 0 {
		candidate = fmt.Sprint(p.Candidate)
	}
	fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", p.Config, p.Region, p.Term, p.Epoch, version, candidate, recovered)
}

func printRecovered(w io.Writer, out api.Recovered) {
	if len(out.Recovered)+len(out.Failed) > 0 {
		fmt.Fprintln(w, "CONFIG\tREGION\tTERM\tEPOCH\tVERSION\tCANDIDATE\tRECOVERED")
	}
	for _, p := range out.Recovered {
		printRecoveredPointer(w, p, "yes")
	}
	for _, p := range out.Failed {
		printRecoveredPointer(w, p, "no: "+p.Why)
	}
	if len(out.Asked) > 0 {
		fmt.Fprintf(w, "asked: %s\n", strings.Join(out.Asked, ", "))
	}
	if len(out.Unanswered) > 0 {
		fmt.Fprintf(w, "no answer from: %s; run 'banyan store recover' once more when their coordinators are connected\n",
			strings.Join(out.Unanswered, ", "))
	}
	if out.Silent > 0 {
		fmt.Fprintf(w, "%s did not send all pointers in time\n", quantity.Of(out.Silent, "connected host"))
	}
	if out.LeftOut > 0 {
		fmt.Fprintf(w, "left out: %s from hosts, which is more than one recovery takes; "+
			"run 'banyan store recover' once more with --partly\n", quantity.Of(out.LeftOut, "pointer"))
	}
	if out.Term != 0 {
		fmt.Fprintf(w, "%s recovered; term %d began, and every pointer is signed anew\n",
			quantity.Of(len(out.Recovered), "pointer"), out.Term)
	}
}
