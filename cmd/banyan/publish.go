package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/record"
)

// waitOptions say which regions to move and how long to wait for their agents.
type waitOptions struct {
	regions []string
	wait    time.Duration
}

func (o *waitOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&o.regions, "region", nil, "region to move (default all)")
	cmd.Flags().DurationVar(&o.wait, "wait", 30*time.Second, "how long to wait for every agent to apply; 0: don't wait")
}

func newPublish(a *app) *cobra.Command {
	var (
		d          api.Draft
		o          waitOptions
		noActivate bool
	)
	cmd := &cobra.Command{
		Use:   "publish CONFIG FILE",
		Short: "Validate, sign and store a new version, and activate it",
		Long: `Validate FILE ("-": standard input) as the next version of CONFIG, sign it with the
publisher key, store it, and move the regions' pointers to it.`,
		Args: exactly("CONFIG", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			d.Config = args[0]
			if err := record.ValidateConfig(d.Config); err != nil {
				return err
			}
			if d.ContentType == "" {
				d.ContentType = draft.TypeOf(args[1])
			}
			if d.File, err = a.draftFile(args[1]); err != nil {
				return err
			}
			if args[1] == "-" {
				defer os.Remove(d.File)
			}
			key, err := a.publisherKey()
			if err != nil {
				return err
			}
			client, bundle, err := a.client()
			if err != nil {
				return err
			}
			if !bundle.Policy.MayPublish(key.ID, d.Config) {
				return fmt.Errorf("publisher key %s: %w: the trust policy does not let it sign for %s", key.ID, record.ErrScope, d.Config)
			}
			d.Progress = a.uploadProgress
			v, err := client.Publish(cmd.Context(), d, key)
			a.progressDone()
			if err != nil {
				return err
			}
			if noActivate {
				return a.print(v, func(w io.Writer) {
					fmt.Fprintf(w, "%s version %d stored, not activated\n", d.Config, v.Manifest.Version)
				})
			}
			return a.activate(cmd.Context(), client, d.Config, v.Manifest.Version, o, "published")
		},
	}
	f := cmd.Flags()
	f.StringVarP(&d.Message, "message", "m", "", "why, for the history")
	f.StringVar(&d.ContentType, "type", "", "content type (default by the file's name)")
	f.Uint64Var(&d.Parent, "parent", 0, "version the draft was made from; publishing conflicts if there is a newer one")
	f.BoolVar(&noActivate, "no-activate", false, "store the version and leave the pointers where they are")
	o.flags(cmd)
	return cmd
}

// draftFile is the file that a draft is in; standard input is written into one.
func (a *app) draftFile(path string) (string, error) {
	if path != "-" {
		info, err := os.Stat(path)
		if err == nil && !info.Mode().IsRegular() {
			err = usagef("%s is not a regular file; pipe it in, with \"-\" for the file", path)
		}
		return path, err
	}
	f, err := os.CreateTemp("", "banyan-draft-")
	if err != nil {
		return "", err
	}
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(a.stdin, record.MaxBody+1))
	if err == nil && n > record.MaxBody {
		err = fmt.Errorf("%s: %w: more than %d bytes, the limit", path, record.ErrTooLarge, record.MaxBody)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return f.Name(), err
}

// uploadProgress draws a bar, for uploads that take long enough for one.
func (a *app) uploadProgress(sent, total int64) {
	const wide, worthABar = 40, 1 << 20
	if total < worthABar {
		return
	}
	done := int(sent * wide / total)
	a.progress("upload [%s%s] %3d%% of %.1f MiB", strings.Repeat("#", done), strings.Repeat(".", wide-done), sent*100/total, float64(total)/(1<<20))
}

func newRollback(a *app) *cobra.Command {
	var (
		to uint64
		o  waitOptions
	)
	cmd := &cobra.Command{
		Use:   "rollback CONFIG",
		Short: "Move the pointers of CONFIG back to an older version",
		Long: `Move the regions' pointers of CONFIG to version --to, or to the version before the one
they run. It is a new epoch that names an old version; hosts that still have that
version on disk fetch nothing.`,
		Args: exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			target := to
			if target == 0 {
				if target, err = previous(cmd.Context(), client, args[0], o.regions); err != nil {
					return err
				}
			}
			return a.activate(cmd.Context(), client, args[0], target, o, "rolled back")
		},
	}
	cmd.Flags().Uint64Var(&to, "to", 0, "version to go back to (default the parent of the one that runs)")
	o.flags(cmd)
	return cmd
}

