package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/internal/quantity"
	"banyan/internal/usage"
	"banyan/rollout"
)

func newDelete(a *app) *cobra.Command {
	var (
		in   api.Delete
		yes  bool
		wait time.Duration
	)
	cmd := &cobra.Command{
		Use:   "delete CONFIG",
		Short: "Delete CONFIG: all hosts remove its file at once",
		Long: `Delete CONFIG: all hosts remove its file, and all versions of it on their disks, at once. There are
no waves and no gates, so the command first says what it would do, and does it with --yes. A host
keeps the file if its hooks file says "deleted: keep" for the config.

The versions stay in the store: 'banyan rollback CONFIG' brings back what ran. The name can be used
again: 'banyan publish' goes on with the next version. 'banyan store collect' removes old versions.

A freeze, a lock, a rollout under way and the rule of two persons stop a deletion.`,
		Example: `  banyan delete web/flags
  banyan delete web/flags --yes -m "replaced by web/features"`,
		Args: exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return a.describeDeletion(cmd.Context(), args[0], in.Regions)
			}
			return a.delete(cmd.Context(), args[0], in, wait)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&yes, "yes", false, "delete it, and do not only say what would be deleted")
	f.StringSliceVar(&in.Regions, "region", nil, "`REGION` in which to delete it; may be repeated (default all)")
	f.StringVarP(&in.Message, "message", "m", "", "`TEXT` for the log: why")
	waitFlag(cmd, &wait)
	return cmd
}

// describeDeletion prints what a deletion would do, and returns an error.
func (a *app) describeDeletion(ctx context.Context, config string, regions []string) error {
	client, _, err := a.client()
	if err != nil {
		return err
	}
	s, err := client.ConfigStatus(ctx, config)
	if err != nil {
		return err
	}
	var would []string
	for _, r := range s.Regions {
		chosen := len(regions) == 0 || slices.Contains(regions, r.Region)
		if chosen && !r.Deleted {
			would = append(would, fmt.Sprintf("%s from %s in %s", runningText(r), quantity.Of(r.Hosts, "host"), r.Region))
		}
	}
	if len(would) == 0 {
		return usage.Errorf("nothing was deleted: %s runs in none of these regions", config)
	}
	err = usage.Errorf("nothing was deleted: this would remove %s %s at once", config, strings.Join(would, ", and "))
	return withHint(err, "--yes deletes it; 'banyan rollback "+config+"' would bring it back")
}

// runningText names what a region runs: "version 3", or "version 3 and 4".
func runningText(r api.RegionStatus) string {
	switch {
	case r.Candidate == 0:
		return fmt.Sprintf("version %d", r.Version)
	case r.Version == 0:
		return fmt.Sprintf("version %d", r.Candidate)
	}
	return fmt.Sprintf("versions %d and %d", r.Version, r.Candidate)
}

// deletedConfig is the output of delete.
type deletedConfig struct {
	api.Deleted
	// Status is the progress of the regions.
	Status []api.RegionStatus `json:"status"`
}

// delete deletes a config, and waits until every agent has removed it.
func (a *app) delete(ctx context.Context, config string, in api.Delete, wait time.Duration) error {
	client, _, err := a.client()
	if err != nil {
		return err
	}
	deleted, err := client.Delete(ctx, config, in)
	if err != nil {
		return nothingChanged(err, config)
	}
	nothing := map[string]uint64{} // no region runs a version
	for _, r := range deleted.Regions {
		nothing[r.Region] = 0
	}
	status, waitErr := a.waitApplied(ctx, client, config, awaited{nothing, rollout.Gates{}, wait})
	waitErr = outOfSight(waitErr, config, "the deletion is stored")
	out := deletedConfig{Deleted: deleted, Status: append([]api.RegionStatus{}, status...)}
	err = a.print(out, func(w io.Writer) {
		for _, r := range deleted.Regions {
			fmt.Fprintf(w, "%s in %s: %s\n", config, r.Region, deletionLine(r))
		}
		if len(out.Status) > 0 {
			printRegions(w, config, out.Status)
		}
	})
	if err != nil {
		return err
	}
	if err := broughtBack(deleted, out.Status); err != nil {
		return err
	}
	return waitErr
}

// broughtBack returns an error if a deleted config runs in a region, because somebody moved the
// pointer again while the command waited.
func broughtBack(deleted api.Deleted, status []api.RegionStatus) error {
	epochs := map[string]uint64{}
	for _, p := range deleted.Pointers {
		epochs[p.Region] = p.Epoch
	}
	for _, r := range status {
		if r.Deleted || r.Epoch <= epochs[r.Region] {
			continue
		}
		return &api.Error{
			Code: api.CodeConflict,
			Message: fmt.Sprintf("%s is not deleted in region %s any more: the pointer was moved again, to epoch %d",
				deleted.Config, r.Region, r.Epoch),
			Hint: "'banyan log " + deleted.Config + "' says by whom",
		}
	}
	return nil
}

func deletionLine(r api.RegionDeleted) string {
	switch {
	case !r.Moved:
		return "nothing changed: it was deleted before"
	case r.Version == 0:
		return "deleted; no version was live"
	}
	return fmt.Sprintf("deleted; version %d ran", r.Version)
}
