package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"banyan/coordinator/api"
	"banyan/rollout"
)

// with runs a command line that reads stdin.
func (c *cli) with(stdin string, args ...string) result {
	return runCLI(c.t, stdin, append([]string{"--home", c.Home.Dir, "--coordinator", c.Coordinators[0].APIAddr()}, args...)...)
}

// A typo in a subcommand is a usage error, below every command that has subcommands.
func TestTruthATypoInASubcommandIsAnError(t *testing.T) {
	for _, cmd := range all(newRoot(&app{})) {
		if !cmd.HasSubCommands() {
			continue
		}
		args := append(strings.Fields(cmd.CommandPath())[1:], "nosuch")
		expect(t, runCLI(t, "", args...), 2, []string{"nosuch"}, args)
	}
	for typo, right := range map[string]string{"rollout aboort": "banyan rollout abort", "plan putt": "banyan plan put"} {
		args := append(strings.Fields(typo), "x")
		expect(t, runCLI(t, "", args...), 2, []string{"did you mean '" + right + "'?"}, args)
	}
	expect(t, runCLI(t, "", "help", "rollout", "aboort"), 2, []string{"aboort"}, []string{"help"})
	expect(t, runCLI(t, "", "help", "rollout", "abort"), 0, []string{"Take a rollout back"}, []string{"help"})
}

// Wherever a command takes a FILE to read, "-" is standard input.
func TestTruthDashIsStandardInput(t *testing.T) {
	c := newCLI(t, 1)
	const plan = "waves: [{share: 100%}]\n"
	reads := func(stdin string, code int, says string, args ...string) {
		t.Helper()
		expect(t, c.with(stdin, args...), code, []string{says}, args)
	}
	reads(plan, 0, "standard input is a valid plan", "rollout", "lint", "-")
	reads("waves: 7", 3, "standard input: ", "rollout", "lint", "-")
	reads(plan, 0, "stored", "plan", "put", "x", "-")
	reads(`{"type": "object"}`, 0, "checked against", "schema", "set", "a", "-")
	reads("", 3, "standard input is empty", "schema", "set", "a", "-")
	reads(plan, 0, "version 1 published", "publish", "a", file(t, "a.json", "{}"), "--plan", "-")
	reads(plan, 2, "can't be both", "publish", "a", "-", "--plan", "-")
	reads(strings.Repeat("#", rollout.MaxPlan+1), 3, "the limit", "plan", "put", "x", "-")
}

// A body without a name is of the type of the version before, and of a first version what it is.
func TestTruthABodyWithoutANameIsChecked(t *testing.T) {
	c := newCLI(t, 1)
	reads := func(stdin string, code int, says []string, args ...string) {
		t.Helper()
		expect(t, c.with(stdin, args...), code, says, args)
	}
	reads(`{"n": 1}`, 0, nil, "publish", "a", "-")
	reads("{\n\"n\": }", 3, []string{"line 2", "not JSON", "application/json, the content type of version 1", "--type"}, "publish", "a", "-")
	if n := c.versions("a"); n != 1 {
		t.Errorf("%d versions are stored", n)
	}
	c.expect(3, []string{"not JSON"}, "publish", "a", file(t, "flags", "broken"))
	reads("n: 1\n", 0, nil, "publish", "y", "-", "--type", "application/yaml")
	reads("n: [\n", 3, []string{"not YAML"}, "publish", "y", "-")
	reads("[section]\nx=1\n", 0, nil, "publish", "ini", "-")
	reads("\xef\xbb\xbf{\"n\": 1}", 3, []string{"byte-order mark", "save it as UTF-8", "nothing was stored"}, "publish", "mark", "-")
	for config, want := range map[string]string{"a": "application/json", "y": "application/yaml", "ini": "application/octet-stream"} {
		v, err := c.Client.Version(t.Context(), config, 0)
		if err != nil || v.ContentType != want {
			t.Errorf("%s has the type %s, %v; want %s", config, v.ContentType, err, want)
		}
	}
}