// previous finds the version that the running one was made from.
func previous(ctx context.Context, client *api.Client, config string, regions []string) (uint64, error) {
	pointers, err := client.Pointers(ctx, config)
	if err != nil {
		return 0, err
	}
	running := uint64(0)
	for _, p := range pointers {
		if len(regions) > 0 && p.Region != regions[0] {
			continue
		}
		if running != 0 && running != p.Baseline {
			return 0, usagef("regions run different versions of %s (%d and %d); say which to go back to with --to", config, running, p.Baseline)
		}
		running = p.Baseline
	}
	if running == 0 {
		return 0, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("%s runs nowhere: there is nothing to roll back", config)}
	}
	v, err := client.Version(ctx, config, running)
	if err != nil {
		return 0, err
	}
	if v.Parent == 0 {
		return 0, &api.Error{Code: api.CodeRejected, Message: fmt.Sprintf("%s runs version %d, which has none before it", config, running)}
	}
	return v.Parent, nil
}

// activated is what publish and rollback print.
type activated struct {
	Config  string             `json:"config"`
	Version uint64             `json:"version"`
	Regions []api.RegionStatus `json:"regions"`
}

// activate moves pointers and waits until every agent has acknowledged.
func (a *app) activate(ctx context.Context, client *api.Client, config string, version uint64, o waitOptions, done string) error {
	pointers, err := client.Activate(ctx, config, api.Activate{Version: version, Regions: o.regions})
	if err != nil {
		return err
	}
	epochs := map[string]uint64{}
	for _, p := range pointers {
		epochs[p.Region] = p.Epoch
	}
	out := activated{Config: config, Version: version}
	waited, waitErr := a.waitApplied(ctx, client, config, epochs, o.wait)
	out.Regions = waited
	if err := a.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "%s version %d %s\n", config, version, done)
		printRegions(w, waited)
	}); err != nil {
		return err
	}
	return waitErr
}

// waitApplied polls until every agent of the moved regions has applied its epoch,
// or a newer one has taken its place.
func (a *app) waitApplied(ctx context.Context, client *api.Client, config string, epochs map[string]uint64, wait time.Duration) ([]api.RegionStatus, error) {
	defer a.progressDone()
	deadline := time.Now().Add(wait)
	for {
		s, err := client.ConfigStatus(ctx, config)
		if err != nil {
			return nil, err
		}
		var regions []api.RegionStatus
		applied, agents, complete := uint64(0), 0, true
		for _, r := range s.Regions {
			epoch, moved := epochs[r.Region]
			if !moved {
				continue
			}
			regions = append(regions, r)
			applied, agents = applied+r.Applied, agents+r.Agents
			complete = complete && (r.Epoch > epoch || r.Applied >= uint64(r.Agents) && r.Failed == 0)
		}
		if complete || wait == 0 {
			return regions, nil
		}
		if time.Now().After(deadline) {
			return regions, withHint(fmt.Errorf("%w after %s: %d of %d agents have applied it", errTimedOut, wait, applied, agents),
				"the pointer is moved and agents still come; 'banyan status "+config+"' shows who fails and why")
		}
		a.progress("%d of %d agents", applied, agents)
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return regions, ctx.Err()
		}
	}
}

func printRegions(w io.Writer, regions []api.RegionStatus) {
	fmt.Fprintln(w, "REGION\tEPOCH\tVERSION\tAPPLIED\tFAILED\tP50 MS\tP99 MS\tMAX MS")
	for _, r := range regions {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d/%d\t%d\t%.1f\t%.1f\t%.1f\n", r.Region, r.Epoch, r.Version, r.Applied, r.Agents, r.Failed, r.P50Ms, r.P99Ms, r.MaxMs)
	}
	for _, r := range regions {
		for _, f := range r.Failures {
			fmt.Fprintf(w, "failed: %s: %s\n", f.Agent, f.Reason)
		}
	}
}
