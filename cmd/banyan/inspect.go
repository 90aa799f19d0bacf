package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/internal/atomicfile"
	"banyan/record"
	"banyan/transport/identity"
)

func newStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status [CONFIG]",
		Short: "Show which version each region runs, and how many hosts have it",
		Long: `Show which version each region runs, and how many of its hosts have acknowledged it. With CONFIG,
also show how long they took from the pointer's signature until the version was on disk and
shown, in milliseconds: half of the hosts took at most P50, 99% at most P99, all at most MAX. A "-"
means that no host has told yet.`,
		Example: `  banyan status
  banyan status web/flags`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				s, err := client.ConfigStatus(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.print(s, func(w io.Writer) {
					fmt.Fprintf(w, "%s, last version %d\n", s.Config, s.Last)
					printRefusal(w, s.Refusal)
					if s.Alone {
						fmt.Fprintln(w, "answered without the leader, which can't be reached: other regions are not known")
					}
					printRegions(w, s.Config, s.Regions)
				})
			}
			return a.fleetStatus(cmd.Context(), client)
		},
	}
}

func (a *app) fleetStatus(ctx context.Context, client *api.Client) error {
	s, err := client.Status(ctx)
	if err != nil {
		return err
	}
	names, err := client.Configs(ctx, "")
	if err != nil {
		return err
	}
	configs := []api.ConfigStatus{}
	for i, name := range names {
		a.progress("%d of %d configs", i, len(names))
		c, err := client.ConfigStatus(ctx, name)
		if err != nil {
			return err
		}
		configs = append(configs, c)
	}
	a.progressDone()
	out := struct {
		Coordinator api.CoordinatorStatus `json:"coordinator"`
		Configs     []api.ConfigStatus    `json:"configs"`
	}{s, configs}
	return a.print(out, func(w io.Writer) {
		role := "leads"
		if !s.Leads {
			role = "follows"
		}
		fmt.Fprintf(w, "coordinator %s of region %s %s, term %d, revision %d, %s\n",
			s.Name, s.Region, role, s.Term, s.Revision, s.Version)
		printRefusal(w, s.Refusal)
		if slices.ContainsFunc(configs, func(c api.ConfigStatus) bool { return c.Alone }) {
			fmt.Fprintln(w, "answered without the leader, which can't be reached: other regions are not known")
		}
		fmt.Fprintln(w, "CONFIG\tREGION\tEPOCH\tVERSION\tAPPLIED\tFAILED")
		for _, c := range configs {
			for _, r := range c.Regions {
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d/%d\t%d\n",
					c.Config, r.Region, r.Epoch, liveVersion(r), r.Applied, r.Hosts, r.Failed)
			}
		}
		for _, c := range configs {
			for _, r := range c.Regions {
				if line := absence(r); line != "" {
					fmt.Fprintf(w, "%s in %s: %s\n", c.Config, r.Region, line)
				}
			}
		}
	})
}

// printRefusal prints why the leader refuses writes.
func printRefusal(w io.Writer, r api.Refusal) {
	if r.Stopped != "" {
		fmt.Fprintf(w, "STOPPED WRITING: %s\n", oneLine(r.Stopped))
	}
	if r.Waiting != "" {
		fmt.Fprintf(w, "NOT WRITING YET: %s\n", oneLine(r.Waiting))
	}
}

func newHistory(a *app) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "history CONFIG",
		Short: "List the versions of CONFIG, newest first",
		Args:  exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			versions, err := client.History(cmd.Context(), args[0], limit)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"versions": versions}, func(w io.Writer) {
				fmt.Fprintln(w, "VERSION\tSTORED\tBY\tSIZE\tTYPE\tMESSAGE")
				for _, v := range versions {
					stored := v.StoredAt.UTC().Format(time.RFC3339)
					fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\t%s\n",
						v.Manifest.Version, stored, v.PublishedBy, v.BodySize, v.ContentType, oneLine(v.Message))
				}
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "list at most `N` versions")
	positive(cmd.Flags(), "limit")
	return cmd
}

// fetchVerified writes the body of a version to w, and checks the body against the
// publisher's signature: the CLI trusts the coordinator no more than an agent does. If
// fetchVerified returns an error, the written bytes must not be used.
func fetchVerified(
	ctx context.Context, client *api.Client, bundle *identity.Bundle, config string, version uint64, w io.Writer,
) (record.Manifest, error) {
	v, err := client.Version(ctx, config, version)
	if err != nil {
		return record.Manifest{}, err
	}
	want := record.VersionKey{
		Config:  config,
		Version: cmp.Or(version, v.Manifest.Version),
		Digest:  v.Manifest.Digest(),
	}
	m, err := bundle.Policy.VerifyManifestOf(v.Signed, want)
	if err != nil {
		return m, err
	}
	r, err := client.Body(ctx, config, m.Version)
	if err != nil {
		return m, err
	}
	defer r.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(r, m.BodySize+1))
	if err == nil && (n != m.BodySize || record.Digest(sum.Sum(nil)) != m.BodySHA256) {
		err = fmt.Errorf("%s version %d: %w", config, m.Version, record.ErrChecksum)
	}
	return m, err
}

