package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"banyan/coordinator/api"
	"banyan/record"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// app holds what every command needs.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// openStore opens the version store of a coordinator; nil means the embedded store.
	openStore func(ctx context.Context, dir string, reserve int64) (versionstore.Store, error)

	// Values of the global flags.
	configFile  string
	output      string
	home        string
	identityDir string
	keyFile     string
	coordinator string
	logLevel    string
	logFormat   string
}

// run runs a command line and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return (&app{stdin: stdin, stdout: stdout, stderr: stderr}).run(ctx, args)
}

// run runs a command line and returns its exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		return report(a.stderr, err, a.output == "json")
	}
	return exitDone
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "banyan",
		Short: "Deliver configuration to every host of a fleet within seconds, and take it back faster",
		Long: `Banyan delivers configuration to every host of a fleet within seconds, and takes it
back faster than it was delivered.

A setting is taken from its flag, else from the environment (BANYAN_ and the flag's name
in capitals, with '_' for '-'), else from a YAML file whose keys are flag names
(--config, or banyan.yaml in the current directory).

Exit codes: 0 done, 1 failed, 2 usage, 3 rejected by validation or policy,
4 unreachable, 5 conflict, 6 gate failed or rolled back, 7 timed out, 130 interrupted.
For a command that waits for a version, the code is the fate of that version: 5 another
version took over, 6 the version was taken back, 7 not known when the wait ended.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.applySettings(cmd); err != nil {
				return err
			}
			if a.output != "text" && a.output != "json" {
				return usagef("--output is %q; use text or json", a.output)
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagError(err) })
	f := root.PersistentFlags()
	f.StringVar(&a.configFile, "config", "", "settings `FILE`, YAML (default banyan.yaml, if it exists)")
	f.StringVarP(&a.output, "output", "o", "text", "output `FORMAT`: text or json")
	f.StringVar(&a.home, "home", "banyan-home", "`DIR` that 'banyan init' created")
	f.StringVar(&a.identityDir, "identity", "",
		"`DIR` of the identity bundle to run or connect with (default HOME/client)")
	f.StringVar(&a.keyFile, "key", "",
		"`FILE` of the publisher key to sign with (default the only key in HOME/publishers)")
	f.StringVar(&a.coordinator, "coordinator", "127.0.0.1:7401",
		"`ADDR` of a coordinator's control API, host:port")
	f.StringVar(&a.logLevel, "log-level", "info", "least `LEVEL` to log: debug, info, warn or error")
	f.StringVar(&a.logFormat, "log-format", "text", "`FORMAT` of the log: text or json")

	for _, g := range commandGroups(a) {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title + ":"})
		for _, c := range g.commands {
			c.GroupID = g.title
			root.AddCommand(c)
		}
	}
	root.AddCommand(newVersion(a), newHelpFlags())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			parent(c)
		case "help":
			c.Args = knownTopic
		}
	}
	for _, c := range all(root) {
		placeholders(c)
	}
	root.SetUsageTemplate(usageTemplate(root.UsageTemplate()))
	return root
}

// commandGroup is a group of commands in the help.
type commandGroup struct {
	title    string
	commands []*cobra.Command
}

// commandGroups lists the commands as the help shows them.
func commandGroups(a *app) []commandGroup {
	return []commandGroup{
		{"Configs", []*cobra.Command{newPublish(a), newGet(a), newDiff(a), newHistory(a), newSchema(a), newDelete(a)}},
		{"Going live", []*cobra.Command{
			newRollout(a), newRollback(a), newPlan(a), newApprove(a), newFreeze(a), newLock(a), newUnlock(a),
			newPolicy(a),
		}},
		{"Looking", []*cobra.Command{newStatus(a), newAgents(a), newLog(a), newDrift(a), newQuarantine(a), newShards(a)}},
		{"Fleet", []*cobra.Command{newInit(a), newCert(a)}},
		{"Daemons", []*cobra.Command{newAgent(a), newCoordinator(a), newStore(a)}},
		{"Trying out", []*cobra.Command{newDev(a), newDemo(a), newSimulate(a), newBench(a)}},
	}
}

// usageTemplate replaces the list of global flags, which is the same for every command,
// by one line.
func usageTemplate(template string) string {
	const begin, end = "{{if .HasAvailableInheritedFlags}}", "{{end}}{{if .HasHelpSubCommands}}"
	from := strings.Index(template, begin)
	to := strings.Index(template, end)
	if from < 0 || to < from {
		return template
	}
	const line = "\n\nGlobal flags: run 'banyan help flags'."
	return template[:from] + begin + line + template[to:]
}

// newHelpFlags is the help topic that lists the global flags.
func newHelpFlags() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "flags",
		Short: "The flags that every command has",
		Long:  "The flags that every command has:",
	}
	cmd.SetHelpFunc(func(c *cobra.Command, _ []string) {
		fmt.Fprintf(c.OutOrStdout(), "%s\n\n%s", c.Long, c.Root().PersistentFlags().FlagUsages())
	})
	return cmd
}

// applySettings sets the flags that were not given, from the environment, else from the
// settings file.
func (a *app) applySettings(cmd *cobra.Command) error {
	if path, ok := os.LookupEnv("BANYAN_CONFIG"); ok && !cmd.Flags().Changed("config") {
		a.configFile = path
	}
	settings, err := readSettings(a.configFile)
	if err != nil {
		return err
	}
	for key := range settings {
		if !knownFlag(cmd.Root(), key) {
			return usagef("settings file: unknown setting %q", key)
		}
	}
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || failed != nil || f.Name == "config" || f.Name == "help" {
			return
		}
		name := "BANYAN_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value, ok := os.LookupEnv(name); ok {
			if err := f.Value.Set(value); err != nil {
				failed = usagef("environment %s: %s", name, err)
			}
			f.Changed = true
			return
		}
		value, ok := settings[f.Name]
		if !ok {
			return
		}
		for _, v := range settingValues(value) {
			if err := f.Value.Set(v); err != nil {
				failed = usagef("settings file: %s: %s", f.Name, err)
			}
		}
		f.Changed = true
	})
	return failed
}

func readSettings(path string) (map[string]any, error) {
	optional := path == ""
	if optional {
		path = "banyan.yaml"
	}
	raw, err := os.ReadFile(path)
	if os.IsNotExist(err) && optional {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("settings file: %w", err)
	}
	var settings map[string]any
	if err := yaml.Unmarshal(raw, &settings); err != nil {
		return nil, usagef("settings file %s: %s", path, err)
	}
	return settings, nil
}

func settingValues(v any) []string {
	switch v := v.(type) {
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, fmt.Sprint(e))
		}
		return out
	case map[string]any:
		var out []string
		for k, e := range v {
			out = append(out, fmt.Sprintf("%s=%v", k, e))
		}
		return out
	}
	return []string{fmt.Sprint(v)}
}

func knownFlag(root *cobra.Command, name string) bool {
	if root.Flags().Lookup(name) != nil || root.PersistentFlags().Lookup(name) != nil {
		return true
	}
	for _, c := range root.Commands() {
		if knownFlag(c, name) {
			return true
		}
	}
	return false
}

// logger returns the logger of long-running commands.
func (a *app) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return nil, usagef("--log-level is %q; use debug, info, warn or error", a.logLevel)
	}
	o := &slog.HandlerOptions{Level: level}
	switch a.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(a.stderr, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(a.stderr, o)), nil
	}
	return nil, usagef("--log-format is %q; use text or json", a.logFormat)
}

// client returns a client of the control API.
func (a *app) client() (*api.Client, *identity.Bundle, error) {
	dir := a.identityDir
	if dir == "" {
		dir = (&identity.Home{Dir: a.home}).ClientDir()
	}
	bundle, err := identity.Load(dir)
	if err != nil {
		return nil, nil, withHint(err, "name the fleet's directory with --home, or a client's bundle with --identity; 'banyan init' creates both")
	}
	client := api.NewClient(a.coordinator, bundle)
	var said sync.Once
	client.Waiting = func(why *api.Error) {
		said.Do(func() { a.say("waiting: %s", why.Message) })
	}
	return client, bundle, nil
}

// readArgument reads the file that an argument names, "-" for standard input, of at most limit
// bytes.
func (a *app) readArgument(path string, limit int64) ([]byte, error) {
	r := a.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s: %w: more than %d bytes, the limit", nameOf(path), record.ErrTooLarge, limit)
	}
	return raw, err
}

// nameOf returns the name of a file in messages.
func nameOf(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}

// publisherKey loads the key to sign versions with.
func (a *app) publisherKey() (record.Key, error) {
	path := a.keyFile
	if path == "" {
		found, err := filepath.Glob((&identity.Home{Dir: a.home}).PublisherKey("*"))
		if err != nil {
			return record.Key{}, err
		}
		if len(found) != 1 {
			dir := filepath.Join(a.home, "publishers")
			return record.Key{}, usagef("there are %d publisher keys in %s; choose one with --key", len(found), dir)
		}
		path = found[0]
	}
	key, err := record.LoadKey(path)
	if err != nil {
		return key, withHint(fmt.Errorf("publisher key: %w", err), "name the file of the key with --key")
	}
	return key, nil
}

// progress shows a line that replaces the line before, on a terminal only.
func (a *app) progress(format string, args ...any) {
	if a.onTerminal() {
		fmt.Fprintf(a.stderr, "\r\x1b[K%s", oneLine(fmt.Sprintf(format, args...)))
	}
}

// say prints a line about what happens, unless the output is for programs.
func (a *app) say(format string, args ...any) {
	if a.output == "text" {
		fmt.Fprintln(a.stderr, visible(fmt.Sprintf(format, args...)))
	}
}

// progressDone clears the line.
func (a *app) progressDone() { a.progress("") }

func (a *app) onTerminal() bool {
	f, ok := a.stderr.(*os.File)
	return ok && a.output == "text" && term.IsTerminal(int(f.Fd()))
}

// parent makes cmd a command with subcommands only. Without a subcommand, cmd prints its help. An
// unknown subcommand is a usage error.
func parent(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return noSubcommand(cmd, args[0])
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// wanted says what kind of value a flag takes.
var wanted = map[string]string{
	"N":      "a number",
	"NUMBER": "a number",
	"TIME":   "a time such as 90s or 10m",
}

// flagError returns the usage error for an error of the parser of flags. If a value is wrong,
// the error says what the flag takes, in place of the error of a function of Go.
func flagError(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return usagef("%w", err)
	}
	f := invalid.GetFlag()
	kind, known := wanted[f.Value.Type()]
	if !known || errors.Is(err, errTooSmall) {
		return usagef("--%s: %w", f.Name, errors.Unwrap(err))
	}
	return usagef("--%s takes %s, not %q", f.Name, kind, invalid.GetValue())
}

// noSubcommand is the error of a subcommand that does not exist.
func noSubcommand(cmd *cobra.Command, name string) error {
	err := usagef("%s has no subcommand %q", cmd.CommandPath(), name)
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		return withHint(err, fmt.Sprintf("did you mean '%s %s'?", cmd.CommandPath(), near[0]))
	}
	return err
}

// knownTopic refuses a command or topic that help does not have.
func knownTopic(cmd *cobra.Command, args []string) error {
	found, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return noSubcommand(found, args[len(args)-max(len(rest), 1)])
	}
	return nil
}

// all returns a command and the commands below it.
func all(cmd *cobra.Command) []*cobra.Command {
	commands := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		commands = append(commands, all(c)...)
	}
	return commands
}

// kinds are the kinds of values in the help, in place of types of Go.
var kinds = map[string]string{
	"int":            "N",
	"uint64":         "N",
	"float64":        "NUMBER",
	"duration":       "TIME",
	"intSlice":       "LIST",
	"stringSlice":    "LIST",
	"stringArray":    "TEXT",
	"stringToString": "KEY=VALUE",
	"string":         "TEXT",
}

// placeholders names the kind of the value of each flag, and leaves out defaults that the usage
// says in words or that are nothing.
func placeholders(cmd *cobra.Command) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		kind, known := kinds[f.Value.Type()]
		if !known {
			return
		}
		f.Value = kindOf{f.Value, kind}
		switch f.DefValue {
		case "0", "0s", "[]":
			f.DefValue = ""
		}
		if strings.Contains(f.Usage, "(default") {
			f.DefValue = ""
		}
	})
}

// kindOf is the value of a flag with the kind that the help shows.
type kindOf struct {
	pflag.Value
	kind string
}

func (k kindOf) Type() string { return k.kind }

// exactly is like cobra.ExactArgs; its error names the arguments.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usagef("%s takes %s; %d arguments given", cmd.CommandPath(), strings.Join(names, " "), len(args))
		}
		return nil
	}
}
