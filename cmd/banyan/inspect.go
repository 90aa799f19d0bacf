package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
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
					printRegions(w, s.Regions)
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
		fmt.Fprintf(w, "coordinator %s of region %s %s, revision %d, %s\n", s.Name, s.Region, role, s.Revision, s.Version)
		fmt.Fprintln(w, "CONFIG\tREGION\tEPOCH\tVERSION\tAPPLIED\tFAILED")
		for _, c := range configs {
			for _, r := range c.Regions {
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d/%d\t%d\n",
					c.Config, r.Region, r.Epoch, r.Version, r.Applied, r.Agents, r.Failed)
			}
		}
	})
}

func newAgents(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "agents",
		Short: "List the agents of the coordinator's region, and their places in the tree",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ask := func(ctx context.Context, c *api.Client) (map[string][]api.Agent, error) {
				agents, err := c.Agents(ctx)
				return named("agents", agents, err)
			}
			return show(a, cmd, ask, func(w io.Writer, v map[string][]api.Agent) {
				fmt.Fprintln(w, "AGENT\tADDR\tPARENT\tDEPTH\tCHILDREN\tATTACHED\tSUBSCRIBES TO\tQUARANTINED\tACCUSED BY")
				for _, g := range v["agents"] {
					parent := cmp.Or(g.Parent, "(coordinator)")
					scopes := "all"
					if g.Subscriptions != nil {
						scopes = cmp.Or(strings.Join(g.Subscriptions, ","), "nothing")
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%v\t%s\t%v\t%s\n",
						g.Name, g.Addr, parent, g.Depth, g.Children, g.Attached, scopes, g.Confined, cmp.Or(g.Accuser, "-"))
				}
			})
		},
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
						v.Manifest.Version, stored, v.PublishedBy, v.BodySize, v.ContentType, v.Message)
				}
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "list at most `N` versions")
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
	m, err := bundle.Policy.VerifyManifestOf(v.Signed, config, cmp.Or(version, v.Manifest.Version))
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

func newGet(a *app) *cobra.Command {
	var (
		number uint64
		out    string
	)
	cmd := &cobra.Command{
		Use:   "get CONFIG",
		Short: "Print the body of a stored version, after checking its signature",
		Example: `  banyan get web/flags
  banyan get web/flags --version 3 --out flags.json`,
		Args: exactly("CONFIG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, bundle, err := a.client()
			if err != nil {
				return err
			}
			if out != "" {
				return atomicfile.WriteFrom(out, 0o644, func(w io.Writer) error {
					_, err := fetchVerified(cmd.Context(), client, bundle, args[0], number, w)
					return err
				})
			}
			if a.output == "json" {
				var body bytes.Buffer
				m, err := fetchVerified(cmd.Context(), client, bundle, args[0], number, &body)
				if err != nil {
					return err
				}
				return a.print(struct {
					Manifest record.Manifest `json:"manifest"`
					Body     []byte          `json:"body"`
				}{m, body.Bytes()}, nil)
			}
			return a.printVerified(func(w io.Writer) error {
				_, err := fetchVerified(cmd.Context(), client, bundle, args[0], number, w)
				return err
			})
		},
	}
	cmd.Flags().Uint64Var(&number, "version", 0, "version `N` to print (default the version stored last)")
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write instead of standard output")
	return cmd
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
	return &cobra.Command{
		Use:   "diff CONFIG [FROM [TO]]",
		Short: "Show what changed between two stored versions (default: the last two)",
		Example: `  banyan diff web/flags
  banyan diff web/flags 3 7`,
		Args: cobra.RangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, bundle, err := a.client()
			if err != nil {
				return err
			}
			from, to, err := diffRange(cmd.Context(), client, args)
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
			name := func(version uint64) string { return fmt.Sprintf("%s@%d", args[0], version) }
			diff := udiff.Unified(name(from), name(to), before.String(), after.String())
			out := map[string]any{"config": args[0], "from": from, "to": to, "diff": diff}
			return a.print(out, func(io.Writer) { io.WriteString(a.stdout, diff) })
		},
	}
}

func diffRange(ctx context.Context, client *api.Client, args []string) (from, to uint64, err error) {
	var numbers []uint64
	for _, arg := range args[1:] {
		n, err := strconv.ParseUint(arg, 10, 64)
		if err != nil || n == 0 {
			return 0, 0, usagef("a version is a number from 1 on, not %q", arg)
		}
		numbers = append(numbers, n)
	}
	if len(numbers) == 2 {
		return numbers[0], numbers[1], nil
	}
	last, err := client.Version(ctx, args[0], 0)
	if err != nil {
		return 0, 0, err
	}
	to = last.Manifest.Version
	if len(numbers) == 1 {
		return numbers[0], to, nil
	}
	if last.Parent == 0 {
		return 0, 0, &api.Error{
			Code:    api.CodeRejected,
			Message: args[0] + " has one version only: there is no other version to compare",
		}
	}
	return last.Parent, to, nil
}

func newSchema(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "schema", Short: "Check future versions of a config against a JSON Schema"})
	cmd.AddCommand(&cobra.Command{
		Use:     "set CONFIG FILE",
		Short:   "Check every future version of CONFIG against the JSON Schema in FILE",
		Example: "  banyan schema set web/flags flags.schema.json",
		Args:    exactly("CONFIG", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			schema, err := os.ReadFile(args[1])
			if err != nil {
				return err
			}
			if len(schema) == 0 {
				return &draft.Rejection{Reason: fmt.Sprintf("schema: %s is empty; use 'banyan schema remove'", args[1])}
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