// chosen are the flags that choose a version.
type chosen struct {
	number uint64
	last   bool
	region string
}

func (c *chosen) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.last, "last", false, "the version stored last, whether or not a region runs it")
	cmd.Flags().StringVar(&c.region, "region", "", "the version that `REGION` runs, if regions run different ones")
}

// version returns the number of the chosen version of config.
func (c *chosen) version(ctx context.Context, client *api.Client, config string) (uint64, error) {
	ways := 0
	for _, given := range []bool{c.number != 0, c.last, c.region != ""} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return 0, usagef("--version, --last and --region exclude each other; choose one")
	}
	switch {
	case c.number != 0:
		return c.number, nil
	case c.last:
		v, err := client.Version(ctx, config, 0)
		return v.Manifest.Version, err
	}
	return runningVersion(ctx, client, config, c.region)
}

// runningVersion returns the version that region runs, or that every region runs if region is
// empty. A region that is in the middle of a rollout counts with the version before.
func runningVersion(ctx context.Context, client *api.Client, config, region string) (uint64, error) {
	s, err := client.ConfigStatus(ctx, config)
	if err != nil {
		return 0, err
	}
	running := uint64(0)
	var each []string
	same := true
	for _, r := range s.Regions {
		if r.Version == 0 || region != "" && r.Region != region {
			continue
		}
		each = append(each, fmt.Sprintf("%s runs version %d", r.Region, r.Version))
		same = same && (running == 0 || running == r.Version)
		running = r.Version
	}
	switch {
	case running == 0:
		message := config + " runs in no region"
		if region != "" {
			message = config + " does not run in region " + region
		}
		return 0, &api.Error{
			Code:    api.CodeNotFound,
			Message: message,
			Hint:    "--last stands for the version stored last",
		}
	case !same:
		return 0, &api.Error{
			Code:    api.CodeConflict,
			Message: config + " runs in different versions: " + strings.Join(each, ", "),
			Hint:    "choose with --region or --version",
		}
	}
	return running, nil
}

func newGet(a *app) *cobra.Command {
	var (
		c   chosen
		out string
	)
	cmd := &cobra.Command{
		Use:   "get CONFIG",
		Short: "Print the body of the running version, after checking its signature",
		Example: `  banyan get web/flags
  banyan get web/flags --last
  banyan get web/flags --version 3 --out flags.json`,
		Args: exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.get(cmd.Context(), args[0], c, out) },
	}
	cmd.Flags().Uint64Var(&c.number, "version", 0, "version `N` to print (default the running version)")
	positive(cmd.Flags(), "version")
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write instead of standard output")
	c.flags(cmd)
	return cmd
}

// get prints the chosen version of config, or writes it to the file out.
func (a *app) get(ctx context.Context, config string, c chosen, out string) error {
	client, bundle, err := a.client()
	if err != nil {
		return err
	}
	number, err := c.version(ctx, client, config)
	if err != nil {
		return err
	}
	fetch := func(w io.Writer) (record.Manifest, error) {
		return fetchVerified(ctx, client, bundle, config, number, w)
	}
	switch {
	case out != "":
		return atomicfile.WriteFrom(out, 0o644, func(w io.Writer) error {
			_, err := fetch(w)
			return err
		})
	case a.output == "json":
		var body bytes.Buffer
		m, err := fetch(&body)
		if err != nil {
			return err
		}
		return a.print(struct {
			Manifest record.Manifest `json:"manifest"`
			Body     []byte          `json:"body"`
		}{m, body.Bytes()}, nil)
	}
	return a.printVerified(func(w io.Writer) error {
		_, err := fetch(w)
		return err
	})
}