// What comes from a host cannot steer the terminal.
func TestTruthTextFromHostsCannotSteerTheTerminal(t *testing.T) {
	const evil = "a\x1b[2J\x07b\r\u009b31m\u202ec\xff\n\td"
	steering := func(s string) bool { return strings.ContainsFunc(s, steers) || strings.Contains(s, "\xff") }
	status := []api.RegionStatus{{Region: "eu", Failures: []api.Failure{{Agent: evil, Reason: evil}}}}
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		a := &app{stdout: &out, output: format}
		if err := a.print(status, func(w io.Writer) { printRegions(w, "a", status) }); err != nil {
			t.Fatal(err)
		}
		if steering(out.String()) || !strings.Contains(out.String(), "[2J") {
			t.Errorf("%s: %q", format, out.String())
		}
		if format == "text" && strings.Count(out.String(), "\n") != 3 {
			t.Errorf("the reason of a host has broken a line: %q", out.String())
		}
		var back []api.RegionStatus
		if format == "json" && (json.Unmarshal(out.Bytes(), &back) != nil || back[0].Failures[0].Reason != strings.ToValidUTF8(evil, "\ufffd")) {
			t.Errorf("the JSON does not keep the text: %q", out.String())
		}
		out.Reset()
		report(&out, fmt.Errorf("%s", evil), format == "json")
		if steering(out.String()) || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("error: %q", out.String())
		}
	}
	if got, want := oneLine(evil), `a\x1b[2J\x07b\x0d\u009b31m\u202ec\xff  d`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// lint says how many hosts a wave has.
func TestTruthLintPrintsTheCountsOfAWave(t *testing.T) {
	c := newCLI(t, 6)
	plan := file(t, "plan.yaml", "waves: [{share: 50%, bake: 1m}, {share: 100%}]\n")
	c.Until("a census of all hosts", func() bool {
		linted, err := c.Client.LintPlan(t.Context(), "waves: [{share: 100%}]\n")
		return err == nil && linted.Waves[0].Hosts["eu"] == 3 && linted.Waves[0].Hosts["us"] == 3
	})
	r := c.expect(0, []string{"2 waves"}, "rollout", "lint", plan)
	var table [][]string
	for _, line := range strings.Split(r.stdout, "\n") {
		table = append(table, strings.Fields(line))
	}
	want := [][]string{{"WAVE", "EU", "US"}, {"50%", "2", "2"}, {"100%", "3", "3"}, nil}
	if got := table[1:]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("lint printed\n%s", r.stdout)
	}
	c.expect(0, []string{`"waves": []`}, "rollout", "lint", plan, "--offline", "-o", "json")
}

// Help names the kind of a value in words of the reader, not of Go.
func TestTruthHelpShowsNoTypesOfGo(t *testing.T) {
	for _, cmd := range all(newRoot(&app{})) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			kind, _ := pflag.UnquoteUsage(f)
			if kind != strings.ToUpper(kind) || strings.Contains(kind, "*") {
				t.Errorf("%s --%s: the kind of the value is %q", cmd.CommandPath(), f.Name, kind)
			}
		})
		usage := cmd.LocalFlags().FlagUsages()
		for line := range strings.Lines(usage) {
			if strings.Count(line, "(default") > 1 {
				t.Errorf("%s: two defaults: %s", cmd.CommandPath(), line)
			}
		}
	}
}

// Errors say what is there and what a flag takes, in the words of the reader.
func TestTruthErrorsSayWhatIsThere(t *testing.T) {
	c := newCLI(t, 1)
	c.expect(0, nil, "publish", "web/flags", file(t, "a.json", "{}"))
	c.expect(1, []string{`there is no config "web/nothing"`}, "status", "web/nothing")
	c.expect(1, []string{`there is no config "web/nothing"`}, "get", "web/nothing", "--version", "3")
	c.expect(1, []string{`there is no config "web/nothing"`}, "history", "web/nothing")
	c.expect(1, []string{"web/flags has no version 99; its newest version is 1"}, "get", "web/flags", "--version", "99")
	c.expect(2, []string{`--version takes a number, not "abc"`}, "get", "web/flags", "--version", "abc")
	c.expect(2, []string{`--wait takes a time such as 90s or 10m, not "soon"`}, "rollback", "web/flags", "--wait", "soon")
	c.expect(2, []string{`--min-success: "half" is not a share such as 0.1%`}, "publish", "web/flags", "-", "--min-success", "half")
}
