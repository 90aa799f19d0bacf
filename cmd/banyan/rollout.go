package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/internal/quantity"
	"banyan/rollout"
)

// errTakenBack is wrapped by the error of a rollout that was taken back, by a gate or by hand.
var errTakenBack = errors.New("taken back")

// watchEvery is the time between two polls of a watched rollout.
const watchEvery = 200 * time.Millisecond

// sayAfter is the time after which a command says for whom a rollout waits.
const sayAfter = 5 * time.Second

func newRollout(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "rollout",
		Short: "Start, watch, pause or undo staged rollouts",
	})
	cmd.AddCommand(newRolloutStart(a), newRolloutStatus(a), newRolloutHistory(a), newRolloutLint(a), newRolloutSchema(a),
		newRolloutRequest(a, rollout.Pause, "Pause a rollout: hosts keep what they run"),
		newRolloutRequest(a, rollout.Resume, "Resume a paused rollout"),
		newRolloutRequest(a, rollout.Promote, "Skip the rest of the current wave; --full skips all waves and gates"),
		newRolloutRequest(a, rollout.Abort, "Take a rollout back: every region runs the version before"),
		newRolloutRequest(a, rollout.Undo, "Take back a rollout that has ended"))
	return cmd
}

func newRolloutStart(a *app) *cobra.Command {
	var (
		p     planFlags
		watch bool
	)
	cmd := &cobra.Command{
		Use:   "start CONFIG [VERSION]",
		Short: "Start a rollout of a stored version (default: the version stored last)",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			version, err := versionArg(cmd.Context(), client, args)
			if err != nil {
				return err
			}
			in, err := p.request(a, version)
			if err != nil {
				return err
			}
			r, err := client.StartRollout(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			if watch {
				err := a.watchRollout(cmd.Context(), client, args[0], r.ID)
				return outOfSight(err, args[0], fmt.Sprintf("rollout %d is started", r.ID))
			}
			return a.print(r, func(w io.Writer) { a.printStarted(w, r) })
		},
	}
	p.flags(cmd)
	cmd.Flags().StringVarP(&p.message, "message", "m", "", "`TEXT` for the history: why")
	cmd.Flags().BoolVar(&watch, "watch", false, "print what happens until the rollout ends")
	return cmd
}

func versionArg(ctx context.Context, client *api.Client, args []string) (uint64, error) {
	if len(args) == 2 {
		version, err := strconv.ParseUint(args[1], 10, 64)
		if err != nil || version == 0 {
			return 0, usagef("a version is a number from 1 on, not %q", args[1])
		}
		return version, nil
	}
	v, err := client.Version(ctx, args[0], 0)
	return v.Manifest.Version, err
}

func (a *app) printStarted(w io.Writer, r api.Rollout) {
	fmt.Fprintf(w, "rollout %d of %s version %d: %s\n", r.ID, r.Config, r.Version, r.Title)
	if r.Status == rollout.Waiting {
		fmt.Fprintf(w, "waits for a second person: banyan approve %s\n", r.Config)
		return
	}
	fmt.Fprintf(w, "to watch: banyan rollout status %s --watch\n", r.Config)
}

func newRolloutStatus(a *app) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status [CONFIG]",
		Short: "Show the newest rollout of CONFIG, or of every config",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				if watch {
					return usagef("--watch needs a CONFIG")
				}
				return a.listRollouts(cmd.Context(), client, "")
			}
			if watch {
				return a.watchRollout(cmd.Context(), client, args[0], 0)
			}
			r, err := client.Rollout(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(r, func(w io.Writer) { printRollout(w, r) })
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "print what happens until the rollout ends")
	return cmd
}

func newRolloutHistory(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "history CONFIG",
		Short: "List the rollouts of CONFIG, newest first",
		Args:  exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			return a.listRollouts(cmd.Context(), client, args[0])
		},
	}
}

func (a *app) listRollouts(ctx context.Context, client *api.Client, config string) error {
	all, err := client.Rollouts(ctx, config)
	if err != nil {
		return err
	}
	return a.print(map[string]any{"rollouts": all}, func(w io.Writer) {
		heading(w, len(all), "CONFIG\tROLLOUT\tVERSION\tPLAN\tSTARTED\tBY\tSTATUS\tWHY", "no rollout was started yet")
		for _, r := range all {
			started := r.Started.UTC().Format(time.RFC3339)
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\n",
				r.Config, r.ID, r.Version, planTitle(r.Plan), started, r.By, r.Title, cmp.Or(oneLine(r.Why), "-"))
		}
	})
}

func planTitle(p rollout.Plan) string {
	switch {
	case p.Name != "":
		return p.Name
	case p.Immediate:
		return "immediate"
	}
	return quantity.Of(len(p.Waves), "wave")
}

