package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/internal/quantity"
)

func newStoreCollect(a *app) *cobra.Command {
	in := api.Collect{Keep: api.DefaultKeep}
	age := api.DefaultCollectAge
	yes := false
	cmd := &cobra.Command{
		Use:   "collect",
		Short: "Remove old versions, deleted configs and forgotten bodies from a coordinator",
		Long: `Remove from a coordinator what nothing names any more: old versions, all versions of configs that
were deleted long ago, and bodies that no version names. The command says what it would remove, and
removes it with --yes.

A version stays if a pointer or a rollout in progress names it, if it is younger than --older-than, or if
it is one of the --keep newest, or of the --keep that ran last and well in a region. A body without a version
stays for a day. Each coordinator collects in its own store: name it with --coordinator.`,
		Example: `  banyan store collect
  banyan store collect --keep 20 --older-than 2160h --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in.OlderThan = quantity.Duration(age)
			in.DryRun = !yes
			ask := func(ctx context.Context, c *api.Client) (api.Collected, error) { return c.Collect(ctx, in) }
			return show(a, cmd, ask, printCollected)
		},
	}
	f := cmd.Flags()
	f.IntVar(&in.Keep, "keep", in.Keep, "`N` versions stay of each config")
	f.DurationVar(&age, "older-than", age, "`TIME` for which every version stays")
	positive(f, "keep", "older-than")
	f.BoolVar(&yes, "yes", false, "remove it, and do not only say what would be removed")
	f.StringVarP(&in.Message, "message", "m", "", "`TEXT` for the log: why")
	return cmd
}

func printCollected(w io.Writer, out api.Collected) {
	if len(out.Configs) > 0 {
		fmt.Fprintln(w, "CONFIG\tVERSIONS\tTHE NAME IS FREE")
	}
	for _, c := range out.Configs {
		free := "no"
		if c.Freed {
			free = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Config, ranges(c.Versions), free)
	}
	if out.More > 0 {
		fmt.Fprintf(w, "and versions of %d more configs\n", out.More)
	}
	did := "removed"
	if out.DryRun {
		did = "would remove"
	}
	fmt.Fprintf(w, "%s %d versions, and %d bodies of %.1f MiB that no version names\n",
		did, out.Versions, out.Bodies, float64(out.Bytes)/(1<<20))
	if out.DryRun && out.Versions+out.Bodies > 0 {
		fmt.Fprintln(w, "nothing was removed: --yes removes it")
	}
}

// ranges formats ascending numbers: "1–3, 5".
func ranges(numbers []uint64) string {
	text := ""
	for i := 0; i < len(numbers); {
		first := numbers[i]
		last := first
		for i++; i < len(numbers) && numbers[i] == last+1; i++ {
			last++
		}
		if text != "" {
			text += ", "
		}
		text += fmt.Sprint(first)
		if last > first {
			text += fmt.Sprintf("–%d", last)
		}
	}
	return text
}
