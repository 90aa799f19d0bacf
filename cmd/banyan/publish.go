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
	"banyan/rollout"
)

func waitFlag(cmd *cobra.Command, wait *time.Duration) {
	cmd.Flags().DurationVar(wait, "wait", 30*time.Second,
		"`TIME` to wait until every agent has applied; 0 for not at all")
}

// A publication is what the flags of banyan publish say.
type publication struct {
	draft      api.Draft
	plan       planFlags
	wait       time.Duration
	waitGiven  bool
	noActivate bool
}

func newPublish(a *app) *cobra.Command {
	var p publication
	cmd := &cobra.Command{
		Use:   "publish CONFIG FILE",
		Short: "Validate, sign and store a new version, and roll it out",
		Long: `Validate FILE ("-" for standard input) as the next version of CONFIG, sign it with the
publisher key, store it, and roll it out.

The rollout follows a plan: --plan, --plan-name, or the default plan of the config's
prefix. Without a plan, the version is staged in all regions and then activated in all
regions at once. A rollout with a bake time goes on by itself; --wait says how long to
wait for its end.`,
		Example: `  banyan publish web/flags flags.json -m "enable dark mode"
  banyan publish edge/proxy proxy.conf --plan careful.yaml
  banyan publish edge/proxy proxy.conf --wave canary=true:5m --wave 10%:10m --wave 100%
  generate | banyan publish web/flags - --type application/json`,
		Args: exactly("CONFIG", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.waitGiven = cmd.Flags().Changed("wait")
			return a.publish(cmd.Context(), args[0], args[1], p)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&p.draft.Message, "message", "m", "", "`TEXT` for the history: why")
	f.StringVar(&p.draft.ContentType, "type", "", "content `TYPE` (default by the file's name)")
	f.Uint64Var(&p.draft.Parent, "parent", 0, "fail if the newest version is not `N`")
	f.BoolVar(&p.noActivate, "no-activate", false, "store the version only; no host runs it")
	p.plan.flags(cmd)
	waitFlag(cmd, &p.wait)
	return cmd
}

// publish stores file, "-" for standard input, as the next version of config, and rolls it out.
func (a *app) publish(ctx context.Context, config, file string, p publication) (err error) {
	if err := record.ValidateConfig(config); err != nil {
		return err
	}
	if _, err := p.plan.request(0); err != nil {
		return err // a wrong flag is found before anything is stored
	}
	p.draft.Config = config
	if p.draft.ContentType == "" {
		p.draft.ContentType = draft.TypeOf(file)
	}
	if p.draft.File, err = a.draftFile(file); err != nil {
		return err
	}
	if file == "-" {
		defer os.Remove(p.draft.File)
	}
	key, err := a.publisherKey()
	if err != nil {
		return err
	}
	client, bundle, err := a.client()
	if err != nil {
		return err
	}
	if !bundle.Policy.MayPublish(key.ID, config) {
		return fmt.Errorf("publisher key %s: %w: the trust policy does not allow this key to sign for %s",
			key.ID, record.ErrScope, config)
	}
	p.draft.Progress = a.uploadProgress
	stored, err := client.Publish(ctx, p.draft, key)
	a.progressDone()
	if err != nil {
		return err
	}
	number := stored.Manifest.Version
	if p.noActivate {
		return a.print(stored, func(w io.Writer) {
			fmt.Fprintf(w, "%s version %d stored, not activated\n", config, number)
		})
	}
	p.plan.message = p.draft.Message
	return a.goLive(ctx, client, config, number, p.plan, p.wait, p.waitGiven)
}

// draftFile returns the file of a draft. Standard input is copied into a temporary file.
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

// uploadProgress draws a bar for uploads of at least 1 MiB.
func (a *app) uploadProgress(sent, total int64) {
	const wide, worthABar = 40, 1 << 20
	if total < worthABar {
		return
	}
	done := int(sent * wide / total)
	bar := strings.Repeat("#", done) + strings.Repeat(".", wide-done)
	a.progress("upload [%s] %3d%% of %.1f MiB", bar, sent*100/total, float64(total)/(1<<20))
}

func newRollback(a *app) *cobra.Command {
	var (
		in   api.Rollback
		wait time.Duration
	)
	cmd := &cobra.Command{
		Use:   "rollback CONFIG",
		Short: "Return CONFIG to an older version, on all hosts at once",
		Long: `Return CONFIG to the version before the running one, or to version --to, on all hosts at
once. A rollout under way is taken back. A rollback is a new epoch that names an old
version: hosts that have that version on disk fetch nothing.`,
		Example: `  banyan rollback web/flags -m "checkout is broken"
  banyan rollback web/flags --to 7 --region eu`,
		Args: exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			pointers, err := client.Rollback(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			out, epochs := activated{Config: args[0]}, map[string]uint64{}
			for _, p := range pointers {
				epochs[p.Region], out.Version = p.Epoch, p.Baseline
			}
			return a.settled(cmd.Context(), client, out, epochs, wait, "rolled back")
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&in.To, "to", 0, "version `N` to return to (default the version before the running one)")
	f.StringSliceVar(&in.Regions, "region", nil, "`REGION` to roll back; may be repeated (default all)")
	f.StringVarP(&in.Message, "message", "m", "", "`TEXT` for the history: why")
	waitFlag(cmd, &wait)
	return cmd
}

// activated is the output of publish and rollback.
type activated struct {
	Config  string             `json:"config"`
	Version uint64             `json:"version"`
	Rollout uint64             `json:"rollout,omitempty"`
	Regions []api.RegionStatus `json:"regions"`
}

// goLive starts a rollout and follows it until it has ended and every agent has
// acknowledged. A rollout that bakes is followed only if insist is set. A rollout that waits
// for a second person is not followed.
func (a *app) goLive(
	ctx context.Context, client *api.Client, config string, version uint64, p planFlags, wait time.Duration, insist bool,
) error {
	in, err := p.request(version)
	if err != nil {
		return err
	}
	r, err := client.StartRollout(ctx, config, in)
	if err != nil {
		return fmt.Errorf("version %d of %s is stored, but not rolled out: %w", version, config, err)
	}
	if r.Status == rollout.Waiting || wait == 0 || r.Plan.Bakes() > 0 && !insist {
		return a.print(r, func(w io.Writer) {
			fmt.Fprintf(w, "%s version %d published\n", config, version)
			a.printStarted(w, r)
		})
	}
	began := time.Now()
	r, err = a.followRollout(ctx, client, config, r.ID, wait, func(api.Rollout) {})
	if err != nil {
		a.print(r, func(w io.Writer) { printRollout(w, r) })
		return err
	}
	if err := endOf(r); err != nil {
		return err
	}
	epochs := map[string]uint64{}
	for region, s := range r.Regions {
		epochs[region] = s.Epoch
	}
	out := activated{Config: config, Version: version, Rollout: r.ID}
	rest := max(wait-time.Since(began), time.Second)
	return a.settled(ctx, client, out, epochs, rest, "published")
}

// settled waits until every agent has applied the pointers, and prints the result.
func (a *app) settled(
	ctx context.Context, client *api.Client, out activated, epochs map[string]uint64, wait time.Duration, done string,
) error {
	regions, waitErr := a.waitApplied(ctx, client, out.Config, epochs, wait)
	out.Regions = regions
	if err := a.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "%s version %d %s\n", out.Config, out.Version, done)
		printRegions(w, regions)
	}); err != nil {
		return err
	}
	return waitErr
}