// printVerified prints what write has written, after write has returned without an error.
// Until then the bytes are in a temporary file, because a body may be large.
func (a *app) printVerified(write func(io.Writer) error) error {
	f, err := os.CreateTemp("", "banyan-get-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(a.stdout, f)
	return err
}

func newDiff(a *app) *cobra.Command {
	var c chosen
	cmd := &cobra.Command{
		Use:   "diff CONFIG [FROM [TO]]",
		Short: "Show what changed between two versions (default: the running one and the one stored last)",
		Long: `Show what changed between two versions. With CONFIG alone, compare the running version with
the version stored last. With FROM, compare FROM with the running version, or with the version
stored last if --last is given.`,
		Example: `  banyan diff web/flags
  banyan diff web/flags 3
  banyan diff web/flags 3 7`,
		Args: cobra.RangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, bundle, err := a.client()
			if err != nil {
				return err
			}
			from, to, err := diffRange(cmd.Context(), client, args, c)
			if err != nil {
				return err
			}
			var before, after bytes.Buffer
			if _, err := fetchVerified(cmd.Context(), client, bundle, args[0], from, &before); err != nil {
				return err
			}
			if _, err := fetchVerified(cmd.Context(), client, bundle, args[0], to, &after); err != nil {
				return err
			}
			return a.printDiff(args[0], from, to, before.String(), after.String())
		},
	}
	c.flags(cmd)
	return cmd
}

// printDiff prints the difference between the bodies of two versions.
func (a *app) printDiff(config string, from, to uint64, before, after string) error {
	name := func(version uint64) string { return fmt.Sprintf("%s@%d", config, version) }
	diff := udiff.Unified(name(from), name(to), before, after)
	out := map[string]any{"config": config, "from": from, "to": to, "diff": diff, "identical": before == after}
	return a.print(out, func(io.Writer) {
		switch {
		case from == to:
			fmt.Fprintf(a.stdout, "identical: version %d is both\n", from)
		case before == after:
			fmt.Fprintf(a.stdout, "identical: versions %d and %d have the same content\n", from, to)
		default:
			io.WriteString(a.stdout, diff)
		}
	})
}

// diffRange returns the versions to compare.
func diffRange(ctx context.Context, client *api.Client, args []string, c chosen) (from, to uint64, err error) {
	var numbers []uint64
	for _, arg := range args[1:] {
		n, err := strconv.ParseUint(arg, 10, 64)
		if err != nil || n == 0 {
			return 0, 0, usagef("a version is a number from 1 on, not %q", arg)
		}
		numbers = append(numbers, n)
	}
	switch len(numbers) {
	case 2:
		if c.last || c.region != "" {
			return 0, 0, usagef("FROM and TO are given; leave out --last and --region")
		}
		return numbers[0], numbers[1], nil
	case 1:
		to, err = c.version(ctx, client, args[0])
		return numbers[0], to, err
	}
	if c.last {
		return 0, 0, usagef("without FROM, the version stored last is compared anyway; leave out --last")
	}
	from, err = c.version(ctx, client, args[0])
	if err != nil {
		return 0, 0, err
	}
	last, err := client.Version(ctx, args[0], 0)
	return from, last.Manifest.Version, err
}

func newSchema(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "schema", Short: "Check future versions of a config against a JSON Schema"})
	cmd.AddCommand(&cobra.Command{
		Use:     "set CONFIG FILE",
		Short:   "Check every future version of CONFIG against the JSON Schema in FILE",
		Example: "  banyan schema set web/flags flags.schema.json",
		Args:    exactly("CONFIG", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			schema, err := a.readArgument(args[1], draft.MaxSchema)
			if err != nil {
				return err
			}
			if len(schema) == 0 {
				return &draft.Rejection{Reason: fmt.Sprintf("schema: %s is empty; use 'banyan schema remove'", nameOf(args[1]))}
			}
			client, _, err := a.client()
			if err != nil {
				return err
			}
			if err := client.PutSchema(cmd.Context(), args[0], schema); err != nil {
				return err
			}
			return a.printSchema(args[0], true)
		},
	}, &cobra.Command{
		Use:   "get CONFIG",
		Short: "Print the schema of CONFIG",
		Args:  exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			schema, err := client.Schema(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if schema == nil {
				return &api.Error{Code: api.CodeNotFound, Message: args[0] + " has no schema"}
			}
			_, err = a.stdout.Write(schema)
			return err
		},
	}, &cobra.Command{
		Use:   "remove CONFIG",
		Short: "Remove the schema of CONFIG",
		Args:  exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			if err := client.PutSchema(cmd.Context(), args[0], nil); err != nil {
				return err
			}
			return a.printSchema(args[0], false)
		},
	})
	return cmd
}

func (a *app) printSchema(config string, attached bool) error {
	return a.print(map[string]any{"config": config, "schema": attached}, func(w io.Writer) {
		if attached {
			fmt.Fprintf(w, "every future version of %s is checked against the schema\n", config)
		} else {
			fmt.Fprintf(w, "%s has no schema any more\n", config)
		}
	})
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.print(map[string]string{"version": version}, func(w io.Writer) { fmt.Fprintln(w, "banyan", version) })
		},
	}
}