func printRollout(w io.Writer, r api.Rollout) {
	fmt.Fprintf(w, "%s: rollout %d of version %d, by %s\n%s", r.Config, r.ID, r.Version, r.By, r.Title)
	if r.Why != "" {
		fmt.Fprintf(w, " (%s)", oneLine(r.Why))
	}
	if r.Part == rollout.Baking && r.Status == rollout.Running {
		fmt.Fprintf(w, ", %s of %s", r.Spent.Round(time.Second), time.Duration(r.Plan.Waves[r.Wave].Bake))
	}
	fmt.Fprintln(w)
	if r.Waits != "" {
		fmt.Fprintln(w, r.Waits)
	}
	if !r.Recovered.IsZero() {
		fmt.Fprintf(w, "time from the decision until the last host was back: %s\n", r.Recovered.Sub(r.Decided).Round(time.Millisecond))
	}
	if len(r.Seen) > 0 {
		fmt.Fprintln(w, "REGION\tEPOCH\tAGENTS\tIN WAVE\tAPPLIED\tRUNNING IT\tFAILED")
		for _, group := range r.Plan.Regions {
			for _, region := range group {
				if s, ok := r.Seen[region]; ok {
					fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\n",
						region, s.Epoch, s.Agents, s.InWave, s.Applied, s.Running, s.Failed)
				}
			}
		}
		for _, s := range r.Seen {
			for _, reason := range s.Reasons {
				fmt.Fprintf(w, "failed: %s\n", oneLine(reason))
			}
		}
	}
	for _, e := range r.Log {
		fmt.Fprintf(w, "%s  %s\n", e.At.Local().Format("15:04:05.000"), oneLine(e.What))
	}
}

// watchRollout prints the log of a rollout as the log grows, until the rollout ends.
func (a *app) watchRollout(ctx context.Context, client *api.Client, config string, id uint64) error {
	printed := 0
	r, err := a.followRollout(ctx, client, config, id, 0, func(r api.Rollout) {
		if a.output == "json" {
			return
		}
		for _, e := range r.Log[min(printed, len(r.Log)):] {
			fmt.Fprintf(a.stdout, "%s  %s\n", e.At.Local().Format("15:04:05.000"), oneLine(e.What))
		}
		printed = max(printed, len(r.Log))
	})
	if err != nil {
		return err
	}
	if a.output == "json" {
		if err := a.print(r, func(io.Writer) {}); err != nil {
			return err
		}
	}
	return endOf(r)
}

// endOf returns an error if a rollout was taken back or superseded; nil otherwise.
func endOf(r api.Rollout) error {
	if r.Status == rollout.Superseded {
		return &api.Error{
			Code:    api.CodeConflict,
			Message: fmt.Sprintf("rollout %d of %s version %d was superseded %s", r.ID, r.Config, r.Version, r.Why),
			Hint:    "'banyan status " + r.Config + "' shows what runs",
		}
	}
	if r.Status != rollout.RolledBack && r.Status != rollout.Aborted {
		return nil
	}
	return withHint(fmt.Errorf("rollout %d of %s version %d was %w: %s", r.ID, r.Config, r.Version, errTakenBack, r.Why),
		"every region that the rollout reached runs the version before; 'banyan rollout status "+r.Config+"' shows the log")
}

