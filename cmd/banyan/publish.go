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

func waitFlag(cmd *cobra.Command, wait *time.Duration) {
	cmd.Flags().DurationVar(wait, "wait", 30*time.Second,
		"`TIME` to wait until every agent has applied; 0 for not at all")
	notNegative(cmd.Flags(), "wait")
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
wait for its end.

All checks come first, and the version is stored together with the start of its rollout: after
an error nothing is stored. If the same content is live in every region already, nothing is
stored and no host reloads, unless --force is given; the command waits for the hosts all the
same. If a rollout brings the same content by another plan than the one that is asked for, the
command fails and says how to go on.

The exit code is the fate of this version: 0 every host runs it, 5 another version took over
while the command waited, 6 it was taken back, 7 not yet known when the wait ended.`,
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

// nothingStored adds to the error of a publication that nothing was stored, unless something may
// have been stored.
func nothingStored(err error) error {
	if mayBeStored(err) {
		return err
	}
	return fmt.Errorf("%w; nothing was stored", err)
}

// mayBeStored reports whether a version may have been stored although a publication failed with
// err: the answer to the last request was lost, or the coordinator failed while it stored.
func mayBeStored(err error) bool {
	lost := []error{api.ErrUnreachable, context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF}
	for _, e := range lost {
		if errors.Is(err, e) {
			return true
		}
	}
	var answer *api.Error
	if !errors.As(err, &answer) {
		return false
	}
	// A coordinator that says when to ask again has refused the request.
	return answer.Code == api.CodeInternal || answer.Code == api.CodeUnavailable && answer.Wait == 0
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
		return err
	}
	// A region that did not move is where a rollback brought it before. Its hosts may not be there.
	versions := map[string]uint64{}
	for _, region := range back.Regions {
		versions[region.Region] = region.To
	}
	out := rolledBack{RolledBack: back, Status: []api.RegionStatus{}}
	var waitErr error
	if len(versions) > 0 {
		out.Status, waitErr = a.waitApplied(ctx, client, config, awaited{versions, rollout.Gates{}, wait})
	}
	err = a.print(out, func(w io.Writer) {
		printRolledBack(w, back)
		if len(out.Status) > 0 {
			printRegions(w, out.Status)
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

// published is the output of publish.
type published struct {
	Config  string `json:"config"`
	Version uint64 `json:"version"`
	// Outcome is what had become of the version when the command ended: "unchanged" (Version
	// has the same content), "stored" (not activated), "waiting" (for a second person),
	// "started" (the rollout goes on), "ended" (the rollout has ended, and not every host has
	// acknowledged), or "live".
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
		out := published{
			Config:  config,
			Version: version,
			Outcome: outcomeOf(r),
			Rollout: &r,
			Regions: []api.RegionStatus{},
		}
		return a.print(out, func(w io.Writer) {
			fmt.Fprintf(w, "%s version %d published\n", config, version)
			a.printStarted(w, r)
		})
	}
	began := time.Now()
	r, err := a.followRollout(ctx, client, config, r.ID, p.wait, func(api.Rollout) {})
	if err != nil {
		out := published{
			Config:  config,
			Version: version,
			Outcome: outcomeOf(r),
			Rollout: &r,
			Regions: []api.RegionStatus{},
		}
		return errors.Join(a.print(out, func(w io.Writer) { printRollout(w, r) }), err)
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
	regions, waitErr := a.waitApplied(ctx, client, out.Config, w)
	if fate := a.fateOf(ctx, client, out.Config, out.Version, regions); fate != nil {
		return fate
	}
	out.Regions = regions
	if waitErr != nil && out.Outcome == "live" {
		out.Outcome = "ended"
	}
	err := a.print(out, func(w io.Writer) {
		headline(w)
		printRegions(w, regions)
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

// awaited is what waitApplied waits for.
type awaited struct {
	versions map[string]uint64 // that must be live, by region
	gates    rollout.Gates     // say how many hosts need not be heard of
	wait     time.Duration     // maximum time; 0 for one look
}

// settled reports whether a region has done what is awaited: every agent in its tree has applied
// the pointer, and enough of its hosts are in the tree; or another version has replaced the awaited.
func (w awaited) settled(r api.RegionStatus) bool {
	if w.replaced(r) {
		return true
	}
	heard := !r.Unreachable && r.Unheard <= w.gates.Tolerated(r.Hosts)
	return heard && r.Applied >= uint64(r.Agents) && r.Failed == 0
}

// replaced reports whether another version than the awaited one is live in a region.
func (w awaited) replaced(r api.RegionStatus) bool { return r.Version != w.versions[r.Region] }

// waitApplied polls until every region has settled. It returns an error if no host has applied
// anything.
func (a *app) waitApplied(
	ctx context.Context, client *api.Client, config string, w awaited,
) ([]api.RegionStatus, error) {
	defer a.progressDone()
	deadline := time.Now().Add(w.wait)
	for {
		s, err := client.ConfigStatus(ctx, config)
		if err != nil {
			return nil, err
		}
		var regions []api.RegionStatus
		var applied uint64
		hosts := 0
		complete := true
		for _, r := range s.Regions {
			if _, waits := w.versions[r.Region]; !waits {
				continue
			}
			regions = append(regions, r)
			applied += r.Applied
			hosts += r.Hosts
			complete = complete && w.settled(r)
		}
		switch {
		case w.wait == 0:
			return regions, nil
		case complete && applied == 0 && len(regions) > 0 && !slices.ContainsFunc(regions, w.replaced):
			return regions, nobody(config, hosts)
		case complete:
			return regions, nil
		case time.Now().After(deadline):
			err := fmt.Errorf("%w: %d of %d hosts have applied %s after %s%s",
				errTimedOut, applied, hosts, config, rounded(w.wait), missing(regions))
			return regions, withHint(err, "hosts go on applying; 'banyan status "+config+"' shows which fail, and why")
		}
		a.progress("%d of %d hosts%s", applied, hosts, missing(regions))
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return regions, ctx.Err()
		}
	}
}

// nobody returns the error of a pointer that moved and that no host follows.
func nobody(config string, hosts int) error {
	err := fmt.Errorf("%w: no host is known to run what the pointer of %s says", errNobody, config)
	if hosts == 0 {
		return withHint(err, "no host that subscribes to it has ever attached; hosts take it up when they do")
	}
	return withHint(err, "hosts take it up when they are back; 'banyan agents --all' shows who is missing")
}

// absence describes the hosts of a region that nobody hears of; "" if there are none.
func absence(r api.RegionStatus) string {
	switch {
	case r.Unreachable && r.HeardAt.IsZero():
		return fmt.Sprintf("UNREACHABLE, no coordinator heard of: nothing is known of its %d hosts", r.Hosts)
	case r.Unreachable:
		return fmt.Sprintf("UNREACHABLE since %s: nothing is known of its %d hosts", clock(r.HeardAt), r.Hosts)
	case r.Unheard == 0:
		return ""
	}
	var names []string
	for _, h := range r.Absent {
		since := "ever"
		if !h.HeardAt.IsZero() {
			since = "since " + clock(h.HeardAt)
		}
		names = append(names, h.Name+" "+since)
	}
	text := fmt.Sprintf("%d of %d applied, %d not heard of", r.Applied, r.Hosts, r.Unheard)
	if more := r.Unheard - len(names); len(names) > 0 && more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	if len(names) > 0 {
		text += " (" + strings.Join(names, ", ") + ")"
	}
	return text
}

// clock formats a time in local time, with the date if it is not today.
func clock(at time.Time) string {
	at = at.Local()
	if at.Format(time.DateOnly) == time.Now().Format(time.DateOnly) {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}

func printRegions(w io.Writer, regions []api.RegionStatus) {
	fmt.Fprintln(w, "REGION\tEPOCH\tVERSION\tAPPLIED\tFAILED\tP50 MS\tP99 MS\tMAX MS")
	for _, r := range regions {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d/%d\t%d\t%.1f\t%.1f\t%.1f\n",
			r.Region, r.Epoch, r.Version, r.Applied, r.Hosts, r.Failed, r.P50Ms, r.P99Ms, r.MaxMs)
	}
	for _, r := range regions {
		if line := absence(r); line != "" {
			fmt.Fprintf(w, "%s: %s\n", r.Region, line)
		}
		for _, line := range []string{duplicates(r), unanswered(r)} {
			if line != "" {
				fmt.Fprintf(w, "%s: %s\n", r.Region, line)
			}
		}
		if r.Candidate != 0 {
			fmt.Fprintf(w, "%s: version %d is on its way (%s), %d hosts run it\n", r.Region, r.Candidate, r.Wave, r.Running)
		}
		for _, f := range r.Failures {
			outcome := "failed"
			if f.Delayed {
				outcome = "delayed"
			}
			fmt.Fprintf(w, "%s: %s: %s\n", outcome, oneLine(f.Agent), oneLine(f.Reason))
		}
	}
}
