package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/rollout"
)

func newRollback(a *app) *cobra.Command {
	var (
		in   api.Rollback
		wait time.Duration
	)
	cmd := &cobra.Command{
		Use:   "rollback CONFIG",
		Short: "Return CONFIG to the version that ran before, on all hosts at once",
		Long: `Return CONFIG to the version that ran last and well, in each region, on all hosts at once.
Versions that a gate or a person took back are skipped. A rollout under way is taken back. A
rollback is a new epoch that names an old version: hosts that have that version on disk fetch
nothing.

Said twice, the command moves nothing the second time, and waits for the hosts again. To go back
further, name the version to leave with --from, or the version to return to with --to.

A rollback only returns to a version that ran well in the region. So it passes a freeze and
needs no second person; a lock stops it. Any other version is brought live by a rollout.`,
		Example: `  banyan rollback web/flags -m "checkout is broken"
  banyan rollback web/flags --from 8
  banyan rollback web/flags --to 7 --region eu`,
		Args: exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.rollback(cmd.Context(), args[0], in, wait)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&in.To, "to", 0, "version `N` to return to (default the version that ran last and well)")
	f.Uint64Var(&in.From, "from", 0, "version `N` to leave; regions that run another version stay as they are")
	positive(f, "to", "from")
	f.StringSliceVar(&in.Regions, "region", nil, "`REGION` to roll back; may be repeated (default all)")
	f.StringVarP(&in.Message, "message", "m", "", "`TEXT` for the history: why")
	waitFlag(cmd, &wait)
	return cmd
}

// rolledBack is the output of rollback.
type rolledBack struct {
	api.RolledBack
	// Status is the progress of the regions.
	Status []api.RegionStatus `json:"status"`
}

// rollback takes a config back, and waits until every agent has applied the pointers.
func (a *app) rollback(ctx context.Context, config string, in api.Rollback, wait time.Duration) error {
	client, _, err := a.client()
	if err != nil {
		return err
	}
	back, err := client.Rollback(ctx, config, in)
	if err != nil {
		return nothingChanged(err, config)
	}
	// A region that did not move is where a rollback brought it before. Its hosts may not be there.
	versions := map[string]uint64{}
	for _, region := range back.Regions {
		versions[region.Region] = region.To
	}
	out := rolledBack{RolledBack: back, Status: []api.RegionStatus{}}
	var waitErr error
	if len(versions) > 0 {
		var regions []api.RegionStatus
		regions, waitErr = a.waitApplied(ctx, client, config, awaited{versions, rollout.Gates{}, wait})
		out.Status = append(out.Status, regions...)
		waitErr = outOfSight(waitErr, config, "the rollback is stored")
	}
	err = a.print(out, func(w io.Writer) {
		printRolledBack(w, back)
		if len(out.Status) > 0 {
			printRegions(w, config, out.Status)
		}
	})
	if err != nil {
		return err
	}
	if err := overtaken(back, out.Status); err != nil {
		return err
	}
	return waitErr
}

// overtaken returns an error if a region runs another version than a rollback brought, because
// somebody moved the pointer again while the command waited.
func overtaken(back api.RolledBack, status []api.RegionStatus) error {
	for _, region := range back.Regions {
		for _, r := range status {
			if r.Region != region.Region || r.Version == region.To {
				continue
			}
			return &api.Error{
				Code: api.CodeConflict,
				Message: fmt.Sprintf("%s runs version %d in region %s, not %d: the pointer was moved again, to epoch %d",
					back.Config, r.Version, r.Region, region.To, r.Epoch),
				Hint: "'banyan log " + back.Config + "' says by whom",
			}
		}
	}
	return nil
}

// printRolledBack prints what a rollback did. Regions with the same outcome share a line.
func printRolledBack(w io.Writer, back api.RolledBack) {
	var lines []string
	regions := map[string][]string{}
	for _, region := range back.Regions {
		line := regionBackLine(region)
		if regions[line] == nil {
			lines = append(lines, line)
		}
		regions[line] = append(regions[line], region.Region)
	}
	for _, line := range lines {
		where := ""
		if len(lines) > 1 {
			where = " in " + strings.Join(regions[line], ", ")
		}
		fmt.Fprintf(w, "%s%s: %s\n", back.Config, where, line)
	}
}

// regionBackLine describes what a rollback did in a region: "back from version 3 to version 1,
// which ran 15:44–15:49 (skipped 2: taken back by its gate)".
func regionBackLine(r api.RegionBack) string {
	if !r.Moved {
		return "nothing changed: " + r.Why
	}
	line := fmt.Sprintf("back from version %d to version %d", r.From, r.To)
	if r.To == 0 {
		line = fmt.Sprintf("version %d is taken back; no version ran before it", r.From)
	}
	if r.From == 0 {
		line = fmt.Sprintf("back from the deletion to version %d", r.To)
	}
	if r.From == r.To {
		line = fmt.Sprintf("version %d on all hosts again", r.To)
	}
	if r.Ran != nil {
		line += ", which ran " + ranTimes(*r.Ran)
	}
	var skipped []string
	for _, s := range r.Skipped {
		if s.Version != r.From {
			skipped = append(skipped, fmt.Sprintf("%d: %s", s.Version, s.Text))
		}
	}
	if len(skipped) > 0 {
		line += " (skipped " + strings.Join(skipped, ", ") + ")"
	}
	return line
}

// ranTimes formats the time for which a version ran, in local time: "15:44–15:49", with dates
// if the version did not begin to run today.
func ranTimes(e api.Activation) string {
	since := e.Since.Local()
	until := e.Until.Local()
	layout := "15:04"
	if !e.Until.IsZero() && until.Sub(since) < time.Minute {
		layout = "15:04:05"
	}
	if since.Format(time.DateOnly) != time.Now().Format(time.DateOnly) {
		layout = "2006-01-02 15:04"
	}
	if e.Until.IsZero() {
		return "since " + since.Format(layout)
	}
	return since.Format(layout) + "–" + until.Format(layout)
}
