package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/record"
	"banyan/rollout"
)

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
wait for its end.

All checks come first, and the version is stored together with the start of its rollout: after
an error nothing is stored. If the same content is live in every region already, nothing is
stored and no host reloads, unless --force is given; the command waits for the hosts all the
same. If a rollout brings the same content by another plan than the one that is asked for, the
command fails and says how to go on.

The exit code is the fate of this version: 0 every host runs it, 5 another version took over
while the command waited, 6 it was taken back, 7 not yet known when the wait ended, or when the
coordinator stopped to answer.`,
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
	f.StringVar(&p.draft.ContentType, "type", "",
		"content `TYPE` (default by the file's name, else that of the newest version, else by the config's name, else by the content)")
	f.Uint64Var(&p.draft.Parent, "parent", 0, "fail if the newest version is not `N`")
	positive(f, "parent")
	f.BoolVar(&p.noActivate, "no-activate", false, "store the version only; no host runs it")
	f.BoolVar(&p.draft.Force, "force", false, "store and roll out a version even if its content is unchanged")
	p.plan.flags(cmd)
	waitFlag(cmd, &p.wait)
	return cmd
}

// publish stores file, "-" for standard input, as the next version of config, and rolls it out.
func (a *app) publish(ctx context.Context, config, file string, p publication) error {
	if err := record.ValidateConfig(config); err != nil {
		return err
	}
	request, err := p.plan.request(a, 0)
	if err != nil {
		return err
	}
	if p.noActivate && p.plan.given() {
		return usagef("--no-activate starts no rollout; leave out the flags of a plan")
	}
	if file == "-" && p.plan.file == "-" {
		return usagef("standard input can't be both the body and the plan")
	}
	p.draft.Config = config
	if p.draft.ContentType == "" && draft.TypeOf(file) != draft.TypeAny {
		p.draft.ContentType = draft.TypeOf(file)
	}
	p.draft.File, err = a.draftFile(file)
	if err != nil {
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
	var start *api.StartRollout
	if !p.noActivate {
		start = &request
		start.Message = p.draft.Message
	}
	stored, err := client.PublishAndStart(ctx, p.draft, start, key)
	a.progressDone()
	if err != nil {
		return nothingStored(p.explain(err))
	}
	switch {
	case stored.Rollout != nil:
		return a.goLive(ctx, client, stored, p)
	case stored.Unchanged && len(stored.Live) > 0 && p.wait > 0:
		return a.stayLive(ctx, client, stored, p.wait)
	}
	out := published{Config: config, Version: stored.Manifest.Version, Outcome: "stored", Regions: []api.RegionStatus{}}
	if stored.Unchanged {
		out.Outcome = "unchanged"
	}
	return a.print(out, func(w io.Writer) { printStored(w, stored) })
}

// explain adds a hint to the rejection of a draft whose content type was not given.
func (p publication) explain(err error) error {
	var rejection *draft.Rejection
	if p.draft.ContentType != "" || !errors.As(err, &rejection) {
		return err
	}
	return withHint(err, "--type sets another content type")
}

// nothingChanged adds to the error of a rollback or a deletion that no pointer moved, unless one
// may have moved. Then it says what to do.
func nothingChanged(err error, config string) error {
	if errors.Is(err, api.ErrUnsure) {
		return withHint(err, "say it again: what is done already is not done twice; 'banyan log "+config+"' lists what was done")
	}
	return fmt.Errorf("%w; nothing was changed", err)
}

// nothingStored adds to the error of a publication that nothing was stored, unless something may
// have been stored.
func nothingStored(err error) error {
	if errors.Is(err, api.ErrUnsure) {
		return err
	}
	return fmt.Errorf("%w; nothing was stored", err)
}

// printStored prints the outcome of a publication without a rollout.
func printStored(w io.Writer, p api.Published) {
	number := p.Manifest.Version
	if p.Unchanged {
		fmt.Fprintf(w, "%s unchanged: version %d has the same content; --force stores it again\n", p.Config, number)
		return
	}
	fmt.Fprintf(w, "%s version %d stored, not activated\n", p.Config, number)
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

// published is the output of publish.
type published struct {
	Config  string `json:"config"`
	Version uint64 `json:"version"`
	// Outcome is what had become of the version when the command ended: "unchanged" (Version
	// has the same content), "stored" (not activated), "waiting" (for a second person),
	// "started" (the rollout goes on), "ended" (the rollout has ended, and not every host has
	// acknowledged), "unknown" (the coordinator stopped to answer), or "live".
	Outcome string `json:"outcome"`
	// Rollout is the rollout of the version, if there is one.
	Rollout *api.Rollout `json:"rollout"`
	// Regions is the progress of the regions that the rollout reached.
	Regions []api.RegionStatus `json:"regions"`
}

// outcomeOf returns the outcome of a publication whose rollout was not followed to its end.
func outcomeOf(r api.Rollout) string {
	if r.Status == rollout.Waiting {
		return "waiting"
	}
	return "started"
}

// goLive follows the rollout of a publication until it has ended and every agent has
// acknowledged. A rollout that bakes is followed only if the wait was given. A rollout that
// waits for a second person is not followed.
func (a *app) goLive(ctx context.Context, client *api.Client, stored api.Published, p publication) error {
	config := stored.Config
	version := stored.Manifest.Version
	r := *stored.Rollout
	if stored.Unchanged {
		a.say("%s unchanged: rollout %d of version %d brings the same content", config, r.ID, version)
	}
	if r.Status == rollout.Waiting || p.wait == 0 || r.Plan.Bakes() > 0 && !p.waitGiven {
		return a.print(unfinished(stored, r, outcomeOf(r)), func(w io.Writer) {
			fmt.Fprintf(w, "%s version %d published\n", config, version)
			a.printStarted(w, r)
		})
	}
	began := time.Now()
	_, err := a.followRollout(ctx, client, config, r.ID, p.wait, func(now api.Rollout) { r = now })
	err = outOfSight(err, config, fmt.Sprintf("version %d is stored", version))
	if errors.Is(err, errUnknown) {
		printErr := a.print(unfinished(stored, r, "unknown"), func(w io.Writer) {
			fmt.Fprintf(w, "%s version %d published; its rollout was last heard of as %s\n", config, version, r.Title)
		})
		return errors.Join(printErr, err)
	}
	if err != nil {
		printErr := a.print(unfinished(stored, r, outcomeOf(r)), func(w io.Writer) { printRollout(w, r) })
		return errors.Join(printErr, err)
	}
	if err := endOf(r); err != nil {
		return err
	}
	versions := map[string]uint64{}
	for region := range r.Regions {
		versions[region] = version
	}
	out := published{Config: config, Version: version, Outcome: "live", Rollout: &r}
	rest := max(p.wait-time.Since(began), time.Second)
	return a.awaitHosts(ctx, client, out, awaited{versions, lastGates(r), rest}, func(w io.Writer) {
		fmt.Fprintf(w, "%s version %d published\n", config, version)
	})
}

// unfinished returns the output of a publication whose rollout r was not followed to its end.
func unfinished(stored api.Published, r api.Rollout, outcome string) published {
	return published{
		Config:  stored.Config,
		Version: stored.Manifest.Version,
		Outcome: outcome,
		Rollout: &r,
		Regions: []api.RegionStatus{},
	}
}

// stayLive waits until the hosts run a version that was live before it was published again: its
// pointers say so, and hosts may be away or behind.
func (a *app) stayLive(ctx context.Context, client *api.Client, stored api.Published, wait time.Duration) error {
	r, err := client.Rollout(ctx, stored.Config)
	if err != nil && !api.IsCode(err, api.CodeNotFound) {
		return err
	}
	var gates rollout.Gates
	if r.Version == stored.Manifest.Version {
		gates = lastGates(r)
	}
	versions := map[string]uint64{}
	for _, region := range stored.Live {
		versions[region] = stored.Manifest.Version
	}
	out := published{Config: stored.Config, Version: stored.Manifest.Version, Outcome: "unchanged"}
	return a.awaitHosts(ctx, client, out, awaited{versions, gates, wait}, func(w io.Writer) {
		printStored(w, stored)
	})
}

// lastGates returns the gates of the last wave of a rollout.
func lastGates(r api.Rollout) rollout.Gates {
	if n := len(r.Plan.Waves); n > 0 {
		return *r.Plan.Waves[n-1].Gates
	}
	return r.Plan.Gates
}

// awaitHosts waits until the hosts run the version of out, and prints out below a headline. The
// error is the fate of the version.
func (a *app) awaitHosts(
	ctx context.Context, client *api.Client, out published, w awaited, headline func(io.Writer),
) error {
	done := fmt.Sprintf("version %d is stored", out.Version)
	regions, waitErr := a.waitApplied(ctx, client, out.Config, w)
	if fate := a.fateOf(ctx, client, out.Config, out.Version, regions); fate != nil {
		return outOfSight(fate, out.Config, done)
	}
	waitErr = outOfSight(waitErr, out.Config, done)
	out.Regions = append([]api.RegionStatus{}, regions...)
	switch {
	case errors.Is(waitErr, errUnknown):
		out.Outcome = "unknown"
	case waitErr != nil && out.Outcome == "live":
		out.Outcome = "ended"
	}
	err := a.print(out, func(w io.Writer) {
		headline(w)
		if len(regions) > 0 {
			printRegions(w, out.Config, regions)
		}
	})
	if err != nil {
		return err
	}
	return waitErr
}

// fateOf returns an error if a region no longer runs a version that its rollout brought: the
// version was taken back, or another version took over.
func (a *app) fateOf(
	ctx context.Context, client *api.Client, config string, version uint64, regions []api.RegionStatus,
) error {
	left := slices.ContainsFunc(regions, func(r api.RegionStatus) bool { return r.Version != version })
	if !left {
		return nil
	}
	all, err := client.Activations(ctx, config)
	if err != nil {
		return err
	}
	var replaced error
	for _, r := range regions {
		for _, e := range slices.Backward(all.Regions[r.Region]) {
			if e.Version != version {
				continue
			}
			fate := fmt.Sprintf("version %d of %s was %s in region %s", version, config, e.Text, r.Region)
			if e.EndedWhy != "" {
				fate += ": " + e.EndedWhy
			}
			switch e.Outcome {
			case "taken_back", "rolled_back":
				return fmt.Errorf("%w: %s", errTakenBack, fate)
			case "replaced":
				replaced = &api.Error{Code: api.CodeConflict, Message: fate}
			}
			break
		}
	}
	return replaced
}