// waitApplied polls until every agent of the regions in epochs has applied the epoch of its
// region, or a newer epoch has replaced it.
func (a *app) waitApplied(
	ctx context.Context, client *api.Client, config string, epochs map[string]uint64, wait time.Duration,
) ([]api.RegionStatus, error) {
	defer a.progressDone()
	deadline := time.Now().Add(wait)
	for {
		s, err := client.ConfigStatus(ctx, config)
		if err != nil {
			return nil, err
		}
		var regions []api.RegionStatus
		var applied uint64
		agents := 0
		complete := true
		for _, r := range s.Regions {
			epoch, moved := epochs[r.Region]
			if !moved {
				continue
			}
			regions = append(regions, r)
			applied += r.Applied
			agents += r.Agents
			settled := r.Epoch > epoch || r.Applied >= uint64(r.Agents) && r.Failed == 0
			complete = complete && settled
		}
		if complete || wait == 0 {
			return regions, nil
		}
		if time.Now().After(deadline) {
			err := fmt.Errorf("%w: %d of %d hosts have applied %s after %s",
				errTimedOut, applied, agents, config, wait.Round(time.Millisecond))
			return regions, withHint(err, "hosts go on applying; 'banyan status "+config+"' shows which fail, and why")
		}
		a.progress("%d of %d hosts", applied, agents)
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
		fmt.Fprintf(w, "%s\t%d\t%d\t%d/%d\t%d\t%.1f\t%.1f\t%.1f\n",
			r.Region, r.Epoch, r.Version, r.Applied, r.Agents, r.Failed, r.P50Ms, r.P99Ms, r.MaxMs)
	}
	for _, r := range regions {
		if r.Candidate != 0 {
			fmt.Fprintf(w, "%s: version %d is on its way (%s), %d hosts run it\n", r.Region, r.Candidate, r.Wave, r.Running)
		}
		for _, f := range r.Failures {
			fmt.Fprintf(w, "failed: %s: %s\n", f.Agent, f.Reason)
		}
	}
}