// followRollout polls a rollout until the rollout has ended, waits for a second person, or
// limit has passed (0 for no limit). id 0 stands for the newest rollout.
func (a *app) followRollout(
	ctx context.Context, client *api.Client, config string, id uint64, limit time.Duration, show func(api.Rollout),
) (api.Rollout, error) {
	defer a.progressDone()
	began := time.Now()
	deadline := began.Add(limit)
	said := false
	for {
		r, err := client.Rollout(ctx, config)
		if err != nil {
			return r, err
		}
		if id == 0 {
			id = r.ID
		}
		if r.ID != id {
			r, err = olderRollout(ctx, client, config, id)
			if err != nil {
				return r, err
			}
		}
		show(r)
		if r.Status.Over() || r.Status == rollout.Waiting {
			return r, nil
		}
		if limit > 0 && time.Now().After(deadline) {
			return r, withHint(fmt.Errorf("%w after %s: rollout %d of %s is %s", errTimedOut, rounded(limit), r.ID, config, progress(r)),
				"the rollout goes on; to watch: banyan rollout status "+config+" --watch")
		}
		if !said && r.Waits != "" && time.Since(began) > sayAfter {
			said = true
			a.say("%s", progress(r))
		}
		if limit > 0 {
			a.progress("%s", progress(r))
		}
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}

// progress describes a rollout, for whom it waits, and which hosts fail: "running: staging:
// waiting for eu-host-7, …".
func progress(r api.Rollout) string {
	text := r.Title
	if r.Waits != "" {
		text += ": " + r.Waits
	}
	var failing []string
	for _, region := range slices.Sorted(maps.Keys(r.Seen)) {
		for _, reason := range r.Seen[region].Reasons {
			if !strings.Contains(r.Waits, reason) {
				failing = append(failing, reason)
			}
		}
	}
	if len(failing) > 0 {
		text += "; failing: " + strings.Join(failing[:min(namedHosts, len(failing))], ", ")
	}
	return text
}

// olderRollout returns a rollout that is not the newest of its config any more: it has ended.
func olderRollout(ctx context.Context, client *api.Client, config string, id uint64) (api.Rollout, error) {
	all, err := client.Rollouts(ctx, config)
	if err != nil {
		return api.Rollout{}, err
	}
	for _, r := range all {
		if r.ID == id {
			return r, nil
		}
	}
	message := fmt.Sprintf("rollout %d of %s is over, and newer rollouts have pushed it out of the history", id, config)
	return api.Rollout{}, &api.Error{Code: api.CodeConflict, Message: message}
}

func newRolloutRequest(a *app, what, short string) *cobra.Command {
	var in api.RolloutRequest
	cmd := &cobra.Command{
		Use:   what + " CONFIG",
		Short: short,
		Args:  exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			r, err := client.AskRollout(cmd.Context(), args[0], what, in)
			if err != nil {
				return err
			}
			return a.print(r, func(w io.Writer) {
				fmt.Fprintf(w, "rollout %d of %s version %d: %s\n", r.ID, r.Config, r.Version, r.Title)
			})
		},
	}
	cmd.Flags().StringVarP(&in.Message, "message", "m", "", "`TEXT` for the history: why")
	cmd.Flags().Uint64Var(&in.IfRollout, "rollout", 0, "fail if the newest rollout is not number `N`")
	positive(cmd.Flags(), "rollout")
	if what == rollout.Promote {
		cmd.Flags().BoolVar(&in.Full, "full", false, "skip all later waves, gates and bake times too")
	}
	return cmd
}

func newApprove(a *app) *cobra.Command {
	cmd := newRolloutRequest(a, rollout.Approve, "Approve a rollout that needs a second person")
	cmd.Long = "Approve the rollout of CONFIG that waits for a second person. The person who started the rollout can't approve it."
	return cmd
}

func newRolloutLint(a *app) *cobra.Command {
	var offline bool
	cmd := &cobra.Command{
		Use:   "lint FILE",
		Short: "Check a plan against the fleet, and count the hosts of its waves",
		Long: `Check the plan in FILE ("-" for standard input): its syntax, and that the fleet has its
regions and labels. Count the hosts that each wave, with the waves before it, has in each region.

The counts are of the hosts that are in the tree now, for a config to which all of them subscribe. A
wave with labels and a share has "at least" a number of hosts: how many hosts with the labels are in
the share too depends on the config.`,
		Example: "  banyan rollout lint careful.yaml",
		Args:    exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.readArgument(args[0], rollout.MaxPlan)
			if err != nil {
				return err
			}
			p, err := rollout.ParsePlan(raw)
			if err != nil {
				return fmt.Errorf("%s: %w", nameOf(args[0]), err)
			}
			out := lintedPlan{Plan: p, Waves: []api.WaveCount{}}
			if !offline {
				client, _, err := a.client()
				if err != nil {
					return err
				}
				linted, err := client.LintPlan(cmd.Context(), string(raw))
				if err != nil {
					return withHint(err, "--offline checks the file without asking the coordinator")
				}
				out.Waves = linted.Waves
			}
			return a.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "%s is a valid plan: %s, %s of bake time in all\n", nameOf(args[0]), planTitle(p), p.Bakes())
				printWaves(w, out.Waves)
			})
		},
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "do not ask the coordinator about the fleet")
	return cmd
}

// lintedPlan is the output of rollout lint.
type lintedPlan struct {
	Plan rollout.Plan `json:"plan"`
	// Waves is empty if the coordinator was not asked.
	Waves []api.WaveCount `json:"waves"`
}

// printWaves prints the number of hosts in each wave, by region.
func printWaves(w io.Writer, waves []api.WaveCount) {
	if len(waves) == 0 {
		return
	}
	regions := slices.Sorted(maps.Keys(waves[0].Hosts))
	fmt.Fprintf(w, "WAVE\t%s\n", strings.ToUpper(strings.Join(regions, "\t")))
	for _, wave := range waves {
		fmt.Fprint(w, wave.Wave)
		for _, region := range regions {
			count := strconv.Itoa(wave.Hosts[region])
			if wave.AtLeast {
				count = "at least " + count
			}
			fmt.Fprintf(w, "\t%s", count)
		}
		fmt.Fprintln(w)
	}
}

func newRolloutSchema(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of plans",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.stdout, strings.TrimSpace(string(rollout.Schema())))
			return err
		},
	}
}
